"""What the pool makes of a frontend's answers: rows within bounds, kills of what is cut, errors by kind."""

import asyncio
from typing import Any

import pytest

from doris_mcp_server.doris.pool import Limits, Pool
from doris_mcp_server.errors import (
    DorisUnavailable,
    QueryFailed,
    QueryTimeout,
    ServerError,
)

from .conftest import LIMIT, ask, rows_of

# --- results and their bounds


async def test_result(pool: Pool) -> None:
    rows = await ask(pool)
    assert (rows.rows, rows.columns[0].name, rows.columns[0].type) == ([(1,)], "one", "INT")
    assert (rows.truncated, rows.truncated_by, pool.in_use) == (False, None, 0)
    assert rows.elapsed_ms >= 0


async def test_an_acknowledgement_is_no_empty_result(frontend: Any, pool: Pool, fake: Any) -> None:
    frontend.script = lambda sql: [fake.OK]
    with pytest.raises(DorisUnavailable, match="acknowledgement"):
        await ask(pool)


WIDE = 1 << 14


async def test_as_many_columns_as_anybody_can_use(frontend: Any, pool: Pool, fake: Any) -> None:
    frontend.script = lambda sql: fake.result([("a", 3)] * WIDE, [[b"1"] * WIDE]) if "SELECT" in sql else [fake.OK]
    assert (await ask(pool)).rows == [(1,) * WIDE]


@pytest.mark.parametrize(
    ("count", "size"), [(WIDE + 1, 1), (2**64 - 1, 1), (100, 500_000)], ids=["too many", "endless", "too long"]
)
async def test_columns_are_bounded(frontend: Any, pool: Pool, fake: Any, count: int, size: int) -> None:
    columns = [fake.column("a" * size, 253)] * 10
    frontend.script = lambda sql: [fake.number(count), *columns] if sql.startswith("SELECT") else [fake.OK]
    with pytest.raises(QueryFailed, match="columns"):
        await ask(pool)
    await frontend.until(lambda: "KILL QUERY 1" in frontend.sent() and 1 in frontend.closed)


@pytest.mark.parametrize(("count", "kept", "cut"), [(99, 99, None), (100, 100, None), (101, 100, "rows")])
async def test_rows_are_bounded_and_honest(
    frontend: Any, pool: Pool, fake: Any, count: int, kept: int, cut: str | None
) -> None:
    frontend.script = lambda sql: rows_of(count) if sql.startswith("SELECT") else [fake.OK]
    rows = await ask(pool)
    assert (len(rows.rows), rows.truncated, rows.truncated_by) == (kept, cut is not None, cut)


@pytest.mark.parametrize(("count", "kept", "cut"), [(9, 9, None), (10, 10, None), (11, 10, "bytes")])
async def test_bytes_are_bounded_and_honest(
    frontend: Any, pool: Pool, fake: Any, count: int, kept: int, cut: str | None
) -> None:
    frontend.script = lambda sql: rows_of(count, 96) if sql.startswith("SELECT") else [fake.OK]
    rows = await ask(pool, limits=Limits(LIMIT, 100, 1000))  # 1 byte of length and 3 of JSON for each value
    assert (len(rows.rows), rows.truncated, rows.truncated_by) == (kept, cut is not None, cut)


@pytest.mark.parametrize("size", [5_000, 3_000_000])
async def test_one_cell_beyond_the_limit_is_dropped(frontend: Any, pool: Pool, fake: Any, size: int) -> None:
    frontend.script = lambda sql: rows_of(1, size) if sql.startswith("SELECT") else [fake.OK]
    rows = await ask(pool, limits=Limits(LIMIT, 100, 1000))
    assert (rows.rows, rows.truncated_by) == ([], "bytes")


async def test_a_huge_cell_is_not_even_taken_in(frontend: Any, pool: Pool, fake: Any) -> None:
    begun = [*rows_of(1)[:-1], fake.Begun(b"\xfd")]
    frontend.script = lambda sql: begun if sql.startswith("SELECT") else [fake.OK]
    rows = await ask(pool)
    assert (rows.rows, rows.truncated_by) == ([("x",)], "bytes")


async def test_a_cut_result_is_killed_and_its_connection_dropped(frontend: Any, pool: Pool, fake: Any) -> None:
    frontend.script = lambda sql: rows_of(101) if sql.startswith("SELECT") else [fake.OK]
    await ask(pool)
    await frontend.until(lambda: "KILL QUERY 1" in frontend.sent() and 1 in frontend.closed)
    frontend.script = frontend.plain
    assert (await ask(pool)).rows == [(1,)]
    assert frontend.statements[-1][0] != 1


