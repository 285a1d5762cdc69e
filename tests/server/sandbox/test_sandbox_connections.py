"""Logins, sessions, and queries that are killed, run out of time, or lose their client."""

import asyncio
import contextlib
import struct

import aiomysql
import pymysql
import pytest

from doris_mcp_server import sandbox
from doris_mcp_server.errors import ConfigError

from .conftest import query, until_running

SLOW = "SELECT sum(a.lo_quantity * b.lo_tax * c.lo_tax) FROM lineorder a CROSS JOIN lineorder b CROSS JOIN lineorder c"

_BODY = struct.pack("<IIB23s", 0x81A200, 1 << 24, 45, b"") + b"root\x00" + b"\x00" + b"mysql_native_password\x00"
LOGIN = len(_BODY).to_bytes(3, "little") + b"\x01" + _BODY  # without a password


async def test_a_client_sees_doris(connect):
    async with connect() as connection:
        assert connection.get_server_info() == "5.7.99"
        await connection.ping()


@pytest.mark.parametrize("wrong", [{"password": "wrong"}, {"password": ""}, {"user": "admin"}, {"user": "Root"}])
async def test_a_wrong_login_is_refused(connect, wrong):
    with pytest.raises(pymysql.err.OperationalError) as caught:
        async with connect(**wrong):
            pass
    assert caught.value.args[0] == 1045
    assert "Access denied for user" in caught.value.args[1]


