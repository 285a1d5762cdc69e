"""The fault table: what the server does when databases and callers fail, measured, beside what it promises.

`make chaos` prints it; the exit code is 1 where a promise is broken. The tests of this folder run the same scenarios
and judge no times.
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from doris_mcp_server.doris.driver import Name

from ..bench.databases import end_in_order
from . import disconnects, failover, sizes
from .failover import Engine
from .house import DRIVERS

HEAD = ("fault", "driver", "measured", "seen", "promised", "wrong answers", "kept")


@dataclass(frozen=True)
class Line:
    """One measurement. `wrong` are answers that were neither right nor a typed error."""

    fault: str
    driver: Name
    measured: str
    seen: float
    promised: float
    unit: str
    wrong: int = 0

    @property
    def kept(self) -> bool:
        return self.seen <= self.promised and not self.wrong

    def cells(self) -> tuple[str, ...]:
        digits = 2 if self.unit == "s" else 0
        seen, promised = f"{self.seen:.{digits}f} {self.unit}", f"{self.promised:g} {self.unit}"
        verdict = "yes" if self.kept else "**no**"
        return self.fault, self.driver, self.measured, seen, promised, str(self.wrong), verdict


async def leaving(folder: Path, driver: Name) -> AsyncIterator[Line]:
    async with disconnects.house(folder, driver) as it:
        for fault in ("callers leave, pool cold", "callers leave, pool warm"):
            gone = await disconnects.leave(it)
            what = f"{disconnects.CALLS} statements gone"
            yield Line(fault, driver, what, gone.seconds, 1, "s", len(gone.wrong))


async def losing(folder: Path, driver: Name) -> AsyncIterator[Line]:
    async with failover.pair(folder, driver) as it:
        for fault, lose in (("first frontend killed", Engine.kill), ("first frontend hangs", Engine.hang)):
            report = await failover.lose_first(it, lose)
            gap, wrong = report.longest_gap_s, len(failover.wrong(report))
            yield Line(fault, driver, "longest time without a right answer", gap, 3, "s", wrong)
            await it.engines[0].come_back()
            await it.back()
        told = await failover.lose_all(it)
        untyped = sum(each.kind != "doris_unavailable" for each in told)
        slowest = max(each.seconds for each in told)
        yield Line("all frontends killed", driver, "slowest typed error", slowest, 2, "s", untyped)


async def growing(folder: Path, driver: Name) -> AsyncIterator[Line]:
    for allowed, settings in sizes.BYTES.items():
        async with sizes.scripted(folder, driver, **settings) as it:
            for what, sql in (("a cell of 1 GB", sizes.SCRIPTED_CELL), ("rows without end", sizes.ENDLESS_ROWS)):
                yield _large(f"{what}, result limit {allowed}", driver, await sizes.take(it, sql))
    async with sizes.stored(folder, driver) as it:
        for what, sql in (("10,000,000 rows", sizes.TEN_MILLION_ROWS), ("a cell of 1 GB", sizes.MARIADB_CELL)):
            yield _large(f"{what} of MariaDB", driver, await sizes.take(it, sql))


def _large(fault: str, driver: Name, taken: sizes.Taken) -> Line:
    wrong = not (taken.told.result and taken.told.result["truncated"]), not taken.others.clean
    return Line(fault, driver, "peak memory of the worker", taken.peak, 200, "MB", sum(wrong))


SCENARIOS = (leaving, losing, growing)


def table(lines: Sequence[Line]) -> str:
    """In Markdown."""
    rows = [HEAD, ("---",) * len(HEAD), *(line.cells() for line in lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


async def run() -> list[Line]:
    """Every scenario with every driver, each in a folder of its own."""
    lines = []
    for scenario in SCENARIOS:
        for driver in DRIVERS:
            with tempfile.TemporaryDirectory() as folder:
                async for line in scenario(Path(folder), driver):
                    print(*line.cells(), sep="  ", file=sys.stderr, flush=True)
                    lines.append(line)
    return lines


def main() -> int:
    end_in_order()
    lines = asyncio.run(run())
    print(table(lines))
    return 0 if all(line.kept for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
