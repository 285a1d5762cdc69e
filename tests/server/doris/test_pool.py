"""The pool against a frontend that misbehaves on order: places, recovery, kills, and no hang, ever."""

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
)

from .conftest import LIMIT, ask

SHORT = Limits(timeout_s=0.05, max_rows=100, max_bytes=1 << 20)


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
    frontend.variables["sql_mode"] = b"ONLY_FULL_GROUP_BY,NO_BACKSLASH_ESCAPES"
    await ask(pool)
    assert frontend.sent()[0] == "SET sql_mode = 'ONLY_FULL_GROUP_BY'"


LOOK = "SELECT @@sql_mode, @@enable_nereids_planner, @@enable_fallback_to_original_planner"


async def test_a_session_that_is_right_costs_one_look(frontend: Any, pool: Pool) -> None:
    for yes, no in ((b"1", b"0"), (b"true", b"false"), (b"ON", b"OFF")):
        frontend.variables |= {"enable_nereids_planner": yes, "enable_fallback_to_original_planner": no}
        frontend.statements.clear()
        pool.close_idle()
        await ask(pool)
        assert frontend.sent(quiet=False) == [LOOK, "SET query_timeout = 21", "SELECT 1"]


@pytest.mark.parametrize(
    ("nereids", "fallback", "changes"),
    [
        (b"1", b"1", "enable_fallback_to_original_planner = false"),
        (b"true", b"true", "enable_fallback_to_original_planner = false"),
        (b"0", b"0", "enable_nereids_planner = true"),
        (b"OFF", b"ON", "enable_nereids_planner = true, enable_fallback_to_original_planner = false"),
        (b"", None, "enable_nereids_planner = true, enable_fallback_to_original_planner = false"),
        (b"maybe", b"0", "enable_nereids_planner = true"),
    ],
)
async def test_the_planner_is_pinned(
    nereids: bytes, fallback: bytes | None, changes: str, frontend: Any, pool: Pool
) -> None:
    """Whatever this Doris has by default: of what the new planner refuses, the old one is not asked."""
    frontend.variables |= {"enable_nereids_planner": nereids, "enable_fallback_to_original_planner": fallback}
    await ask(pool)
    assert frontend.sent() == [f"SET {changes}", "SELECT 1"]


async def test_all_pins_are_set_at_once(frontend: Any, pool: Pool) -> None:
    frontend.variables |= {"sql_mode": b"no_backslash_escapes", "enable_fallback_to_original_planner": b"1"}
    await ask(pool)
    assert frontend.sent() == ["SET sql_mode = '', enable_fallback_to_original_planner = false", "SELECT 1"]


async def test_what_has_no_planners_is_asked_for_its_sql_mode_alone(frontend: Any, pool: Pool) -> None:
    for name in ("enable_nereids_planner", "enable_fallback_to_original_planner"):
        del frontend.variables[name]
    frontend.variables["sql_mode"] = b"NO_BACKSLASH_ESCAPES"
    await ask(pool)
    assert frontend.sent(quiet=False)[:3] == [LOOK, "SELECT @@sql_mode", "SET sql_mode = ''"]


@pytest.mark.parametrize("refused", [LOOK, "SELECT @@sql_mode", "SET enable_fallback"])
async def test_a_session_that_cannot_be_pinned_is_not_used(
    refused: str, frontend: Any, pool: Pool, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a variable that is not there may be left out, not one that is not told now."""
    answer = frontend._answer
    frontend.variables["enable_fallback_to_original_planner"] = b"1"
    no = [fake.error(1105, "the queue is full")]
    monkeypatch.setattr(frontend, "_answer", lambda sql: no if sql.startswith(refused) else answer(sql))
    with pytest.raises(DorisUnavailable, match="would not tell or set its sql_mode and planner: the queue is full"):
        await ask(pool)
    assert "SELECT 1" not in frontend.sent()
    await frontend.until(lambda: 1 in frontend.closed)


async def test_half_an_answer_is_none(frontend: Any, pool: Pool, fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontend, "_answer", lambda sql: fake.result([("@@sql_mode", 253)], [[b""]]))
    with pytest.raises(DorisUnavailable, match="did not tell its sql_mode and enable_nereids_planner"):
        await ask(pool)


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
