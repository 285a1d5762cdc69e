"""One fleet for all tests of this directory: booted and deployed once, taken down at the end."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..clients import clients
from .fleet import ROOT, Fleet, Play

_FLEET: Fleet | None = None


@pytest.fixture(scope="session")
def bare() -> Iterator[Fleet]:
    """Hosts as a provider hands them over: Debian, sshd, an administrator; nothing of ours on them."""
    global _FLEET
    name = os.environ.get("LAB_NAME") or "doris-mcp-fleet-test"
    assert name != "doris-mcp-lab", "that is the demo's lab: this test removes the one it uses"
    fleet = _FLEET = Fleet(
        name,
        os.environ.get("LAB_PREFIX") or "10.93.77",
        Path(os.environ.get("LAB_DIR") or ROOT / ".lab" / name.removeprefix("doris-mcp-")).resolve(),
    )
    fleet.lab("down")  # what a killed run left
    try:
        fleet.lab("up")
        yield fleet
    finally:
        fleet.lab("down")


@pytest.fixture(scope="session")
def first_deploy(bare: Fleet) -> Play:
    """`ansible-playbook site.yml` on bare hosts."""
    return bare.play("site.yml")


@pytest.fixture(scope="session")
def fleet(bare: Fleet, first_deploy: Play) -> Fleet:
    """The deployed fleet, with a token for its clients."""
    bare.token = bare.issue_token()
    return bare


@pytest.fixture(scope="session")
def installed_clients() -> None:
    clients.install()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.failed and report.when in ("setup", "call") and _FLEET:
        report.sections.append(("journals of the hosts", _FLEET.journals()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _FLEET and _FLEET.figures:
        terminalreporter.section("figures")
        for line in _FLEET.figures:
            terminalreporter.write_line(line)
