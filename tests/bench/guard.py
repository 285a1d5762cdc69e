"""`python -m tests.bench.guard`: what judging a statement costs, and how long it holds up the event loop.

Figures for docs/guard.md. A time is the least of several rounds and a gap the most, counted in CPU time of this
process: so both are about the guard, and not about what else the machine is doing.
"""

import asyncio
import gc
import sys
from collections.abc import Callable
from itertools import count
from time import perf_counter, process_time
from typing import NamedTuple

from doris_mcp_server.doris import guard
from doris_mcp_server.errors import StatementRefused

from ..server.doris.statements import Row, corpus, illegal, large, legal

ROUNDS = 5
CALLS = 2_000
TICK = 0.001  # seconds: a ticker that never sleeps would take half of the interpreter from the reader
CACHED_US, UNCACHED_US, WORST_MS, GAP_MS = 0.5, 120.0, 250.0, 20.0  # what is asked


class Judged(NamedTuple):
    """One statement judged: milliseconds until the verdict, and the most CPU used between two rounds of the loop."""

    row: Row
    took_ms: float
    gap_ms: float


async def judged(row: Row) -> Judged:
    judging = asyncio.create_task(_decided(row.sql))
    began, last, gap = perf_counter(), process_time(), 0.0
    while not judging.done():
        await asyncio.sleep(TICK)
        now = process_time()
        gap = max(gap, now - last)
        last = now
    return Judged(row, (perf_counter() - began) * 1e3, gap * 1e3)


async def _decided(sql: str) -> None:
    try:
        await guard.judge(sql)
    except StatementRefused:
        return


def each_us(call: Callable[[], object]) -> float:
    """Microseconds of one call."""
    rounds = []
    for _ in range(ROUNDS):
        began = perf_counter()
        for _ in range(CALLS):
            call()
        rounds.append((perf_counter() - began) / CALLS * 1e6)
    return min(rounds)


async def worst(rows: list[Row]) -> tuple[Judged, float]:
    """The row that takes longest, and the longest gap of any."""
    seen = {row: [await judged(row) for _ in range(ROUNDS)] for row in rows}
    gap = max(one.gap_ms for rounds in seen.values() for one in rounds)
    least = [min(rounds, key=lambda one: one.took_ms) for rounds in seen.values()]
    return max(least, key=lambda one: one.took_ms), gap


def line(what: str, seen: float, asked: float, unit: str) -> str:
    return f"| {what} | {seen:.2f} {unit} | {asked:g} {unit} | {'yes' if seen <= asked else '**no**'} |"


def main() -> int:
    """Exit code: 0 all is as asked, 1 not."""
    gc.freeze()  # as every worker does: what was imported is no part of a collection
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
