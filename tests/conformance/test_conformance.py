"""The official conformance suite, both eras, through nginx to two workers that answer in turn."""

import asyncio
from pathlib import Path

import pytest
import yaml

from doris_mcp_server import ctl

from ..conftest import LIMIT
from . import suite
from .stack import WORKERS, serving

EXCEPTIONS: dict[str, dict[str, str]] = yaml.safe_load(
    Path(__file__).with_name("exceptions.yml").read_text(encoding="utf-8")
)


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    suite.install()


@pytest.mark.parametrize("revision", ["2026-07-28", "2025-11-25"])
async def test_every_scored_scenario_passes_but_for_the_listed_exceptions(revision: str, tmp_path: Path) -> None:
    async with serving(tmp_path) as stack:
        seen = await suite.run(stack.url, revision, tmp_path / "results")
        await _both_served(stack.ctl)
    scored = suite.scored(revision)
    bad = {
        f"{scenario}/{check.id}": f"{check.status}: {check.words}"
        for scenario in scored
        for check in seen.get(scenario, [suite.Check("ran", "FAILURE", "the scenario did not run")])
        if check.status in suite.BAD
    }
    _show(revision, seen, scored)
    expected = EXCEPTIONS.get(revision, {})
    surprises = [f"{check} {words}" for check, words in bad.items() if check not in expected]
    assert not surprises, "\n".join(["not passed:", *surprises])
    passing = [check for check in expected if check not in bad]
    assert not passing, "\n".join(["these pass now, take them off exceptions.yml:", *passing])


async def _both_served(socket: str) -> None:
    """What passed did so without the luck of meeting one and the same worker. They report once a second."""
    async with asyncio.timeout(LIMIT):
        while True:
            served = [worker["served"] for worker in (await ctl.ask(socket, {"do": "status"}))["workers"]]
            if len(served) == WORKERS and min(served) > 20:
                return
            await asyncio.sleep(0.1)


def _show(revision: str, seen: suite.Scenarios, scored: list[str]) -> None:
    """For `make conformance`: what passed, and what does not count."""
    passed = [name for name in scored if all(check.status not in suite.BAD for check in seen.get(name, []))]
    checks = sum(check.status == "SUCCESS" for name in scored for check in seen.get(name, []))
    print(f"{revision}: {len(passed)} of {len(scored)} scored scenarios, {checks} checks passed")
    for name in sorted(set(seen) - set(scored)):
        of = [check.status for check in seen[name]]
        print(f"  not scored: {name}: {of.count('SUCCESS')} of {len(of)} checks passed")
