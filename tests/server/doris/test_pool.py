"""The pool against a frontend that misbehaves on order: bounds, places, recovery, kills, and no hang, ever."""

import asyncio
from typing import Any

import pytest

from doris_mcp_server.doris import pool as pool_module
from doris_mcp_server.doris.pool import Limits, Pool
from doris_mcp_server.errors import (
    DorisRefusedLogin,
    DorisUnavailable,
    Overloaded,
    QueryFailed,
    QueryTimeout,
    ServerError,
)

LIMIT = 20.0
LIMITS = Limits(timeout_s=LIMIT, max_rows=100, max_bytes=1 << 20)
SHORT = Limits(timeout_s=0.05, max_rows=100, max_bytes=1 << 20)


def rows_of(fake: Any, count: int, size: int = 1) -> list[bytes]:
    return list(fake.result([("a", 253)], [[b"x" * size]] * count))


async def ask(pool: Pool, sql: str = "SELECT 1", limits: Limits = LIMITS, **place: str | None) -> Any:
    return await pool.query(sql, catalog=place.get("catalog"), database=place.get("database"), limits=limits)


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
    frontend.script = lambda sql: rows_of(fake, count) if sql.startswith("SELECT") else [fake.OK]
    rows = await ask(pool)
    assert (len(rows.rows), rows.truncated, rows.truncated_by) == (kept, cut is not None, cut)


@pytest.mark.parametrize(("count", "kept", "cut"), [(9, 9, None), (10, 10, None), (11, 10, "bytes")])
async def test_bytes_are_bounded_and_honest(
    frontend: Any, pool: Pool, fake: Any, count: int, kept: int, cut: str | None
) -> None:
    frontend.script = lambda sql: rows_of(fake, count, 96) if sql.startswith("SELECT") else [fake.OK]
    rows = await ask(pool, limits=Limits(LIMIT, 100, 1000))  # 1 byte of length and 3 of JSON for each value
    assert (len(rows.rows), rows.truncated, rows.truncated_by) == (kept, cut is not None, cut)


@pytest.mark.parametrize("size", [5_000, 3_000_000])
async def test_one_cell_beyond_the_limit_is_dropped(frontend: Any, pool: Pool, fake: Any, size: int) -> None:
    frontend.script = lambda sql: rows_of(fake, 1, size) if sql.startswith("SELECT") else [fake.OK]
    rows = await ask(pool, limits=Limits(LIMIT, 100, 1000))
    assert (rows.rows, rows.truncated_by) == ([], "bytes")


async def test_a_huge_cell_is_not_even_taken_in(frontend: Any, pool: Pool, fake: Any) -> None:
    begun = [*rows_of(fake, 1)[:-1], fake.Begun(b"\xfd")]
    frontend.script = lambda sql: begun if sql.startswith("SELECT") else [fake.OK]
    rows = await ask(pool)
    assert (rows.rows, rows.truncated_by) == ([("x",)], "bytes")


async def test_a_cut_result_is_killed_and_its_connection_dropped(frontend: Any, pool: Pool, fake: Any) -> None:
    frontend.script = lambda sql: rows_of(fake, 101) if sql.startswith("SELECT") else [fake.OK]
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
    broken = [*rows_of(fake, 3)[:-1], fake.error(1105, "memory limit exceeded")]
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
    more = [*rows_of(fake, 1)[:-1], b"\xfe\x00\x00\x0a\x00"]
    frontend.script = lambda sql: more if sql == "SELECT 1" else frontend.plain(sql)
    with pytest.raises(DorisUnavailable, match="second result"):
        await ask(pool)


# --- deadline and cancellation


async def test_deadline(frontend: Any, pool: Pool, fake: Any) -> None:
    def script(sql: str) -> list[bytes]:
        if sql == "SELECT slow":
            raise fake.Silence
        return list(frontend.plain(sql))

    frontend.script = script
    with pytest.raises(QueryTimeout, match=r"longer than 0\.05 s"):
        await ask(pool, "SELECT slow", SHORT)
    await frontend.until(lambda: "KILL QUERY 1" in frontend.sent() and 1 in frontend.closed)
    assert (await ask(pool)).rows == [(1,)]
    assert pool.in_use == 0


