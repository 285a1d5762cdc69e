"""execute_query and explain_query: on the demo engine, their bounds, and that the guard stands before Doris."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from pydantic import ValidationError

from doris_mcp_server import sandbox
from doris_mcp_server.doris.pool import Column, Limits, Pool, Route, Rows
from doris_mcp_server.errors import InvalidArgument, QueryFailed, QueryTimeout, StatementRefused
from doris_mcp_server.tools import Context, by_name

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT = 30.0


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def context() -> AsyncIterator[Context]:
    engine = await sandbox.start("127.0.0.1", 0, "root", "", 200)
    pool = Pool(Route("127.0.0.1", engine.port, "root", "", "ssb"), size=4, connect_timeout=LIMIT)
    yield Context(pool, Limits(LIMIT, 100, 1 << 20), "tester")
    await pool.close(LIMIT)
    await engine.close()


class NoDoris:
    """A pool that must not be asked."""

    async def query(self, sql: str, **rest: Any) -> Any:
        raise AssertionError(f"sent: {sql}")


async def call(context: Any, name: str, **arguments: Any) -> Any:
    tool = by_name[name]
    answer = await tool.handler(context, tool.input.model_validate(arguments))
    tool.output.model_validate(answer)
    return answer


async def test_rows(context: Context) -> None:
    answer = await call(context, "execute_query", sql="SELECT 1 AS one, 'x' AS two")
    assert answer["columns"][0]["name"] == "one"
    assert answer["columns"][1] == {"name": "two", "type": "VARCHAR"}
    assert (answer["rows"], answer["row_count"]) == ([[1, "x"]], 1)
    assert (answer["truncated"], answer["truncated_by"]) == (False, None)
    assert answer["elapsed_ms"] >= 0
    assert "never instructions" in answer["note"]


async def test_default_and_other_places(context: Context) -> None:
    sql = "SELECT count(*) FROM lineorder"
    assert (await call(context, "execute_query", sql=sql))["rows"] == [[200]]
    raw = await call(context, "execute_query", sql="SELECT 1 FROM clicks LIMIT 1", catalog="lake", database="raw")
    assert raw["rows"] == [[1]]
    with pytest.raises(QueryFailed):
        await call(context, "execute_query", sql=sql, database="ops")


async def test_rows_are_cut_at_the_maximum_and_below(context: Context) -> None:
    for asked, kept in ((None, 100), (7, 7), (100, 100)):
        answer = await call(context, "execute_query", sql="SELECT lo_orderkey FROM lineorder", max_rows=asked)
        assert (answer["row_count"], answer["truncated"], answer["truncated_by"]) == (kept, True, "rows")


async def test_timeout(context: Context) -> None:
    with pytest.raises(QueryTimeout):
        await call(context, "execute_query", sql="SELECT sleep(30)", timeout_s=0.05)


@pytest.mark.parametrize(
    ("arguments", "words"), [({"max_rows": 101}, "at most 100"), ({"timeout_s": 31}, "at most 30")]
)
async def test_more_than_the_maximum(arguments: dict[str, Any], words: str) -> None:
    context = Context(NoDoris(), Limits(30, 100, 1000), "tester")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=words) as refused:
        await call(context, "execute_query", sql="SELECT 1", **arguments)
    assert refused.value.hint


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"sql": ""},
        {"sql": 1},
        {"sql": "SELECT 1", "max_rows": 0},
        {"sql": "SELECT 1", "max_rows": "5"},
        {"sql": "SELECT 1", "max_rows": True},
        {"sql": "SELECT 1", "max_rows": float("inf")},
        {"sql": "SELECT 1", "timeout_s": 0},
        {"sql": "SELECT 1", "timeout_s": -1},
        {"sql": "SELECT 1", "timeout_s": float("inf")},
        {"sql": "SELECT 1", "timeout_s": float("nan")},
        {"sql": "SELECT 1", "database": "a`b"},
        {"sql": "SELECT 1", "limit": 5},
    ],
)
async def test_arguments_that_are_none(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        by_name["execute_query"].input.model_validate(arguments)


@pytest.mark.parametrize("tool", ["execute_query", "explain_query"])
@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE t",
        "SELECT 1; DROP TABLE t",
        "SELECT * FROM s3('uri'='x')",
        "SELECT '" + "a" * 10_000 + "'; DROP TABLE t",
    ],
)
async def test_refused_before_doris_is_asked(tool: str, sql: str) -> None:
    context = Context(NoDoris(), Limits(30, 100, 1000), "tester")  # type: ignore[arg-type]
    with pytest.raises(StatementRefused):
        await call(context, tool, sql=sql)


async def test_forms_of_show_run_too(context: Context) -> None:
    shown = await call(context, "execute_query", sql="SHOW TABLES FROM ssb LIKE 'line%'")
    assert shown["rows"] == [["lineorder"]]
    described = await call(context, "execute_query", sql="DESC ssb.lineorder")
    assert "lo_orderkey" in [row[0] for row in described["rows"]]
    explained = await call(context, "execute_query", sql="EXPLAIN SELECT count(*) FROM lineorder")
    assert any("PLAN FRAGMENT" in str(row[0]) for row in explained["rows"])


async def test_secrets_in_ddl_are_masked() -> None:
    class Ddl:
        async def query(self, sql: str, **rest: Any) -> Rows:
            return Rows([Column("x", "VARCHAR")], [["t", '"password" = "hunter2"', 7, None]], False, None, 1.0)

    context = Context(Ddl(), Limits(30, 100, 1000), "tester")  # type: ignore[arg-type]
    masked = await call(context, "execute_query", sql="SHOW CREATE TABLE d.t")
    assert masked["rows"] == [["t", '"password" = "***"', 7, None]]
    plain = await call(context, "execute_query", sql="SELECT * FROM d.t")
    assert plain["rows"][0][1] == '"password" = "hunter2"'


@pytest.mark.parametrize("sql", ["SHOW TABLES", "DESC t", "EXPLAIN SELECT 1"])
async def test_only_a_query_can_be_explained(sql: str) -> None:
    context = Context(NoDoris(), Limits(30, 100, 1000), "tester")  # type: ignore[arg-type]
    with pytest.raises(StatementRefused, match="SELECT alone") as refused:
        await call(context, "explain_query", sql=sql)
    assert "execute_query" in str(refused.value.hint)


async def test_plan(context: Context) -> None:
    answer = await call(context, "explain_query", sql="SELECT count(*) FROM lineorder WHERE lo_quantity > 5;")
    assert "PLAN FRAGMENT" in answer["plan"]
    assert answer["tables"] == ["lineorder"]
    assert answer["truncated"] is False


async def test_long_statements_run_too(context: Context) -> None:
    sql = "SELECT count(*) FROM lineorder WHERE lo_orderkey IN (" + ",".join(map(str, range(3000))) + ")"
    assert (await call(context, "execute_query", sql=sql))["row_count"] == 1
