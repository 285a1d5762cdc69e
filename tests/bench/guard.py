"""`python -m tests.bench.guard`: what judging a statement costs, and how long it holds up the event loop.

Figures for docs/guard.md. Wall-clock, on one event loop with nothing else to do; the worst of several rounds where a
limit is asked, the median elsewhere.
"""

import asyncio
import sys
from collections.abc import Callable
from itertools import count
from statistics import median
from time import perf_counter
from typing import NamedTuple

from doris_mcp_server.doris import guard
from doris_mcp_server.errors import StatementRefused

from ..server.doris.statements import Row, corpus, illegal, large, legal

ROUNDS = 5
CALLS = 2_000
TICK = 0.001  # seconds: a ticker that never sleeps would take half of the interpreter from the reader
CACHED_US, UNCACHED_US, WORST_MS, GAP_MS = 2.0, 150.0, 250.0, 20.0  # what is asked


class Judged(NamedTuple):
    """One statement judged: milliseconds until the verdict, and the longest time the loop did not come round."""

    row: Row
    took_ms: float
    gap_ms: float


async def judged(row: Row) -> Judged:
    judging = asyncio.create_task(_decided(row.sql))
    began = last = perf_counter()
    gap = 0.0
    while not judging.done():
        await asyncio.sleep(TICK)
        now = perf_counter()
        gap = max(gap, now - last)
        last = now
    return Judged(row, (last - began) * 1e3, gap * 1e3)


async def _decided(sql: str) -> None:
    try:
        await guard.judge(sql)
    except StatementRefused:
        return


def each_us(call: Callable[[], object]) -> float:
    """Microseconds of one call, the median of several rounds."""
    rounds = []
    for _ in range(ROUNDS):
        began = perf_counter()
        for _ in range(CALLS):
            call()
        rounds.append((perf_counter() - began) / CALLS * 1e6)
    return median(rounds)


async def worst(rows: list[Row]) -> tuple[Judged, float]:
    """The row that took longest, and the longest gap of any."""
    seen = [await judged(row) for _ in range(ROUNDS) for row in rows]
    return max(seen, key=lambda one: one.took_ms), max(one.gap_ms for one in seen)


def line(what: str, seen: float, asked: float, unit: str) -> str:
    return f"| {what} | {seen:.2f} {unit} | {asked:g} {unit} | {'yes' if seen <= asked else '**no**'} |"


def main() -> int:
    """Exit code: 0 all is as asked, 1 not."""
    numbers = count(1)
    cached = each_us(lambda: guard.check("SELECT 'cached'"))
    uncached = each_us(lambda: guard.check(f"SELECT {next(numbers)}"))
    long = [row for row in corpus() if len(row.sql) > guard.INLINE_CHARACTERS]
    row, row_gap = asyncio.run(worst(long))
    own, own_gap = asyncio.run(worst(large()))
    short = [row for row in corpus() + legal() + illegal() if len(row.sql) <= guard.INLINE_CHARACTERS]
    _, short_gap = asyncio.run(worst(short))
    lines = [
        line("verdict that is remembered", cached, CACHED_US, "us"),
        line("`SELECT 1`, not remembered", uncached, UNCACHED_US, "us"),
        line(f"worst row of the corpus ({row.row.name})", row.took_ms, WORST_MS, "ms"),
        line("longest gap of the event loop during the corpus", max(row_gap, short_gap), GAP_MS, "ms"),
        line(f"worst of our large statements ({own.row.name})", own.took_ms, WORST_MS, "ms"),
        line("longest gap of the event loop during those", own_gap, GAP_MS, "ms"),
    ]
    print("| what | seen | asked: at most | met |", "| --- | --- | --- | --- |", *lines, sep="\n")
    return 1 if any("**no**" in one for one in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
