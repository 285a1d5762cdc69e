"""Accounts with grants: each sees only what it was granted; a bad file is told by its entry, without a password."""

import asyncio
import contextlib
import json

import pymysql
import pytest

from doris_mcp_server import sandbox
from doris_mcp_server.errors import ConfigError
from doris_mcp_server.sandbox.options import Options

from .conftest import PASSWORD, query, until_running

OPS = {"user": "ops", "password": "ops-password", "db": "ops"}
WEAK = {"user": "weak", "password": "weak-password"}


@pytest.fixture
async def weak(guarded, connect):
    """Ask as the account that was granted one table."""
    async with connect(port=guarded.port, **WEAK) as connection:
        yield lambda sql: query(connection, sql)


async def names(ask, sql: str) -> list[str]:
    return [row[0] for row in (await ask(sql))[1]]


async def test_an_account_sees_the_names_it_was_granted_and_no_others(weak):
    assert await names(weak, "SHOW DATABASES") == ["information_schema", "mysql", "ssb"]
    assert [row[1] for row in (await weak("SHOW CATALOGS"))[1]] == ["internal"]
    assert await names(weak, "SHOW DATABASES FROM lake") == ["information_schema", "mysql"]
    assert await names(weak, "SHOW TABLES") == ["customer"]
    assert await names(weak, "SHOW VIEWS") == []
    assert await names(weak, "SHOW TABLE STATUS") == ["customer"]
    assert await names(weak, "SHOW DATA") == ["customer", "Total", "Quota", "Left"]


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("SELECT TABLE_NAME FROM information_schema.tables WHERE TABLE_TYPE <> 'SYSTEM VIEW'", ["customer"]),
        ("SELECT DISTINCT TABLE_NAME FROM internal.information_schema.columns", ["customer"]),
        ("SELECT TABLE_NAME FROM information_schema.partitions", ["customer"]),
        ("SELECT TABLE_NAME FROM information_schema.table_options t", ["customer"]),
        ("SELECT TABLE_NAME FROM information_schema.views", []),
        ("SELECT TABLE_NAME FROM lake.information_schema.columns", []),
        ("SELECT SCHEMA_NAME FROM information_schema.schemata", ["information_schema", "mysql", "ssb"]),
        ("SELECT DISTINCT USER FROM information_schema.active_queries", ["weak"]),
    ],
)
async def test_information_schema_tells_an_account_of_nothing_else(weak, sql, wanted):
    assert await names(weak, sql) == wanted


@pytest.mark.parametrize(
    ("sql", "code", "words"),
    [
        (
            "SELECT * FROM part",
            1105,
            "SELECT command denied to user 'weak'@'127.0.0.1' for table 'internal: ssb: part'",
        ),
        ("SELECT 1 FROM customer JOIN part ON true", 1105, "internal: ssb: part"),
        ("SELECT (SELECT count(*) FROM part)", 1105, "internal: ssb: part"),
        ("WITH a AS (SELECT * FROM part) SELECT * FROM a", 1105, "internal: ssb: part"),
        ("SELECT * FROM revenue_by_year", 1105, "internal: ssb: revenue_by_year"),
        ("SELECT * FROM lake.raw.clicks", 1105, "lake: raw: clicks"),
        ("SELECT * FROM __internal_schema.audit_log", 1105, "internal: __internal_schema: audit_log"),
        ("EXPLAIN SELECT * FROM part", 1105, "SELECT command denied"),
        ("DESC part", 1142, "DESCRIBE command denied to user 'weak'@'127.0.0.1' for table 'internal: ssb: part'"),
        ("DESC part ALL", 1142, "DESCRIBE command denied"),
        ("SHOW COLUMNS FROM part", 1142, "SHOW command denied"),
        ("SHOW CREATE TABLE part", 1142, "SHOW command denied"),
        ("SHOW PARTITIONS FROM lineorder", 1142, "SHOW command denied"),
        ("SHOW INDEX FROM ops.events", 1142, "SHOW command denied"),
        ("SHOW TABLE STATS part", 1142, "SHOW command denied"),
        ("SHOW COLUMN STATS part", 1142, "SHOW command denied"),
        ("SHOW DATA FROM part", 1142, "SHOW command denied"),
        ("USE ops", 1044, "Access denied for user 'weak' to database 'ops'"),
        ("SHOW TABLES FROM ops", 1044, "Access denied for user 'weak' to database 'ops'"),
        ("SHOW FRONTENDS", 1227, "you need (at least one of) the ADMIN/OPERATOR privilege(s)"),
        ("SHOW BACKENDS", 1227, "you need (at least one of) the ADMIN/OPERATOR privilege(s)"),
        ("SELECT :live_audit_log", 1105, "takes no parameters"),
        ("SELECT $live_audit_log FROM customer", 1105, ""),
        ("SELECT * FROM customer WHERE c_name = ?", 1105, "takes no parameters"),
        ("SELECT * FROM __live_audit_log('[]')", 1235, "Can not find table function"),
        ("SELECT * FROM `__information_schema`.tables", 1105, "does not exist"),
    ],
)
async def test_what_was_not_granted_is_denied_in_the_words_of_doris(weak, sql, code, words):
    with pytest.raises(pymysql.err.MySQLError) as caught:
        await weak(sql)
    assert caught.value.args[0] == code
    assert words in caught.value.args[1]