async def test_kills_that_are_due_together_share_a_connection(frontend: Any, route: Any, fake: Any) -> None:
    def script(sql: str) -> list[bytes]:
        if sql.startswith("SELECT"):
            raise fake.Silence
        return [fake.error(1105, "not yours") if sql == "KILL QUERY 2" else fake.OK]

    frontend.script = script
    pool = Pool(route(frontend.port), size=3, connect_timeout=LIMIT)
    calls = [asyncio.create_task(ask(pool)) for _ in range(3)]
    await frontend.until(lambda: frontend.sent().count("SELECT 1") == 3)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await pool.close(LIMIT)
    kills = [(number, sql) for number, sql in frontend.statements if sql.startswith("KILL")]
    assert sorted(kills) == [(4, "KILL QUERY 1"), (4, "KILL QUERY 2"), (4, "KILL QUERY 3")]
    assert pool.kills.counts == {"sent": 2, "failed": 1}


async def test_where_one_kill_does_not_get_through_the_others_are_not_tried(
    frontend: Any, route: Any, fake: Any
) -> None:
    def script(sql: str) -> list[bytes]:
        raise fake.HangUp if sql.startswith("KILL") else fake.Silence

    pool = Pool(route(frontend.port), size=4, connect_timeout=LIMIT)
    await asyncio.gather(ask(pool), ask(pool))
    frontend.script = script
    calls = [asyncio.create_task(ask(pool)) for _ in range(2)]
    await frontend.until(lambda: frontend.sent().count("SELECT 1") == 4)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await pool.close(LIMIT)
    assert len([sql for sql in frontend.sent() if sql.startswith("KILL")]) == 1
    assert pool.kills.counts == {"sent": 0, "failed": 2}


async def test_a_whole_result_kills_nothing(frontend: Any, pool: Pool) -> None:
    await ask(pool)
    await ask(pool)
    await pool.close(LIMIT)
    assert frontend.sent() == ["SELECT 1", "SELECT 1"]
    assert frontend.connections == 1


# --- errors


async def test_an_error_of_doris_keeps_the_connection(frontend: Any, pool: Pool, fake: Any) -> None:
    frontend.script = lambda sql: [fake.error(1146, "Unknown table 't'")] if sql == "SELECT t" else frontend.plain(sql)
    await ask(pool)
    with pytest.raises(QueryFailed, match=r"1146.*Unknown table 't'") as failed:
        await ask(pool, "SELECT t")
    assert "list_tables" in str(failed.value.hint)
    await ask(pool)
    assert frontend.connections == 1


async def test_an_error_amid_the_rows(frontend: Any, pool: Pool, fake: Any) -> None:
    broken = [*rows_of(3)[:-1], fake.error(1105, "memory limit exceeded")]
    frontend.script = lambda sql: broken if sql == "SELECT 1" else frontend.plain(sql)
    with pytest.raises(QueryFailed, match="memory limit"):
        await ask(pool)
    assert (await ask(pool, "SELECT 2")).rows == [(1,)]
    assert frontend.connections == 1


@pytest.mark.parametrize(
    ("code", "words", "kind"),
    [
        (1105, "errCode = 2, detailMessage = Node catalog is not ready, please wait", DorisUnavailable),
        (1053, "Server shutdown in progress", DorisUnavailable),
        (1105, "errCode = 2, detailMessage = query is timeout, killed by timeout checker", QueryTimeout),
        (1142, "SELECT command denied to user", QueryFailed),
    ],
)
async def test_errors_have_kinds(
    frontend: Any, pool: Pool, fake: Any, code: int, words: str, kind: type[ServerError]
) -> None:
    frontend.script = lambda sql: [fake.error(code, words)] if sql == "SELECT 1" else [fake.OK]
    with pytest.raises(kind, match=words.split("=")[-1].strip()) as failed:
        await ask(pool)
    assert "errCode" not in failed.value.message


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param([b"\xfb/etc/passwd"], id="asks for a local file"),
        pytest.param([b"\x01", b"\x00"], id="broken column"),
        pytest.param([b"\x02", b"\x03def"], id="column cut short"),
        pytest.param([b""], id="empty"),
    ],
)
async def test_garbage_in_an_answer(frontend: Any, pool: Pool, answer: list[bytes]) -> None:
    frontend.script = lambda sql: answer if sql == "SELECT 1" else frontend.plain(sql)
    with pytest.raises(DorisUnavailable):
        await ask(pool)
    assert (await ask(pool, "SELECT 2")).rows == [(1,)]
    assert (pool.in_use, frontend.connections) == (0, 2)


async def test_a_second_result_is_an_error(frontend: Any, pool: Pool, fake: Any) -> None:
    more = [*rows_of(1)[:-1], b"\xfe\x00\x00\x0a\x00"]
    frontend.script = lambda sql: more if sql == "SELECT 1" else frontend.plain(sql)
    with pytest.raises(DorisUnavailable, match="second result"):
        await ask(pool)
