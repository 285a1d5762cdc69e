"""`make bench`: every system in turn, round after round, and what came of it under docs/performance."""

import argparse
import contextlib
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from . import environments, report, systems
from .balance import balance
from .calls import ECHO, ERAS, LIST, QUERY
from .databases import disguised, end_in_order, mariadb
from .environments import ROOT, NotMeasured
from .measure import METRICS, Sample, measure, record, spread, startups
from .systems import NotStarted, Running, System, started

OUT = ROOT / "docs" / "performance"
LIBRARIES = ("uvicorn", "uvloop", "httptools", "orjson", "mcp", "aiomysql")


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    seconds: float = 0.7
    requests: int | None = None  # instead of seconds
    rounds: int = 3
    workers: tuple[int, ...] = (1, 2, 4)
    connections: tuple[int, ...] = (1, 16, 64)
    calls: tuple[str, ...] = (ECHO.name, LIST.name, QUERY.name)
    starts: int = 5
    balances: tuple[tuple[int, int], ...] = ((16, 20_000), (64, 20_000))  # clients, requests
    balance_rounds: int = 3


QUICK = Plan(seconds=0.25, workers=(1,), connections=(16,), starts=2, balances=((16, 2000),), balance_rounds=1)


@dataclass(frozen=True, order=True)
class Cell:
    """One row of the result."""

    workers: int
    call: str
    era: str
    connections: int
    system: str


@dataclass
class Bench:
    """What is measured, and why something is not."""

    plan: Plan
    folder: Path
    systems: list[System]
    missing: dict[str, str]

    def cells(self) -> dict[Cell, list[Sample]]:
        """All samples. A B C A B C …: whatever else the machine does meets all systems alike."""
        samples: dict[Cell, list[Sample]] = defaultdict(list)
        for workers in self.plan.workers:
            with contextlib.ExitStack() as stack:
                group = [running for running in self._start(workers, stack) if running]
                for number in range(1, self.plan.rounds + 1):
                    began = time.monotonic()
                    for cell, sample in self._round(workers, group):
                        samples[cell].append(sample)
                        _complain(cell, sample)
                    _say(f"{workers} workers, round {number} of {self.plan.rounds}: {time.monotonic() - began:.0f} s")
        return samples

    def _start(self, workers: int, stack: contextlib.ExitStack) -> Iterator[Running | None]:
        for system in self.systems:
            if workers not in system.workers or system.name in self.missing:
                continue
            folder = self.folder / f"{system.name}-{workers}"
            try:
                yield stack.enter_context(started(system, workers, folder))
            except NotStarted as error:
                if system.name == "ours":
                    raise
                self.missing[system.name] = "did not start"
                _say(str(error))

    def _round(self, workers: int, group: list[Running]) -> Iterator[tuple[Cell, Sample]]:
        plan = self.plan
        amount = {"requests": plan.requests} if plan.requests else {"seconds": plan.seconds}
        for name in plan.calls:
            for era in ERAS:
                for connections in plan.connections:
                    for running in group:
                        if call := running.system.call(name):
                            sample = measure(running, call, era, connections, **amount)
                            yield Cell(workers, name, era, connections, running.system.name), sample

    def startups(self) -> dict[str, dict[str, float]]:
        """Seconds to the first answer of one worker, by system."""
        found: dict[str, list[float]] = defaultdict(list)
        for number in range(self.plan.starts):
            for system in self.systems:
                if system.name not in self.missing:
                    found[system.name] += startups(system, self.folder / f"startup-{number}", 1)
        return {name: spread(seconds, 2) for name, seconds in found.items()}

    def balances(self) -> list[dict[str, Any]]:
        """What each of four workers served behind nginx."""
        ours = next(system for system in self.systems if system.name == "ours")
        try:
            nginx = environments.nginx()
            found = []
            for clients, requests in self.plan.balances:
                for number in range(self.plan.balance_rounds):
                    folder = self.folder / f"balance-{clients}-{number}"
                    folder.mkdir()
                    found.append(balance(ours, nginx, folder, workers=4, clients=clients, requests=requests))
            return found
        except NotMeasured as reason:
            self.missing["nginx"] = str(reason)
            return []


def rows(samples: dict[Cell, list[Sample]], starts: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """bench.json: one row a cell, each metric with median, min and max over the rounds."""
    found = []
    for cell, taken in sorted(samples.items()):
        row: dict[str, Any] = {
            "system": cell.system,
            "era": cell.era,
            "call": cell.call,
            "workers": cell.workers,
            "connections": cell.connections,
        }
        row |= {name: spread([one.values[name] for one in taken], digits) for name, digits in METRICS.items()}
        if cell.workers == 1 and cell.system in starts:
            row["startup_s"] = starts[cell.system]
        found.append(row)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write. Exit code: 0 done, 1 when our own server gave a wrong answer."""
    args = _arguments(argv)
    end_in_order()
    plan = QUICK if args.quick else Plan()
    if args.seconds:
        plan = replace(plan, seconds=args.seconds)
    with tempfile.TemporaryDirectory(prefix="doris-mcp-bench-") as temporary, contextlib.ExitStack() as stack:
        bench = _prepare(plan, Path(temporary), stack)
        samples = bench.cells()
        starts = bench.startups()
        balances = bench.balances()
    found = rows(samples, starts)
    arguments = (" --quick" if args.quick else "") + (f" --seconds {args.seconds:g}" if args.seconds else "")
    command = "make bench" + (f" ARGS='{arguments.strip()}'" if arguments else "")
    circumstances = facts(plan, command, bench.missing) | {"startup_s": starts, "balance": balances}
    report.write(args.out, found, circumstances)
    print(report.summary(found, circumstances))
    errors: Counter[str] = Counter()
    for cell, taken in samples.items():
        if cell.system == "ours":
            errors.update(sum((one.errors for one in taken), Counter()))
    return 1 if errors else 0


def _prepare(plan: Plan, folder: Path, stack: contextlib.ExitStack) -> Bench:
    missing: dict[str, str] = {}
    database: dict[str, str] = {}
    try:
        database = stack.enter_context(mariadb(folder))
    except NotMeasured as reason:
        missing["bare+driver"] = str(reason)
    ours, answers = record(database, folder)
    measured = [systems.bare(answers), ours]
    if database:
        measured.append(systems.driver(answers, database))
    measured.append(systems.sdk(answers))
    try:
        measured.append(systems.fastmcp(environments.fastmcp()))
    except NotMeasured as reason:
        missing["fastmcp"] = str(reason)
    try:
        python = environments.public()
        measured.append(systems.public(python, stack.enter_context(disguised(folder))))
    except NotMeasured as reason:
        missing["public"] = str(reason)
    return Bench(plan, folder, measured, missing)


def facts(plan: Plan, command: str, missing: dict[str, str]) -> dict[str, Any]:
    """run.json: under what circumstances it was measured."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit,
        "machine": {"cpus": os.cpu_count(), "memory_gb": round(memory), "system": _system()},
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "plan": vars(plan),
        "not_measured": missing,
    }


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()


def _complain(cell: Cell, sample: Sample) -> None:
    for kind, count in sample.errors.items():
        _say(f"{cell.system}, {cell.call}, {cell.era}, {cell.connections} connections: {count} × {kind}")


def _say(words: str) -> None:
    print(f"bench: {words}", file=sys.stderr, flush=True)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="one worker, 16 connections, short runs: does it work?")
    parser.add_argument("--seconds", type=float, help=f"of each run (default {Plan().seconds:g})")
    parser.add_argument("--out", type=Path, default=OUT, help="where the results go (docs/performance)")
    return parser.parse_args(argv)
