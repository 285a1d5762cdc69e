"""One kill of the controller in a rolling deploy, what it left, and what the same deploy made of that, run again."""

import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .fleet import ROOT, SERVER, Fleet
from .load import Load, Report
from .serving import Serving

CALLBACKS = ROOT / "tests/fleet/callbacks"
LONGEST = 120.0  # seconds a host may be out after the controller died
STATUS = "sudo /opt/doris-mcp-server/.venv/bin/doris-mcp-server ctl status --json"


@dataclass
class Kill:
    """What came of one kill. Times in seconds; `again` counts what a run after the re-run changed, None for not run."""

    at: int
    play: str
    batch: int
    task: str
    left_out: list[str]
    fewest: int = 0
    longest_out: float = 0.0
    by_itself: float | None = None  # until all hosts served again without a re-run; None for not waited
    rerun: float = 0.0
    again: int | None = None
    requests: int = 0
    lost: int = 0
    problems: list[str] = field(default_factory=list)


def killed(fleet: Fleet, where: str, *arguments: str) -> dict[str, Any]:
    """Deploy until task `where` (number or name) begins and the controller dies: which task that was.

    Empty when the deploy ended before that. The keys are those of callbacks/kill_at.py.
    """
    code, note = _deploy(fleet, where, *arguments)
    assert code == (-9 if note else 0), str(fleet.last)
    return dict(note or {})


def changing(fleet: Fleet, *arguments: str) -> list[int]:
    """The numbers of a deploy's tasks that change something on any host, from one that is let run to its end."""
    code, tasks = _deploy(fleet, "", *arguments)
    assert code == 0 and tasks, str(fleet.last)
    return [task["at"] for task in tasks if task["changed"]]


def _deploy(fleet: Fleet, where: str, *arguments: str) -> tuple[int, Any]:
    """The exit code of a deploy, and what callbacks/kill_at.py wrote down; None for nothing."""
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder) / "note"
        play = fleet.attempt(
            "site.yml",
            *SERVER,
            *arguments,
            ANSIBLE_CALLBACK_PLUGINS=str(CALLBACKS),
            ANSIBLE_CALLBACKS_ENABLED="kill_at",
            KILL_AT=where,
            KILL_NOTE=str(note),
        )
        return play.code, json.loads(note.read_text(encoding="utf-8")) if note.exists() else None


@dataclass
class Proof:
    """The fleet under load, and two releases, of which the hosts run the second."""

    fleet: Fleet
    load: Load
    serving: Serving
    releases: list[tuple[str, list[str]]]

    async def kill(self, at: int, *, wait: bool, again: bool) -> Kill | None:
        """Kill a deploy at task `at`, run it again, and see; None when a deploy has fewer tasks.

        With `wait`, and a host left out, it is run again only when the hosts have come back by themselves; with
        `again`, a third run must change nothing.
        """
        new, deploying = self.releases[0]
        # Current nowhere, so this deploy installs it, too.
        for host in self.fleet.names("app"):
            self.fleet.on(host, f"sudo rm -rf /opt/doris-mcp-server/releases/{new}")
        before = answered(self.load.report), lost(self.load.report)
        self.serving.tally.begin(time.monotonic())
        note = await asyncio.to_thread(killed, self.fleet, str(at), *deploying)
        if not note:
            return None
        fewest = self.serving.tally.fewest
        died = time.monotonic()
        self.serving.tally.begin(died)
        seen = Kill(**note, left_out=sorted(await self.serving.look()))
        if wait and seen.left_out:
            await self._wait(seen, died)
        await self._run_again(seen, new, deploying, again)
        self.releases.reverse()
        self._sum_up(seen, before, fewest)
        return seen

    async def _wait(self, seen: Kill, died: float) -> None:
        if not await self.serving.all_back(LONGEST * 2):
            seen.problems.append(f"{', '.join(self.serving.tally.out)}: not back by itself")
        seen.by_itself = round(time.monotonic() - died, 1)

    async def _run_again(self, seen: Kill, new: str, deploying: Sequence[str], again: bool) -> None:
        play = await asyncio.to_thread(self.fleet.attempt, "site.yml", *SERVER, *deploying)
        seen.rerun = round(play.seconds, 1)
        if play.code:
            seen.problems.append(f"the re-run failed: {play}")
        statuses = await asyncio.gather(*(asyncio.to_thread(self._status, host) for host in self.fleet.names("app")))
        for status in statuses:
            if (status["release"], status["state"], status["ready"]) != (new, "running", True):
                seen.problems.append(f"{status['node']} is {status['state']} with release {status['release']}")
        if again:
            play = await asyncio.to_thread(self.fleet.attempt, "site.yml", *SERVER, *deploying)
            seen.again = sum(play.changed.values())
            if play.code or seen.again:
                seen.problems.append(f"a further run failed or changed something: {play}")

    def _status(self, host: str) -> dict[str, Any]:
        return dict(json.loads(self.fleet.on(host, STATUS)))

    def _sum_up(self, seen: Kill, before: tuple[int, int], fewest: int) -> None:
        after = self.load.report
        seen.fewest = min(fewest, self.serving.tally.fewest)
        seen.longest_out = round(self.serving.tally.longest(time.monotonic()), 1)
        seen.requests = answered(after) - before[0]
        seen.lost = lost(after) - before[1]
        if seen.fewest < len(self.fleet.names("app")) - 1:
            seen.problems.append(f"only {seen.fewest} hosts served")
        if seen.longest_out > LONGEST:
            seen.problems.append(f"a host was out for {seen.longest_out} s")
        if seen.lost or not seen.requests:
            seen.problems.append(f"the load: {after}")


def answered(report: Report) -> int:
    return report.ok + report.long_ok + report.streams_ok


def lost(report: Report) -> int:
    return report.failed + report.foreign + report.duplicated
