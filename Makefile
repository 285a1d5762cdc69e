# Every verb of the project. `make help` lists them; what a verb needs it installs first, and only when it is missing.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.NOTPARALLEL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
# podman and what it leaves to be recommended; runc because crun refuses hybrid cgroups.
SYSTEM_PACKAGES := podman runc netavark iptables nftables iproute2 mmdebstrap debian-archive-keyring openssh-client
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help demo demo-down test test-fast lint types unit integration molecule fleet lock deps deps-system deps-redis deps-python deps-node

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | while IFS=$$'\t' read -r name text; do
	  printf '  make %-11s %s\n' "$$name" "$$text"
	done

demo: deps-system deps-python ## boot eight lab hosts, deploy the fleet, query it through the balancer
	@python tests/lab/demo.py

demo-down: ## remove the demo's hosts and files
	@$(PYTHON) tests/lab/lab.py down

test: deps ## everything: lint, types, unit, integration, molecule, fleet
	@times=
	for stage in lint types unit integration molecule fleet; do
	  printf '\n== %s%s\n' "$$stage" "$${times:+  (so far:$$times)}"
	  begun=$$SECONDS
	  $(MAKE) $$stage
	  times="$$times $$stage $$((SECONDS - begun)) s"
	done

test-fast: deps-redis deps-python ## lint, types and unit tests; no containers
	@for stage in lint types unit; do
	  printf '\n== %s\n' "$$stage"
	  $(MAKE) $$stage
	done

lint: deps-python ## ruff, yamllint, ansible-lint
	@ruff check .
	ruff format --check .
	yamllint --strict .
	ansible-lint

types: deps-python ## mypy, strict
	@mypy
	mypy ansible/build_release.py $(wildcard tests/lab/*.py)

unit: deps-redis deps-python ## the tests that need no container
	@pytest tests/server tests/ansible

integration: deps-python deps-node ## the clients people use, against one local server
	@pytest tests/integration

molecule: deps-system deps-python ## every role's scenario in containers of its own; ROLE=nginx for one
	@python tests/molecule/run.py $(ROLE)

fleet: deps ## the whole product on a lab of its own: boot, deploy, call, restart, call again
	@pytest tests/fleet

lock: deps-python ## resolve the dependencies anew, for Debian 12's Python 3.11.2
	@compile() { uv pip compile --quiet --upgrade --generate-hashes --python-version 3.11.2 pyproject.toml "$$@"; }
	compile -o requirements.lock
	compile --extra sandbox -c requirements.lock -o requirements-sandbox.lock
	compile --extra sandbox --group dev -c requirements.lock --universal -o requirements-dev.lock

deps: deps-system deps-redis deps-python deps-node ## install what is missing: Debian packages, .venv, node modules of the tests

deps-system:
	@missing=
	for package in $(SYSTEM_PACKAGES); do
	  [[ $$(dpkg-query -W -f '$${db:Status-Status}' "$$package" 2>/dev/null || true) == installed ]] || missing+=" $$package"
	done
	[[ -z $$missing ]] && exit 0
	command -v apt-get >/dev/null || { echo "install these by hand, this is no Debian:$$missing"; exit 1; }
	echo "deps: installing$$missing"
	$(SUDO) apt-get update -qq
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 install -qq -y --no-install-recommends $$missing >/dev/null

# The server's binary for the tests of the store; the package redis-server would start a daemon on this machine.
deps-redis:
	@$(MAKE) deps-system SYSTEM_PACKAGES=redis-tools

# The stamp holds what was installed; it is written last, so a run cut off half-way is made good by the next.
deps-python:
	@want=$$(sha256sum requirements-dev.lock pyproject.toml | sha256sum)
	[[ -x .venv/bin/python && -f .venv/installed && $$(<.venv/installed) == "$$want" ]] && exit 0
	[[ -n "$(PYTHON)" ]] || { echo 'deps: Python 3.11 or newer is needed'; exit 1; }
	if ! $(PYTHON) -c 'import ensurepip' 2>/dev/null; then
	  $(SUDO) apt-get update -qq
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 install -qq -y --no-install-recommends python3-venv >/dev/null
	fi
	echo 'deps: installing .venv'
	.venv/bin/python -c 'import pip' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements-dev.lock
	.venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	printf '%s\n' "$$want" >.venv/installed

deps-node:
	@[[ -f tests/clients/package-lock.json ]] || exit 0
	cd tests/clients
	want=$$(sha256sum package-lock.json | sha256sum)
	[[ -f node_modules/.installed && $$(<node_modules/.installed) == "$$want" ]] && exit 0
	command -v npm >/dev/null || { echo 'deps: Node 20 or newer is needed for the TypeScript clients'; exit 1; }
	echo 'deps: installing the node modules of tests/clients'
	npm ci --silent --no-audit --no-fund
	printf '%s\n' "$$want" >node_modules/.installed