async def test_what_was_granted_works(weak, guarded, connect):
    assert (await weak("SELECT count(*) FROM customer"))[1] == [(100,)]
    assert await names(weak, "DESC customer") == await names(weak, "SHOW COLUMNS FROM internal.ssb.customer")
    columns, rows = await weak("SHOW GRANTS")
    told = dict(zip(columns, rows[0], strict=True))
    # What every account of Doris may read is named as well.
    assert {name: told[name] for name in ("UserIdentity", "GlobalPrivs", "DatabasePrivs", "TablePrivs")} == {
        "UserIdentity": "'weak'@'%'",
        "GlobalPrivs": None,
        "DatabasePrivs": "internal.information_schema: Select_priv; internal.mysql: Select_priv",
        "TablePrivs": "internal.ssb.customer: Select_priv",
    }
    async with connect(port=guarded.port, **OPS) as connection:
        assert [row[1] for row in (await query(connection, "SHOW CATALOGS"))[1]] == ["internal", "lake"]
        assert (await query(connection, "SELECT count(*) FROM events JOIN lake.raw.clicks ON id = click_id"))[1]
    async with connect(port=guarded.port, user="viewer", password="") as connection:
        # A view reads for who may read it.
        assert (await query(connection, "SELECT count(*) FROM revenue_by_year"))[1] == [(7,)]


async def test_a_statement_means_something_else_to_each_account(guarded, connect):
    """Translations are remembered by their text; never for another account."""
    sql = "SELECT count(*) FROM information_schema.tables WHERE TABLE_SCHEMA = 'ssb'"
    async with connect(port=guarded.port) as root, connect(port=guarded.port, **WEAK) as weak:
        for _ in range(2):
            assert (await query(root, sql))[1] == [(6,)]
            assert (await query(root, "SELECT count(*) FROM part"))[1] == [(200,)]
            assert (await query(weak, sql))[1] == [(1,)]
            with pytest.raises(pymysql.err.MySQLError, match="denied"):
                await query(weak, "SELECT count(*) FROM part")


async def test_the_login_of_an_account_is_its_own(guarded, connect):
    for wrong in ({**WEAK, "password": PASSWORD}, {**OPS, "user": "weak"}, {"user": "nobody", "password": ""}):
        with pytest.raises(pymysql.err.OperationalError) as caught:
            async with connect(port=guarded.port, **wrong):
                pass
        assert caught.value.args[0] == 1045
    with pytest.raises(pymysql.err.MySQLError) as caught:
        async with connect(port=guarded.port, **{**WEAK, "db": "ops"}):
            pass
    assert caught.value.args == (1044, "errCode = 2, detailMessage = Access denied for user 'weak' to database 'ops'")


async def test_only_its_own_queries_may_an_account_see_and_kill(guarded, connect):
    async with connect(port=guarded.port) as root, connect(port=guarded.port, **WEAK) as weak:
        running = asyncio.ensure_future(query(root, "SELECT SLEEP(700)"))
        async with connect(port=guarded.port) as watcher:
            row = await until_running(watcher, "SLEEP(700)")
            assert {r[2] for r in (await query(watcher, "SHOW FULL PROCESSLIST"))[1]} >= {"root", "weak"}
            assert {r[2] for r in (await query(weak, "SHOW PROCESSLIST"))[1]} == {"weak"}
            for target in (row["Id"], f"'{row['QueryId']}'"):
                with pytest.raises(pymysql.err.MySQLError, match="You are not owner of thread") as caught:
                    await query(weak, f"KILL QUERY {target}")
                assert caught.value.args[0] == 1095
            own = asyncio.ensure_future(query(weak, "SELECT SLEEP(701)"))
            await until_running(watcher, "SLEEP(701)")
            async with connect(port=guarded.port, **WEAK) as second:
                await query(second, f"KILL QUERY {weak.thread_id()}")
            with pytest.raises(pymysql.err.MySQLError, match="cancel query by user"):
                await asyncio.wait_for(own, 30)
            assert await until_running(watcher, "SLEEP(700)")
            await query(watcher, f"KILL QUERY {root.thread_id()}")
        with pytest.raises(pymysql.err.MySQLError, match="cancel query by user"):
            await asyncio.wait_for(running, 30)


