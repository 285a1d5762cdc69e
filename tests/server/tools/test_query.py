"""execute_query and explain_query: on the demo engine, their bounds, and that the guard stands before Doris."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from doris_mcp_server.clusters import Caller
from doris_mcp_server.doris.pool import Column, Limits, Rows
from doris_mcp_server.errors import InvalidArgument, QueryFailed, QueryTimeout, StatementRefused
from doris_mcp_server.tools import Context, by_name
from doris_mcp_server.tools.cache import ResultCache

from .conftest import call

pytestmark = pytest.mark.asyncio(loop_scope="module")


class NoDoris:
    """A way that leads to a pool which must not be asked."""

    route = SimpleNamespace(database=None)

    def cluster(self, name: str | None) -> Any:
        return SimpleNamespace(capabilities=None)

    def way(self, cluster: str | None, principal: str) -> Any:
        return SimpleNamespace(pool=self)

    async def query(self, sql: str, **rest: Any) -> Any:
        raise AssertionError(f"sent: {sql}")


async def test_rows(context: Context) -> None:
    answer = await call(context, "execute_query", sql="SELECT 1 AS one, 'x' AS two")
    assert answer["columns"][0]["name"] == "one"
    assert answer["columns"][1] == {"name": "two", "type": "VARCHAR"}
    assert (answer["rows"], answer["row_count"]) == ([(1, "x")], 1)
    assert (answer["truncated"], answer["truncated_by"]) == (False, None)
    assert answer["elapsed_ms"] >= 0
    assert "never instructions" in answer["note"]


async def test_default_and_other_places(context: Context) -> None:
    sql = "SELECT count(*) FROM lineorder"
    assert (await call(context, "execute_query", sql=sql))["rows"] == [(200,)]
    raw = await call(context, "execute_query", sql="SELECT 1 FROM clicks LIMIT 1", catalog="lake", database="raw")
    assert raw["rows"] == [(1,)]
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
    context = Context(NoDoris(), Limits(30, 100, 1000), Caller("tester"))  # type: ignore[arg-type]
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
    context = Context(NoDoris(), Limits(30, 100, 1000), Caller("tester"))  # type: ignore[arg-type]
    with pytest.raises(StatementRefused):
        await call(context, tool, sql=sql)


async def test_forms_of_show_run_too(context: Context) -> None:
    shown = await call(context, "execute_query", sql="SHOW TABLES FROM ssb LIKE 'line%'")
    assert shown["rows"] == [("lineorder",)]
    described = await call(context, "execute_query", sql="DESC ssb.lineorder")
    assert "lo_orderkey" in [row[0] for row in described["rows"]]
    explained = await call(context, "execute_query", sql="EXPLAIN SELECT count(*) FROM lineorder")
    assert any("PLAN FRAGMENT" in str(row[0]) for row in explained["rows"])


async def test_secrets_in_ddl_are_masked() -> None:
    class Ddl(NoDoris):
        async def query(self, sql: str, **rest: Any) -> Rows:
            return Rows([Column("x", "VARCHAR")], [("t", '"password" = "hunter2"', 7, None)], False, None, 1.0)

    context = Context(Ddl(), Limits(30, 100, 1000), Caller("tester"))  # type: ignore[arg-type]
    masked = await call(context, "execute_query", sql="SHOW CREATE TABLE d.t")
    assert masked["rows"] == [("t", '"password" = "***"', 7, None)]
    plain = await call(context, "execute_query", sql="SELECT * FROM d.t")
    assert plain["rows"][0][1] == '"password" = "hunter2"'


@pytest.mark.parametrize("sql", ["SHOW TABLES", "DESC t", "EXPLAIN SELECT 1"])
async def test_only_a_query_can_be_explained(sql: str) -> None:
    context = Context(NoDoris(), Limits(30, 100, 1000), Caller("tester"))  # type: ignore[arg-type]
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


async def test_kept_results_are_each_callers_own(context: Context) -> None:
    results = ResultCache(seconds=3600, max_bytes=10_000)
    ann, bob = (replace(context, caller=Caller(name), results=results) for name in ("ann", "bob"))
    sql = "SELECT uuid()"
    first = await call(ann, "execute_query", sql=sql)
    again = await call(ann, "execute_query", sql=sql)
    assert again["rows"] == [list(row) for row in first["rows"]]
    assert first["age_s"] == 0
    assert again["age_s"] >= 0
    for other, arguments in ((bob, {}), (ann, {"database": "ops"}), (ann, {"max_rows": 1}), (context, {})):
        assert (await call(other, "execute_query", sql=sql, **arguments))["rows"] != first["rows"]


async def test_what_was_sent_is_told_where_it_is_another_text(context: Context) -> None:
    answer = await call(context, "execute_query", sql="SELECT 1  AS date -- one\n")
    assert answer["sent"] == "SELECT 1 AS `date`"
    assert [column["name"] for column in answer["columns"]] == ["date"]
    assert "sent" not in await call(context, "execute_query", sql="SELECT 1 AS one")
    plan = await call(context, "explain_query", sql="/* x */ SELECT 1 FROM lineorder")
    assert plan["sent"] == "SELECT 1 FROM lineorder"


class Objecting:
    """A way to a Doris that finds fault with a place of whatever it is sent."""

    route = SimpleNamespace(database=None)

    def __init__(self, words: str) -> None:
        self.sent: list[str] = []
        self._words = words

    def cluster(self, name: str | None) -> Any:
        return SimpleNamespace(capabilities=None)

    def way(self, cluster: str | None, caller: Any) -> Any:
        return SimpleNamespace(pool=self)

    async def query(self, sql: str, **rest: Any) -> Any:
        self.sent.append(sql)
        raise QueryFailed(self._words, hint="look it up")


@pytest.mark.parametrize(
    ("tool", "said", "told"),
    [
        ("execute_query", "Unknown column 'b' (line 1, pos 7)", "Unknown column 'b' (line 2, pos 2)"),
        ("explain_query", "Unknown column 'b' (line 1, pos 15)", "Unknown column 'b' (line 2, pos 2)"),
        ("execute_query", "no table t in line 1, pos 14", "no table t in line 3, pos 6"),
        ("execute_query", "out of memory", "out of memory"),
    ],
)
async def test_places_in_errors_of_doris_are_those_of_the_caller(tool: str, said: str, told: str) -> None:
    doris = Objecting(said)
    context = Context(doris, Limits(30, 100, 1000), Caller("tester"))  # type: ignore[arg-type]
    with pytest.raises(QueryFailed) as failed:
        await call(context, tool, sql="SELECT -- what\n  b\n FROM t")
    assert doris.sent[0].endswith("SELECT b FROM t")
    assert (failed.value.message, failed.value.hint) == (told, "look it up")
