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

.PHONY: help demo demo-down test test-fast lint types unit integration conformance molecule fleet prove-rolling prove-shared prove-broken prove-kills bench bench-smoke chaos lock deps deps-system deps-redis deps-nginx deps-mariadb deps-chromium deps-python deps-node deps-clients

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | while IFS=$$'\t' read -r name text; do
	  printf '  make %-13s %s\n' "$$name" "$$text"
	done

demo: deps-system deps-python ## boot eight lab hosts, deploy the fleet, query it through the balancer
	@python tests/lab/demo.py

demo-down: ## remove the demo's hosts and files
	@$(PYTHON) tests/lab/lab.py down

test: deps ## everything: lint, types, unit, bench-smoke, integration, conformance, molecule, fleet
	@times=
	for stage in lint types unit bench-smoke integration conformance molecule fleet; do
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
	mypy -p tests.bench -p tests.fleet

# Three on two processors: they wait as much as they compute.
unit: deps-redis deps-python ## the tests that need no container
	@pytest -n 3 --dist worksteal tests/server tests/ansible

integration: deps-redis deps-nginx deps-mariadb deps-chromium deps-python deps-node deps-clients ## clients people use, and bad input byte by byte, against one local server
	@pytest -n 2 --dist loadfile tests/integration

conformance: deps-nginx deps-python deps-node ## the official MCP conformance suite, against two workers behind nginx
	@pytest -rP tests/conformance

molecule: deps-system deps-python ## every role's scenario in containers of its own; ROLE=nginx for one
	@python tests/molecule/run.py $(ROLE)

fleet: deps ## the whole product on a lab of its own: boot, deploy, call, restart, call again
	@pytest tests/fleet

prove-rolling: deps-system deps-python ## nothing planned loses a request: 200,000 of them, in a lab of its own; 40 minutes; ARGS='--hosts 2 --rate 50'
	@python -m tests.fleet.proof $(ARGS)

prove-shared: deps-system deps-python ## tokens and revocations while the store is killed, cut off, moved and emptied; in a lab of its own; 30 minutes
	@python -m tests.fleet.shared $(ARGS)

prove-broken: deps ## five releases that fail, deployed under load: each is stopped at the first host, which goes back by itself; 10 minutes
	@BROKEN=all pytest -rP tests/fleet/test_releases.py -k broken_release

prove-kills: deps-system deps-python ## a controller killed where any task of a deploy begins; hours; ARGS='--from 40 --every 3'
	@python -m tests.fleet.kills $(ARGS)

bench: deps-nginx deps-mariadb deps-python ## performance beside the limits and other servers: docs/performance, 12 minutes; ARGS=--quick
	@python -m tests.bench $(ARGS)

bench-smoke: deps-python ## the same with few requests: every answer right, no ratio far off
	@pytest -q tests/bench
	python -m tests.bench.smoke

chaos: deps-mariadb deps-python ## the fault table: databases and callers that fail, measured beside what is promised; 1 minute
	@python -m tests.integration.chaos

lock: deps-python ## resolve the dependencies anew, for Debian 12's Python 3.11.2
	@compile() { uv pip compile --quiet --upgrade --generate-hashes --python-version 3.11.2 pyproject.toml --extra fast "$$@"; }
	compile -o requirements.lock
	compile --extra sandbox -c requirements.lock -o requirements-sandbox.lock
	compile --extra sandbox --group dev -c requirements.lock --universal -o requirements-dev.lock
	for client in fastmcp langchain; do
	  uv pip compile --quiet --upgrade --generate-hashes --python-version 3.11.2 --universal \
	    tests/clients/$$client.in -o tests/clients/$$client.lock
	done

deps: deps-system deps-redis deps-nginx deps-mariadb deps-chromium deps-python deps-node deps-clients ## install what is missing: Debian packages, .venv, the tests' clients

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

# The balancer's binary for the tests, unpacked here: installing the package would start a daemon on port 80.
deps-nginx:
	@[[ -x /usr/sbin/nginx || -x .cache/nginx/usr/sbin/nginx ]] && exit 0
	command -v apt-get >/dev/null || { echo 'deps: install nginx by hand, this is no Debian'; exit 1; }
	echo 'deps: unpacking nginx into .cache'
	rm -rf .cache/nginx.part
	mkdir -p .cache/nginx.part
	cd .cache/nginx.part
	apt-get download -qq nginx 2>/dev/null || { $(SUDO) apt-get update -qq && apt-get download -qq nginx; }
	dpkg-deb --extract nginx_*.deb .
	usr/sbin/nginx -v 2>/dev/null || { echo 'deps: nginx does not start:'; ldd usr/sbin/nginx; exit 1; }
	rm -rf ../nginx
	mv ../nginx.part ../nginx

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

# Only the server's binary: the package mariadb-server would start a daemon on this machine.
deps-mariadb:
	@$(MAKE) deps-system SYSTEM_PACKAGES=mariadb-server-core

# The browser that logs in; it draws no letters without a font.
deps-chromium:
	@$(MAKE) deps-system SYSTEM_PACKAGES='chromium fonts-dejavu-core'

deps-node:
	@for directory in tests/clients tests/conformance; do
	  want=$$(sha256sum $$directory/package-lock.json | sha256sum)
	  [[ -f $$directory/node_modules/.installed && $$(<$$directory/node_modules/.installed) == "$$want" ]] && continue
	  command -v npm >/dev/null || { echo 'deps: Node 20 or newer is needed for the TypeScript clients and the conformance suite'; exit 1; }
	  echo "deps: installing the node modules of $$directory"
	  (cd $$directory && npm ci --silent --no-audit --no-fund)
	  printf '%s\n' "$$want" >$$directory/node_modules/.installed
	done

# fastmcp and LangChain have dependencies that are not ours: a .venv for each, below tests/clients, each with its stamp.
deps-clients: deps-python deps-node
	@python tests/clients/clients.py