async def test_cancelled_caller(frontend: Any, pool: Pool, fake: Any) -> None:
    def script(sql: str) -> list[bytes]:
        if sql == "SELECT slow":
            raise fake.Silence
        return list(frontend.plain(sql))

    frontend.script = script
    task = asyncio.create_task(ask(pool, "SELECT slow"))
    await frontend.until(lambda: "SELECT slow" in frontend.sent())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await frontend.until(lambda: "KILL QUERY 1" in frontend.sent() and 1 in frontend.closed)
    assert (await ask(pool)).rows == [(1,)]
    assert pool.in_use == 0


async def test_close_waits_for_the_kill(frontend: Any, pool: Pool, fake: Any) -> None:
    def script(sql: str) -> list[bytes]:
        if sql == "SELECT slow":
            raise fake.Silence
        return list(frontend.plain(sql))

    frontend.script = script
    with pytest.raises(QueryTimeout):
        await ask(pool, "SELECT slow", SHORT)
    await pool.close(LIMIT)
    assert "KILL QUERY 1" in frontend.sent()


async def test_second_net_is_set_once(frontend: Any, pool: Pool) -> None:
    for limits in (Limits(9.5, 1, 1000), Limits(9.5, 1, 1000), Limits(3, 1, 1000)):
        await ask(pool, limits=limits)
    sent = [sql for sql in frontend.sent(quiet=False) if sql.startswith("SET")]
    assert sent == ["SET query_timeout = 11", "SET query_timeout = 4"]


# --- catalog and database


async def test_places(frontend: Any, pool: Pool) -> None:
    places: list[tuple[str | None, str | None]] = [
        ("c1", None),
        ("c1", None),
        ("c1", "d"),
        ("c2", "d`2"),
        ("c2", "d`2"),
    ]
    for catalog, database in places:
        await ask(pool, catalog=catalog, database=database)
    sent = [sql for sql in frontend.sent() if sql != "SELECT 1"]
    assert sent == ["SWITCH `c1`", "USE `c1`.`d`", "USE `c2`.`d``2`"]
    assert frontend.connections == 1


async def test_databases_of_the_default_catalog(frontend: Any, pool: Pool) -> None:
    for database in ("d1", "d1", "it's-d 2"):
        await ask(pool, database=database)
    assert [sql for sql in frontend.sent() if sql != "SELECT 1"] == ["USE `d1`", "USE `it's-d 2`"]
    assert frontend.connections == 1


async def test_nothing_of_the_last_caller_is_left(frontend: Any, pool: Pool) -> None:
    """No statement leads back to no database, to the default catalog, or to a catalog's own start."""
    await ask(pool, database="d1")
    await ask(pool)
    await ask(pool, catalog="c1", database="d")
    await ask(pool, catalog="c2", database="d")
    await ask(pool, catalog="c1")
    placed: dict[int, list[str]] = {}
    for number, sql in frontend.statements:
        if sql.startswith(("USE", "SWITCH")):
            placed.setdefault(number, []).append(sql)
    assert placed[frontend.statements[-1][0]] == ["SWITCH `c1`"]
    second = [number for number, sql in frontend.statements if sql == "SELECT 1"][1]
    assert second != 1
    assert frontend.connections >= 3


async def test_default_database_of_the_route(frontend: Any, route: Any) -> None:
    pool = Pool(route(frontend.port, database="home"), size=2)
    await ask(pool)
    await ask(pool, database="away")
    await ask(pool)
    assert [sql for sql in frontend.sent() if sql != "SELECT 1"] == ["USE `away`", "USE `home`"]
    await pool.close(LIMIT)