async def test_an_account_has_no_more_connections_than_it_may(guarded, connect):
    busy = {"port": guarded.port, "user": "busy", "password": ""}
    async with contextlib.AsyncExitStack() as open_ones:
        first = await open_ones.enter_async_context(connect(**busy))
        await open_ones.enter_async_context(connect(**busy))
        with pytest.raises(pymysql.err.MySQLError, match="Reach limit of connections") as caught:
            await open_ones.enter_async_context(connect(**busy))
        assert caught.value.args[0] == 1203
        async with connect(port=guarded.port) as root:
            await query(root, f"KILL CONNECTION {first.thread_id()}")
            async with asyncio.timeout(30):
                while any(s.names.account.name == "busy" and s.id == first.thread_id() for s in sessions(guarded)):
                    await query(root, "SELECT 1")
        first.close()
        await open_ones.enter_async_context(connect(**busy))


def sessions(engine):
    return tuple(engine.engine.sessions.values())


GOOD = {"user": "ann", "password": "s3cret", "grants": ["*"]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "not JSON: line 1, column 2"),
        ('[{"password": "s3cret" "user"]', "not JSON: line 1"),
        ("{}", "not a list of accounts"),
        ("[]", "not a list of accounts"),
        (json.dumps(["s3cret"]), "entry 1: not an object"),
        (json.dumps([GOOD, {**GOOD, "user": ""}]), "entry 2: user is missing"),
        (json.dumps([{**GOOD, "user": 5}]), "entry 1: user is missing or not a text"),
        (json.dumps([{**GOOD, "passwd": "s3cret"}]), "entry 1: unknown key 'passwd'; known are grants, "),
        (json.dumps([{"user": "ann", "grants": ["*"]}]), "entry 1: give either password or password_file"),
        (json.dumps([{**GOOD, "password_file": "x"}]), "entry 1: give either password or password_file"),
        (json.dumps([{**GOOD, "password": 5}]), "entry 1: give either password or password_file"),
        (json.dumps([{"user": "ann", "password": "s3cret"}]), "entry 1: grants is missing"),
        (json.dumps([{**GOOD, "grants": "*"}]), "entry 1: grants is missing or not a list"),
        (json.dumps([{**GOOD, "grants": ["ssb.customer"]}]), "entry 1: grant 'ssb.customer' is none of"),
        (json.dumps([{**GOOD, "grants": ["internal.*.customer"]}]), "entry 1: grant 'internal.*.customer' is none of"),
        (json.dumps([{**GOOD, "max_user_connections": 0}]), "entry 1: max_user_connections is not a number"),
        (json.dumps([{**GOOD, "max_user_connections": True}]), "entry 1: max_user_connections is not a number"),
        (json.dumps([GOOD, GOOD]), "entry 2: user 'ann' is there twice"),
        (json.dumps([{**GOOD, "user": "root"}]), "root is the user of --user"),
        (json.dumps([{"user": "ann", "password_file": "/nowhere", "grants": []}]), "password_file /nowhere: No such"),
    ],
)
async def test_a_bad_file_is_told_with_its_place_and_without_a_password(tmp_path, text, words):
    file = tmp_path / "accounts.json"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        await sandbox.start("127.0.0.1", 0, "root", "", 1, options=Options(accounts=file))
    assert str(file) in caught.value.message and words in caught.value.message
    assert "s3cret" not in caught.value.message + caught.value.hint


async def test_files_that_cannot_be_read_are_told(tmp_path):
    secret = tmp_path / "password"
    secret.write_bytes(b"\xff\xfe")
    file = tmp_path / "accounts.json"
    with pytest.raises(ConfigError, match="No such file"):
        await sandbox.start("127.0.0.1", 0, "root", "", 1, options=Options(accounts=file))
    file.write_bytes(b"[\xff]")
    with pytest.raises(ConfigError, match="not UTF-8"):
        await sandbox.start("127.0.0.1", 0, "root", "", 1, options=Options(accounts=file))
    file.write_text(json.dumps([{"user": "ann", "password_file": str(secret), "grants": []}]))
    with pytest.raises(ConfigError, match="not UTF-8"):
        await sandbox.start("127.0.0.1", 0, "root", "", 1, options=Options(accounts=file))


async def test_a_password_comes_from_a_file_and_off_loopback_none_may_be_empty(tmp_path, connect):
    secret, file = tmp_path / "password", tmp_path / "accounts.json"
    secret.write_text("from-file\n")
    ann = {"user": "ann", "password_file": str(secret), "grants": ["*"]}
    file.write_text(json.dumps([ann]))
    running = await sandbox.start("127.0.0.1", 0, "root", "x", 1, options=Options(accounts=file))
    try:
        async with connect(port=running.port, user="ann", password="from-file") as connection:
            assert (await query(connection, "SELECT current_user()"))[1] == [("'ann'@'127.0.0.1'",)]
    finally:
        await running.close()
    file.write_text(json.dumps([{**GOOD, "password": ""}]))
    with pytest.raises(ConfigError, match="the empty password of ann is for loopback only"):
        await sandbox.start("0.0.0.0", 0, "root", "x", 1, options=Options(accounts=file))