@pytest.mark.parametrize("sequence", [0, 3])
async def test_after_a_refused_login_no_command_is_taken(engine, sequence):
    """A client that ignores the refusal and goes on gets the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", engine.port)
    try:
        async with asyncio.timeout(30):
            await reader.readexactly(int.from_bytes((await reader.readexactly(4))[:3], "little"))
            writer.write(LOGIN)
            head = await reader.readexactly(4)
            answer = await reader.readexactly(int.from_bytes(head[:3], "little"))
            assert answer[:3] == b"\xff" + (1045).to_bytes(2, "little")
            attack = b"\x03SELECT 1"
            writer.write(len(attack).to_bytes(3, "little") + bytes([sequence]) + attack)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
    finally:
        writer.close()


async def test_an_unknown_database_is_refused_at_login(connect):
    with pytest.raises(pymysql.err.MySQLError) as caught:
        async with connect(db="nope"):
            pass
    assert caught.value.args[0] == 1049
    async with connect(db="lake.raw") as connection:
        assert (await query(connection, "SELECT count(*) FROM clicks"))[1] == [(5000,)]


async def test_an_empty_password_is_for_loopback_only():
    with pytest.raises(ConfigError, match="loopback"):
        await sandbox.start("0.0.0.0", 0, "root", "", 10)
    running = await sandbox.start("127.0.0.1", 0, "root", "", 10)
    try:
        connection = await aiomysql.connect(host="127.0.0.1", port=running.port, user="root", password="")
        await connection.ensure_closed()
        with pytest.raises(pymysql.err.OperationalError):
            await aiomysql.connect(host="127.0.0.1", port=running.port, user="root", password="x")
    finally:
        await running.close()


async def test_variables_belong_to_one_session(connect):
    async with connect() as one, connect() as other:
        await query(one, "SET query_timeout = 7, @@session.enable_profile = true")
        assert (await query(one, "SELECT @@query_timeout"))[1] == [(7,)]
        assert (await query(one, "SHOW VARIABLES LIKE 'query_timeout'"))[1] == [("query_timeout", "7", "900", "1")]
        assert (await query(other, "SELECT @@query_timeout"))[1] == [(900,)]
        await query(one, "SET NAMES utf8mb4")
        await query(one, "SET query_timeout = DEFAULT")
        assert (await query(one, "SELECT @@query_timeout"))[1] == [(900,)]


@pytest.mark.parametrize("statement", [SLOW, "SELECT SLEEP(600)", "SELECT count(*) FROM lineorder WHERE sleep(600)"])
async def test_kill_query_ends_the_query_and_keeps_the_connection(connect, statement):
    async with connect() as victim, connect() as killer:
        running = asyncio.ensure_future(query(victim, statement))
        row = await until_running(killer, statement)
        assert row["Id"] == str(victim.thread_id()) and row["Command"] == "Query"
        assert (await query(killer, "SELECT 2"))[1] == [(2,)]  # nobody else waits meanwhile
        await query(killer, f"KILL QUERY {victim.thread_id()}")
        with pytest.raises(pymysql.err.MySQLError, match="cancel query by user") as caught:
            await asyncio.wait_for(running, 30)
        assert caught.value.args[0] == 1105
        assert (await query(victim, "SELECT count(*) FROM customer"))[1] == [(100,)]


async def test_kill_query_spares_an_idle_connection_and_knows_query_ids(connect):
    async with connect() as victim, connect() as killer:
        await query(killer, f"KILL QUERY {victim.thread_id()}")
        running = asyncio.ensure_future(query(victim, "SELECT SLEEP(601)"))
        row = await until_running(killer, "SLEEP(601)")
        await query(killer, f"KILL QUERY '{row['QueryId']}'")
        with pytest.raises(pymysql.err.MySQLError, match="cancel query by user"):
            await asyncio.wait_for(running, 30)
        assert (await query(victim, "SELECT 1"))[1] == [(1,)]


@pytest.mark.parametrize("form", ["KILL {}", "KILL CONNECTION {}"])
async def test_kill_connection_ends_the_connection(connect, form):
    async with connect() as victim, connect() as killer:
        running = asyncio.ensure_future(query(victim, "SELECT SLEEP(602)"))
        await until_running(killer, "SLEEP(602)")
        await query(killer, form.format(victim.thread_id()))
        with pytest.raises(pymysql.err.MySQLError):
            await asyncio.wait_for(running, 30)
        with pytest.raises((pymysql.err.MySQLError, ConnectionError)):
            await query(victim, "SELECT 1")
        victim.close()


@pytest.mark.parametrize(
    ("before", "statement"),
    [
        ("SET query_timeout = 1", SLOW),
        ("SET query_timeout = 1", "SELECT SLEEP(600)"),
        ("SELECT 1", SLOW.replace("SELECT", "SELECT /*+ SET_VAR(query_timeout = 1) */", 1)),
    ],
)
async def test_a_query_past_its_time_limit_is_ended(connect, before, statement):
    async with connect() as connection:
        await query(connection, before)
        with pytest.raises(pymysql.err.MySQLError, match="query is timeout") as caught:
            await asyncio.wait_for(query(connection, statement), 30)
        assert caught.value.args[0] == 1105
        assert (await query(connection, "SELECT 1 FROM dates LIMIT 1"))[1] == [(1,)]


@pytest.mark.parametrize("statement", [SLOW, "SELECT SLEEP(603)"])
async def test_the_query_of_a_client_that_went_away_is_interrupted(connect, engine, statement):
    async with connect() as watcher, connect() as leaver:
        running = asyncio.ensure_future(query(leaver, statement))
        await until_running(watcher, statement)
        leaver.close()
        await until_running(watcher, statement, running=False)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_sleep_answers_true_and_many_sleepers_hold_nobody_up(connect):
    async def sleeper() -> None:
        async with connect() as connection:
            assert (await query(connection, "SELECT SLEEP(0.3)"))[1] == [(1,)]

    async with asyncio.timeout(30):
        await asyncio.gather(*(sleeper() for _ in range(50)))


async def test_a_frontend_that_is_not_ready_says_so_and_recovers(connect):
    running = await sandbox.start("127.0.0.1", 0, "root", "x", 10)
    try:
        async with connect(port=running.port, password="x") as connection:
            running.engine.ready = False
            for statement in ("SELECT 1", "SHOW DATABASES", "USE ops"):
                with pytest.raises(pymysql.err.MySQLError, match="Node catalog is not ready, please wait"):
                    await query(connection, statement)
            running.engine.ready = True
            assert (await query(connection, "SELECT 1"))[1] == [(1,)]
    finally:
        await running.close()


async def test_a_login_may_come_byte_by_byte(engine):
    reader, writer = await asyncio.open_connection("127.0.0.1", engine.port)
    try:
        async with asyncio.timeout(30):
            await reader.readexactly(int.from_bytes((await reader.readexactly(4))[:3], "little"))
            for byte in LOGIN:
                writer.write(bytes([byte]))
                await writer.drain()
            head = await reader.readexactly(4)
            answer = await reader.readexactly(int.from_bytes(head[:3], "little"))
            assert answer[:3] == b"\xff" + (1045).to_bytes(2, "little")
    finally:
        writer.close()


async def test_prepared_statements_and_unknown_commands_are_refused(connect):
    async with connect() as connection:
        for command, code in ((0x16, 1295), (0x1C, 1047)):
            await connection._execute_command(command, "SELECT ?")
            with pytest.raises(pymysql.err.MySQLError) as caught:
                await connection._read_packet()
            assert caught.value.args[0] == code
        assert (await query(connection, "SELECT 1"))[1] == [(1,)]


async def test_close_ends_connections_and_running_queries():
    running = await sandbox.start("127.0.0.1", 0, "root", "x", 2000)
    connection = await aiomysql.connect(host="127.0.0.1", port=running.port, user="root", password="x", db="ssb")
    watcher = await aiomysql.connect(host="127.0.0.1", port=running.port, user="root", password="x")
    slow = asyncio.ensure_future(query(connection, SLOW))
    await until_running(watcher, "CROSS JOIN")
    await asyncio.wait_for(running.close(), 30)
    with pytest.raises(pymysql.err.MySQLError):
        await slow
    connection.close()
    watcher.close()