async def test_a_catalog_without_a_database_does_not_inherit_the_routes(frontend: Any, route: Any) -> None:
    pool = Pool(route(frontend.port, database="home"), size=2)
    await ask(pool)
    await ask(pool, catalog="internal")
    assert [number for number, sql in frontend.statements if sql == "SELECT 1"] == [1, 2]
    assert [sql for sql in frontend.sent() if sql != "SELECT 1"] == ["SWITCH `internal`"]
    await pool.close(LIMIT)


async def test_a_failed_use_leaves_no_half_moved_connection(frontend: Any, pool: Pool, fake: Any) -> None:
    frontend.script = lambda sql: [fake.error(1049, "Unknown database")] if "nope" in sql else frontend.plain(sql)
    with pytest.raises(QueryFailed, match="Unknown database"):
        await ask(pool, catalog="c", database="nope")
    await ask(pool)
    assert 1 in frontend.closed or frontend.statements[-1][0] != 1


async def test_sql_mode_is_pinned(frontend: Any, pool: Pool) -> None:
    frontend.sql_mode = b"ONLY_FULL_GROUP_BY,NO_BACKSLASH_ESCAPES"
    await ask(pool)
    assert frontend.sent()[0] == "SET sql_mode = 'ONLY_FULL_GROUP_BY'"


# --- the way to Doris is broken


async def test_dead_port(frontend: Any, pool: Pool) -> None:
    await frontend.stop()
    with pytest.raises(DorisUnavailable):
        await ask(pool)


async def test_recovery_while_statements_keep_coming(frontend: Any, pool: Pool) -> None:
    await ask(pool)
    port = frontend.port
    await frontend.stop()
    with pytest.raises(DorisUnavailable):
        await ask(pool)
    await frontend.start(port)
    assert (await ask(pool)).rows == [(1,)]


async def test_a_connection_that_died_idle_costs_no_error(frontend: Any, pool: Pool) -> None:
    await ask(pool)
    port = frontend.port
    await frontend.stop()
    await frontend.start(port)
    assert (await ask(pool)).rows == [(1,)]


async def test_hanging_up_on_a_reused_connection_is_tried_once_more(frontend: Any, pool: Pool, fake: Any) -> None:
    await ask(pool)

    def script(sql: str) -> list[bytes]:
        if sql == "SELECT 2" and frontend.connections == 1:
            raise fake.HangUp
        return list(frontend.plain(sql))

    frontend.script = script
    assert (await ask(pool, "SELECT 2")).rows == [(1,)]
    assert frontend.sent().count("SELECT 2") == 2


async def test_one_dead_connection_takes_its_neighbours_along(frontend: Any, pool: Pool, fake: Any) -> None:
    await ask(pool, database="d1")
    await ask(pool)

    def script(sql: str) -> list[bytes]:
        if sql == "SELECT 2" and frontend.connections == 2:
            raise fake.HangUp
        return list(frontend.plain(sql))

    frontend.script = script
    assert (await ask(pool, "SELECT 2")).rows == [(1,)]
    await frontend.until(lambda: {1, 2} <= frontend.closed)


async def test_hanging_up_on_a_new_connection_is_not_tried_again(frontend: Any, pool: Pool, fake: Any) -> None:
    def script(sql: str) -> list[bytes]:
        raise fake.HangUp

    frontend.script = script
    with pytest.raises(DorisUnavailable):
        await ask(pool)
    assert frontend.connections == 1


@pytest.mark.parametrize("code", [1045, 1044, 1049])
async def test_refused_login(frontend: Any, pool: Pool, fake: Any, code: int) -> None:
    frontend.login = fake.error(code, "Access denied for user 'u'")
    with pytest.raises(DorisRefusedLogin, match="Access denied") as refused:
        await ask(pool)
    assert "secret" not in str(refused.value.as_dict())
    frontend.login = fake.OK
    assert (await ask(pool)).rows == [(1,)]


