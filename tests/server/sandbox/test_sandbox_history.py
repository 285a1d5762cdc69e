"""What ran lately: the list, its profiles, and audit_log."""

import pymysql
import pytest

from doris_mcp_server.sandbox import history
from doris_mcp_server.sandbox.options import Options

from .conftest import query


@pytest.fixture
async def asked(engine, ask):
    """Statements of each outcome, and what the history noted of them, oldest first."""
    statements = ["SELECT d_year, 'history' FROM dates LIMIT 3", "SET query_timeout = 901", "SELECT nope FROM dates"]
    for statement in statements[:2]:
        await ask(statement)
    with pytest.raises(pymysql.err.MySQLError):
        await ask(statements[2])
    await ask("SELECT 'the one before is noted'")
    noted = {ran.statement: ran for ran in reversed(engine.engine.history.recent())}
    return [noted[statement] for statement in statements]


async def test_what_ended_is_noted_with_its_outcome(engine, asked):
    assert [(r.state, r.audit_state, r.rows, r.error_code) for r in asked] == [
        ("OK", "EOF", 3, 0),
        ("OK", "OK", 0, 0),
        ("ERR", "ERR", 0, 1105),
    ]
    assert {(r.user, r.catalog, r.database) for r in asked} == {("root", "internal", "ssb")}
    assert asked[0].started <= asked[1].started and "nope" in asked[2].error
    assert engine.engine.history.find(asked[1].query_id) == asked[1]
    assert engine.engine.history.find("0-0") is None


async def test_a_profile_tells_what_ran_and_that_it_is_a_demo(asked):
    text = asked[0].profile_text
    for part in (
        f"Profile ID: {asked[0].query_id}",
        "Sql Statement: SELECT d_year, 'history'",
        f"Total: {asked[0].milliseconds}ms",
        "User: root",
        "RowsProduced: 3",
        "DEMO",
    ):
        assert part in text


async def test_audit_log_has_what_ran_here_and_before(ask, asked):
    columns = "query_id, `user`, `state`, error_code, return_rows, is_query, client_ip, stmt"
    _, rows = await ask(
        f"SELECT {columns} FROM __internal_schema.audit_log WHERE query_id IN "
        f"({', '.join(repr(ran.query_id) for ran in asked)}) ORDER BY stmt_id"
    )
    assert [row[1:6] for row in rows] == [
        ("root", "EOF", 0, 3, 1),
        ("root", "OK", 0, 0, 0),
        ("root", "ERR", 1105, 0, 1),
    ]
    assert [(row[6], row[7]) for row in rows] == [(ran.peer, ran.statement) for ran in asked]


@pytest.mark.parametrize("version", ["2.1", "3.0", "4.0"])
async def test_audit_log_is_never_empty_and_has_its_types(start, connect, version):
    async with connect(port=start(Options(version)).port) as connection:
        sql = "SELECT stmt FROM internal.__internal_schema.audit_log WHERE user = 'report' AND query_time > 1000"
        assert len((await query(connection, sql))[1]) == 1
        described = {row[0]: row[1] for row in (await query(connection, "DESC __internal_schema.audit_log"))[1]}
        assert (described["time"], described["scan_rows"], described["stmt"]) == ("datetime(3)", "bigint", "string")
        assert ("plan_times_ms" in described) is (version == "4.0")


async def test_a_query_can_be_found_by_the_id_that_last_query_id_gave(ask, engine):
    ((number,),) = (await ask("SELECT last_query_id()"))[1]
    await ask("SELECT 'the one before is noted'")
    assert engine.engine.history.find(number).statement == "SELECT last_query_id()"


def test_the_list_is_bounded(engine):
    noted, ran = history.History(), engine.engine.history.recent()[-1]
    for _ in range(history.KEPT + 5):
        noted.add(ran)
    assert len(noted.recent()) == history.KEPT
    assert next(noted.numbered())[0] == 6
