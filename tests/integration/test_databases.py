"""Databases that lose callers, die, hang, come back, and have more to say than anybody wants; `make chaos` times it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from doris_mcp_server.doris.driver import Name

from . import disconnects, failover, sizes
from .failover import Engine, Pair
from .house import DRIVERS, until

driven = pytest.mark.parametrize("driver", DRIVERS)


@driven
async def test_callers_who_leave_take_their_statements_along(driver: Name, tmp_path: Path) -> None:
    async with disconnects.house(tmp_path, driver) as it:
        gone = await disconnects.leave(it)
        assert gone.wrong == []
        assert await it.figure("doris_mcp_kills_total", outcome="sent") == disconnects.CALLS
        assert await it.figure("doris_mcp_tool_calls_total", outcome="cancelled") == disconnects.CALLS
        assert await it.figure("doris_mcp_connections", state="busy") == 0
        assert await it.figure("doris_mcp_connections", state="idle") <= disconnects.CALLS
    assert not it.complaints()


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=DRIVERS)
async def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    """For all tests of a driver: each of them brings back what it takes away."""
    async with failover.pair(tmp_path_factory.mktemp("pair"), request.param) as it:
        yield it


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("lose", [Engine.kill, Engine.hang])
async def test_when_a_frontend_is_lost_the_next_one_answers(lose: Callable[[Engine], None], pair: Pair) -> None:
    failovers = await pair.figure("doris_mcp_failovers_total")
    report = await failover.lose_first(pair, lose)
    assert failover.wrong(report) == []
    assert await pair.who_answers() == pair.engines[1].rows
    first = f"127.0.0.1:{pair.engines[0].port}"
    await until(lambda: pair.figure("doris_mcp_frontend_up", frontend=first), lambda up: up == 0)
    assert await pair.figure("doris_mcp_failovers_total") > failovers
    await pair.engines[0].come_back()
    await pair.back()


@pytest.mark.asyncio(loop_scope="module")
async def test_when_all_frontends_are_lost_callers_are_told_and_it_recovers_by_itself(pair: Pair) -> None:
    pids = list(await pair.workers())
    for told in await failover.lose_all(pair):
        assert told.error is not None
        assert (told.kind, told.error["retryable"]) == ("doris_unavailable", True)
    alive, _, reason = await until(pair.checks, lambda checks: checks[1] == 503)
    assert alive == 200
    assert all(f"127.0.0.1:{engine.port}" in reason for engine in pair.engines), reason
    await asyncio.gather(*(engine.come_back() for engine in pair.engines))
    await pair.back()
    await until(pair.checks, lambda checks: checks[1] == 200)
    assert list(await pair.workers()) == pids
    assert not [line for line in pair.running.lines if "exception" in line]


@driven
@pytest.mark.parametrize("most", sizes.BYTES)
async def test_what_is_too_large_is_cut_and_killed_and_never_taken_in(driver: Name, most: str, tmp_path: Path) -> None:
    async with sizes.scripted(tmp_path, driver, **sizes.BYTES[most]) as it:
        cell = await sizes.take(it, sizes.SCRIPTED_CELL)
        _is_cut(cell, 0, "bytes")
        rows = await sizes.take(it, sizes.ENDLESS_ROWS)
        _is_cut(rows, 1000, "rows")
        await it.frontend.until(lambda: sum(sql.startswith("KILL") for sql in it.frontend.sent()) == 2)
    assert not it.complaints()


@driven
async def test_ten_million_rows_are_cut_and_killed(driver: Name, tmp_path: Path) -> None:
    async with sizes.stored(tmp_path, driver) as it:
        _is_cut(await sizes.take(it, sizes.TEN_MILLION_ROWS), 1000, "rows")
        assert await until(it.statements, lambda running: not running) == []
        assert await it.figure("doris_mcp_kills_total", outcome="sent") == 1
    assert not it.complaints()


def _is_cut(taken: sizes.Taken, rows: int, by: str) -> None:
    result = taken.told.result
    assert result is not None, taken.told
    assert (result["row_count"], result["truncated"], result["truncated_by"]) == (rows, True, by)
    assert taken.peak < 200
    assert taken.others.clean, taken.others
