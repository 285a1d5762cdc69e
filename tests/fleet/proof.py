"""`make prove-rolling`: everything planned, done to a fleet under load, and a table of what its clients noticed.

Boots a lab of its own, deploys it, and round by round restarts, deploys another release, rolls back and reloads every
host while the load of tests/fleet/load goes on. What is told comes from the history of the load. Times are compared
with those while a play runs that changes nothing: on a small machine the controller takes what it needs from its hosts.
With one host it is `systemctl restart` of the only server, past the balancer, for clients that keep to HTTP.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .fleet import ROOT, Fleet, Play
from .load import Load
from .load.history import read
from .load.verdict import HEADS, Verdict, judge, table
from .releases import release

SERVER: Final = "/opt/doris-mcp-server/.venv/bin/doris-mcp-server"
OTHERS: Final = ("lb-1", "redis-1", "redis-2", "redis-3", "sandbox-1")
# One caller has all the long calls and streams in flight; while a worker of the last host but one is replaced, a single
# process serves half of them.
SETTINGS: Final = {
    "doris_mcp_pool_size": 100,
    "doris_mcp_environment": {
        "DORIS_MCP_MAX_CONCURRENT": 200,
        "DORIS_MCP_MAX_CONCURRENT_PER_PRINCIPAL": 200,
        "DORIS_MCP_MAX_STREAMS": 200,
        # The demo engine shares the processors with everybody else.
        "DORIS_MCP_CONNECT_TIMEOUT": 10,
    },
}
IDLE: Final = "nothing"
BEFORE: Final = "a play that changes nothing"
ROLLING: Final = "all that rolls"
IDLE_SECONDS: Final = 60.0
RATIO: Final = 1.3
STALL: Final = 1.0  # seconds

Step = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Promise:
    """What was promised, what was seen, and whether that keeps it."""

    words: str
    seen: str
    kept: bool


@dataclass(frozen=True)
class Proof:
    """A fleet of so many app hosts, and how much it has to stand."""

    fleet: Fleet
    hosts: int
    rounds: int
    requests: int
    rate: float
    history: Path

    async def run(self, below: Path) -> Verdict:
        """Boot, deploy, do it all under load; the verdict on the history."""
        names = [f"app-{number}" for number in range(1, self.hosts + 1)]
        inventory = self.fleet.inventory(below, app=names)
        # JSON is YAML.
        Path(inventory, "group_vars/all/proof.yml").write_text(json.dumps(SETTINGS | self._known))
        with _telling("boot"):
            self.fleet.lab("up", *(f"--host={name}" for name in (*names, *OTHERS)))
        with _telling("first deploy"):
            self.fleet.play("site.yml", inventory=inventory)
        _, another = release(below, "__init__.py", "\nANOTHER = True\n")
        token = self.fleet.issue_token()

        async def play(*arguments: str) -> Play:
            return await self.fleet.playing(*arguments, inventory=inventory)

        async def nothing() -> None:
            unchanged = await play("site.yml")
            assert unchanged.changed == {}, f"the checkout has changed meanwhile\n{unchanged}"

        async def every(command: str) -> None:
            for name in names:
                await asyncio.to_thread(self.fleet.on, name, command)

        steps: dict[str, Step] = {
            "rolling restart": lambda: play("ansible/playbooks/rolling_restart.yml"),
            "deploy of another release": lambda: play("site.yml", "--tags", "doris_mcp", *another),
            "rollback": lambda: play("ansible/playbooks/rollback.yml"),
            "reload": lambda: every(f"sudo {SERVER} ctl reload"),
        }
        if self.hosts == 1:
            steps = {"systemctl restart": lambda: every("sudo systemctl restart doris-mcp")}
        load = Load(self._url, token, self.rate, comes_again=self.hosts == 1, history=self.history)
        async with load:
            await self._under(load, names, nothing, steps)
        print(load.report, flush=True)
        return judge(read(self.history))

    @property
    def _url(self) -> str:
        return f"http://{self.fleet.prefix}.21:3000/mcp" if self.hosts == 1 else self.fleet.mcp

    @property
    def _known(self) -> dict[str, list[str]]:
        """The names by which the load calls the service."""
        return {"doris_mcp_allowed_hosts": [f"{self.fleet.prefix}.11", f"{self.fleet.prefix}.21:3000"]}

    async def _under(self, load: Load, names: list[str], nothing: Step, steps: dict[str, Step]) -> None:
        await load.until(lambda seen: set(seen.hosts) == set(names))
        await self._idle(load)
        done = 0
        while done < self.rounds or load.report.hosts.total() < self.requests:
            done += 1
            # In each round anew: what else the machine does changes with time.
            with _telling(f"round {done}: {BEFORE}"), load.phase(BEFORE):
                await nothing()
            with load.phase(ROLLING):
                for name, step in steps.items():
                    with _telling(f"round {done}: {name}"), load.phase(name):
                        await step()

        await self._idle(load)  # old workers still answer what they had when a reload was over

    async def _idle(self, load: Load) -> None:
        with _telling(IDLE), load.phase(IDLE):
            await asyncio.sleep(IDLE_SECONDS)

    def promises(self, verdict: Verdict) -> list[Promise]:
        """What is promised of so many hosts, beside what the history shows."""
        whole, rolling, before = verdict.whole, verdict.parts[ROLLING], verdict.parts[BEFORE]
        lost = sum(whole.outcomes[kind] for kind in ("failed", "foreign", "duplicated"))
        made = whole.outcomes.total()
        found = [
            Promise("requests", f"{made:,} of at least {self.requests:,}", made >= self.requests),
            Promise("failed, foreign or duplicated: 0", f"{lost}", lost == 0),
            Promise("faults of the history: 0", f"{len(verdict.faults)}", not verdict.faults),
        ]
        if self.hosts > 1:  # the only host cannot answer while it starts
            ratio = rolling.percentile(0.99) / before.percentile(0.99)
            found += [
                Promise(f"p99 while rolling: at most {RATIO} times that before", f"{ratio:.2f}", ratio <= RATIO),
                Promise(f"longest stall: at most {STALL:g} s", f"{rolling.stall:.2f} s", rolling.stall <= STALL),
            ]
        return found


@contextmanager
def _telling(what: str) -> Iterator[None]:
    began = time.monotonic()
    print(f"▸ {what}", end=" … ", flush=True)
    yield
    print(f"{time.monotonic() - began:.0f} s", flush=True)


def figures(verdict: Verdict) -> str:
    """The table of phases, with the p99 of each compared with that before."""
    before = verdict.parts[BEFORE].percentile(0.99)
    rows = [[*part.row, f"{part.percentile(0.99) / before:.2f}"] for part in verdict.parts.values()]
    return table([[*HEADS, "p99 ÷ before"], *rows])


def main() -> int:
    parser = argparse.ArgumentParser(prog="make prove-rolling", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hosts", type=int, default=3, choices=(1, 2, 3), help="app hosts (3)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds at least (3)")
    parser.add_argument("--requests", type=int, default=200_000, help="requests at least, in more rounds (200000)")
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second (100)")
    parser.add_argument("--history", type=Path, default=ROOT / ".lab/proof.jsonl", help="file for one line a request")
    parser.add_argument("--keep", action="store_true", help="leave the lab as it is")
    args = parser.parse_args()
    name = os.environ.get("LAB_NAME") or "doris-mcp-proof"
    directory = Path(os.environ.get("LAB_DIR") or ROOT / ".lab" / name.removeprefix("doris-mcp-")).resolve()
    fleet = Fleet(name, os.environ.get("LAB_PREFIX") or "10.93.78", directory, nice=5)
    args.history.parent.mkdir(parents=True, exist_ok=True)
    proof = Proof(fleet, args.hosts, args.rounds, args.requests, args.rate, args.history)
    if not args.keep:
        fleet.lab("down")
    try:
        with tempfile.TemporaryDirectory() as below:
            verdict = asyncio.run(proof.run(Path(below)))
    finally:
        if not args.keep:
            fleet.lab("down")
    promises = proof.promises(verdict)
    print(f"\n{figures(verdict)}\n")
    print(table([["promised", "seen", "kept"], *([p.words, p.seen, "yes" if p.kept else "NO"] for p in promises)]))
    print(*verdict.faults[:20], sep="\n")
    return 0 if all(promise.kept for promise in promises) else 1


if __name__ == "__main__":
    sys.exit(main())