async def test_too_many_connections_is_not_the_accounts_fault(frontend: Any, pool: Pool, fake: Any) -> None:
    frontend.login = fake.error(1040, "Too many connections")
    with pytest.raises(DorisUnavailable, match="Too many"):
        await ask(pool)


async def test_silent_login(frontend: Any, route: Any) -> None:
    frontend.login = None
    pool = Pool(route(frontend.port), size=1, connect_timeout=0.05)
    with pytest.raises(DorisUnavailable, match=r"within 0\.05 s"):
        await ask(pool)
    await pool.close(LIMIT)


@pytest.mark.parametrize(
    "greeting",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x03\x00\x00\x00\x0a5\x00",
        b"\x05\x00\x00\x00\xff\x15\x04no",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x01\x00\x00\x00\x0a",
        bytes(range(256)) * 8,
    ],
)
async def test_garbage_instead_of_a_greeting(greeting: bytes, route: Any) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    pool = Pool(route(server.sockets[0].getsockname()[1]), size=1, connect_timeout=LIMIT)
    with pytest.raises((DorisUnavailable, DorisRefusedLogin)):
        await ask(pool)
    await pool.close(LIMIT)
    server.close()


async def test_what_is_too_large_for_a_greeting_is_not_waited_for(frontend: Any, pool: Pool) -> None:
    frontend.greeting = [b"\x01\x00\x01\x00\x0a"]
    with pytest.raises(DorisUnavailable, match="does not speak the MySQL protocol"):
        await ask(pool)


async def test_a_busy_pool_says_so(frontend: Any, fake: Any, route: Any) -> None:
    def script(sql: str) -> list[bytes]:
        if sql == "SELECT slow":
            raise fake.Silence
        return [fake.OK]

    frontend.script = script
    pool = Pool(route(frontend.port), size=1, acquire_timeout=0.01)
    task = asyncio.create_task(ask(pool, "SELECT slow"))
    await frontend.until(lambda: "SELECT slow" in frontend.sent())
    with pytest.raises(Overloaded, match="All 1 connections"):
        await ask(pool)
    assert pool.in_use == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await pool.close(LIMIT)


# --- size and closing


async def test_never_more_connections_than_its_size(frontend: Any, pool: Pool) -> None:
    await asyncio.gather(*(ask(pool, database=f"d{number % 3}") for number in range(40)))
    assert frontend.connections <= 2
    assert pool.in_use == 0


async def test_an_idle_connection_makes_room_for_one_that_is_needed(frontend: Any, pool: Pool) -> None:
    for catalog, database in ((None, "d1"), (None, None), ("c1", None), (None, None)):
        await ask(pool, catalog=catalog, database=database)
    assert frontend.connections == 3
    await frontend.until(lambda: 1 in frontend.closed)


async def test_making_one_needs_no_doris_and_no_loop(route: Any) -> None:
    pool = await asyncio.to_thread(Pool, route(1), size=4)
    assert (pool.size, pool.in_use) == (4, 0)
    assert "secret" not in repr(pool.route)


async def test_close_lets_a_statement_end(frontend: Any, pool: Pool) -> None:
    task = asyncio.create_task(ask(pool))
    await frontend.until(lambda: frontend.sent(quiet=False))
    await pool.close(LIMIT)
    assert (await task).rows == [(1,)]
    with pytest.raises(DorisUnavailable, match="shutting down"):
        await ask(pool)


async def test_close_kills_what_does_not_end(
    frontend: Any, pool: Pool, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(sql: str) -> list[bytes]:
        if sql == "SELECT slow":
            raise fake.Silence
        return [fake.OK]

    monkeypatch.setattr(pool_module, "PATIENCE", 0.001)
    frontend.script = script
    task = asyncio.create_task(ask(pool, "SELECT slow"))
    await frontend.until(lambda: "SELECT slow" in frontend.sent())
    await pool.close(LIMIT)
    with pytest.raises(DorisUnavailable):
        await task
    assert "KILL QUERY 1" in frontend.sent()
