"""Releases: there and back without losing a request, and those that are broken.

`BROKEN=all pytest -rP tests/fleet/test_releases.py -k broken` deploys each kind that is broken, `make test` some.
"""

import asyncio
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from .fleet import APP, ROLLBACK, SERVER, STATUS, Fleet
from .kill import killed
from .releases import BROKEN, release
from .watch import watch

SOME = ("refuses the settings", "answers wrong")


async def test_a_deploy_whose_controller_dies_the_same_again_and_the_way_back_lose_no_request(
    fleet: Fleet, tmp_path: Path
) -> None:
    (had,) = set((await on_duty(fleet)).values())
    new, deploying = release(tmp_path, "__init__.py", "\nANOTHER = True\n")
    async with watch(fleet, "deploy killed half-way, deploy and rollback") as load:
        # The worst moment: the host is drained, the release is flipped, and what runs is still the old one.
        await asyncio.to_thread(killed, fleet, "Serve | Start the service anew", *deploying)
        states = {host: (await fleet.readyz(host))[1]["status"] for host in sorted(APP)}
        assert states == {"app-1": "draining", "app-2": "ready", "app-3": "ready"}
        await fleet.playing("site.yml", *SERVER, *deploying)
        assert set((await on_duty(fleet)).values()) == {new}
        assert set((await fleet.playing(ROLLBACK, "--check")).changed) == APP
        await fleet.playing(ROLLBACK)
        assert set((await on_duty(fleet)).values()) == {had}
        await load.answers(50)
    assert fleet.play(ROLLBACK).changed == {}, "the way back is not taken twice"


def test_a_release_that_is_not_on_the_hosts_is_refused(fleet: Fleet) -> None:
    play = fleet.play(ROLLBACK, "-e", "release=0.0.0-gone", fails=True)
    play.refused(["app-1: release 0.0.0-gone is not here", "Fix: name one that every host has"])


async def test_a_wrong_doris_password_stops_the_roll_at_the_first_host_and_no_client_notices(fleet: Fleet) -> None:
    wrong = ("-e", "doris_mcp_doris_password=not-the-password", "-e", "doris_mcp_ready_timeout=20")
    await put_back(fleet, "a wrong password", wrong, ["ready: not ready within 20 s", "vault_doris_mcp_doris_password"])


@pytest.mark.parametrize("kind", BROKEN if os.environ.get("BROKEN") == "all" else SOME)
async def test_a_broken_release_is_stopped_at_the_first_host_and_no_client_notices(
    kind: str, fleet: Fleet, tmp_path: Path
) -> None:
    broken = BROKEN[kind]
    _, deploying = release(tmp_path, broken.module, broken.more)
    await put_back(fleet, f"a release that {kind}", deploying, broken.words)


async def put_back(fleet: Fleet, kind: str, broken: Sequence[str], words: Sequence[str]) -> None:
    """Deploying what is `broken` fails with `words`; the one host it reached is back on what it had by itself."""
    had = await on_duty(fleet)
    async with watch(fleet, kind) as load:
        play = await fleet.playing("site.yml", *SERVER, *broken, fails=True)
        play.says(words)
        back = re.search(r"This host is back on .*? after \d+ s|The settings are as they were", play.words)
        assert back and len(play.failed) == 1, str(play)
        assert await on_duty(fleet) == had
        before = {host: fleet.invocation(host) for host in APP}
        await fleet.playing("site.yml", *SERVER)
        assert {host: fleet.invocation(host) for host in APP} == before, "it was back already"
        seen = load.report.hosts.copy()
        await load.until(lambda report: all(report.hosts[host] > seen[host] for host in APP))
    fleet.figures.append(f"{kind}: {back[0]}")


async def on_duty(fleet: Fleet) -> dict[str, str]:
    """The release of each app host, all of which are ready."""
    table = await fleet.playing(STATUS)
    rows = {host: table.row(host) for host in APP}
    assert {host: seen["ready"] for host, seen in rows.items()} == dict.fromkeys(APP, "yes"), str(table)
    return {host: seen["release"] for host, seen in rows.items()}
