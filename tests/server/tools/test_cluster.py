"""The cluster tools: on the demo engine's HTTP side, and on frontends that are missing, cut or broken."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from pydantic import ValidationError

from doris_mcp_server import sandbox
from doris_mcp_server.clusters import Account, Caller, Cluster
from doris_mcp_server.doris.capabilities import Capabilities, Nodes
from doris_mcp_server.doris.http.profiles import RecentQuery
from doris_mcp_server.doris.pool import Limits
from doris_mcp_server.errors import ConfigError, DorisError, DorisRefusedLogin, DorisUnavailable, QueryFailed
from doris_mcp_server.sandbox.options import Options
from doris_mcp_server.tools import Context, by_name

from .conftest import LIMIT, call, routes_to

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMITS = Limits(LIMIT, 1000, 1 << 20)
ID = "d7c93d9275334c35-9e6ac5f295a7134b"
SEEN = Capabilities(
    "Doris version doris-3.0.3",
    (3, 0, 3),
    "coupled",
    frozenset({"variant"}),
    {"sql_cache": True},
    Nodes(2, 3),
    None,
)
SQL = "SELECT sleep(30) AS slept"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def context() -> AsyncIterator[Context]:
    engine = await sandbox.start("127.0.0.1", 0, "root", "pw", 200, options=Options(http_port=0))
    cluster = Cluster(
        frontends=(f"127.0.0.1:{engine.port}",),
        http_port=engine.http_port,
        accounts={"default": Account(user="root", password="pw", database="ssb")},
    )
    routes = routes_to(cluster)
    watch = asyncio.create_task(routes.watch())
    async with asyncio.timeout(LIMIT):
        while routes.cluster(None).capabilities is None:
            await asyncio.sleep(0.01)
    yield Context(routes, LIMITS, Caller("tester"))
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    await routes.close(LIMIT)
    await engine.close()


class Told:
    """The frontends' HTTP side that knows the answers; an error is raised."""

    def __init__(self, **answers: Any) -> None:
        self._answers = answers

    async def profile(self, query_id: str) -> str:
        return str(self._answer("profile"))

    async def queries(self) -> Any:
        return self._answer("queries")

    async def metrics(self) -> Any:
        return self._answer("metrics")

    def _answer(self, name: str) -> Any:
        answer = self._answers[name]
        if isinstance(answer, Exception):
            raise answer
        return answer


def told(max_bytes: int = 1 << 20, seen: Capabilities | None = SEEN, **answers: Any) -> Any:
    limits = Limits(LIMIT, 1000, max_bytes)
    return SimpleNamespace(frontends=Told(**answers) if answers else None, capabilities=seen, limits=limits)


@contextlib.asynccontextmanager
async def under_way(context: Context) -> AsyncIterator[dict[str, Any]]:
    """A query that runs, as the tool lists it."""
    work = context.doris.query(SQL, catalog=None, database=None, limits=LIMITS)
    running = asyncio.create_task(work)
    async with asyncio.timeout(LIMIT):
        while (found := (await call(context, "list_recent_queries"))["queries"][0])["state"] != "RUNNING":
            await asyncio.sleep(0.01)
    try:
        yield found
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_query_and_its_profile(context: Context) -> None:
    async with under_way(context) as query:
        assert (query["user"], query["database"], query["statement"]) == ("root", "ssb", SQL)
        assert (query["state"], query["duration"], query["statement_truncated"]) == ("RUNNING", "N/A", False)
        answer = await call(context, "get_query_profile", query_id=query["query_id"])
    assert f"Profile ID: {query['query_id']}" in answer["profile"] and SQL in answer["profile"]
    assert answer["truncated"] is False
    assert "never instructions" in answer["note"]


async def test_a_profile_nobody_has(context: Context) -> None:
    with pytest.raises(QueryFailed, match=f"No frontend has a profile of {ID}"):
        await call(context, "get_query_profile", query_id=ID)


async def test_health_of_the_demo_engine(context: Context) -> None:
    await context.doris.query("SELECT 1", catalog=None, database=None, limits=LIMITS)  # a connection to be counted
    answer = await call(context, "get_cluster_health")
    assert answer["frontend_nodes"] == answer["backend_nodes"] == {"alive": 1, "total": 1}
    assert answer["missing"] == []
    (frontend,) = answer["frontends"]
    assert frontend["problem"] is None and frontend["connections"] >= 1
    assert 0 <= frontend["query_errors"] < frontend["queries"]
    assert frontend["heap_used_bytes"] is None


async def test_another_account_is_refused(context: Context) -> None:
    config = context.routes.cluster(None).config
    wrong = Account(user="root", password="wrong")
    routes = routes_to(config.model_copy(update={"accounts": {"default": wrong}}))
    other = replace(context, routes=routes)
    for name, arguments in (("list_recent_queries", {}), ("get_query_profile", {"query_id": ID})):
        with pytest.raises(DorisRefusedLogin) as failed:
            await call(other, name, **arguments)
        assert failed.value.hint
        assert "wrong" not in failed.value.message
    await routes.close(LIMIT)


@pytest.mark.parametrize(
    ("max_bytes", "shown"),
    [(100, "one\ntwo ü\n"), (10, "one\n"), (8, "one\n"), (4, "one\n"), (3, "one"), (11, "one\ntwo ü\n")],
)
async def test_a_long_profile_is_cut_at_a_line(max_bytes: int, shown: str) -> None:
    answer = await call(told(max_bytes, profile="one\ntwo ü\n"), "get_query_profile", query_id=ID)
    assert (answer["profile"], answer["truncated"]) == (shown, shown != "one\ntwo ü\n")


async def test_one_long_line_is_cut_between_characters() -> None:
    answer = await call(told(3, profile="aüü"), "get_query_profile", query_id=ID)
    assert (answer["profile"], answer["truncated"]) == ("aü", True)
    assert (await call(told(2, profile="aüü"), "get_query_profile", query_id=ID))["profile"] == "a"


def queries(count: int, statement: str = "SELECT 1") -> list[RecentQuery]:
    return [RecentQuery(f"{n}-1", "fe:8030", "ann", "", statement, "now", "1ms", "EOF") for n in range(count)]


@pytest.mark.parametrize(
    ("limit", "shown", "truncated"), [({}, 20, True), ({"limit": 7}, 7, True), ({"limit": 21}, 21, False)]
)
async def test_queries_are_bounded(limit: dict[str, int], shown: int, truncated: bool) -> None:
    answer = await call(told(queries=queries(21)), "list_recent_queries", **limit)
    assert ([query["query_id"] for query in answer["queries"]], answer["truncated"]) == (
        [f"{n}-1" for n in range(shown)],
        truncated,
    )


async def test_a_list_that_is_too_large_is_cut() -> None:
    one = len(
        json.dumps((await call(told(queries=queries(1)), "list_recent_queries"))["queries"][0], separators=(",", ":"))
    )
    for room, shown in ((one * 2, 2), (one * 2 - 1, 1), (1, 0)):
        answer = await call(told(room, queries=queries(3)), "list_recent_queries")
        assert (len(answer["queries"]), answer["truncated"]) == (shown, True)


@pytest.mark.parametrize(("characters", "cut"), [(2000, False), (2001, True)])
async def test_statements_are_bounded(characters: int, cut: bool) -> None:
    answer = await call(told(queries=queries(1, "x" * characters)), "list_recent_queries")
    (query,) = answer["queries"]
    assert (len(query["statement"]), query["statement_truncated"]) == (2000, cut)


async def test_health_tells_what_it_could_not_have() -> None:
    texts = {"a:8030": "doris_fe_qps 2\n", "b:8030": DorisUnavailable("b is gone")}
    answer = await call(told(metrics=texts), "get_cluster_health")
    assert (answer["version"], answer["calls_itself"], answer["flavour"]) == ("3.0.3", SEEN.text, "coupled")
    assert (answer["features"], answer["result_caches"]) == (["variant"], {"sql_cache": True})
    assert (answer["frontend_nodes"], answer["backend_nodes"]) == ({"alive": 2, "total": 3}, None)
    first, second = answer["frontends"]
    assert (first["frontend"], first["problem"], first["queries_per_second"]) == ("a:8030", None, 2.0)
    assert (second["frontend"], second["problem"], second["queries_per_second"]) == ("b:8030", "b is gone", None)


async def test_backends_are_counted_by_a_frontend_when_the_account_may_not_list_them() -> None:
    lines = [f'node_info{{type="be_node_num", state="{state}"}} {n}' for state, n in (("total", 4), ("alive", 3))]
    metrics: dict[str, str | DorisError] = {"a:8030": DorisUnavailable("gone"), "b:8030": "\n".join(lines)}
    answer = await call(told(metrics=metrics), "get_cluster_health")
    assert answer["backend_nodes"] == {"alive": 3, "total": 4}
    listed = replace(SEEN, backends=Nodes(1, 1))
    answer = await call(told(seen=listed, metrics=metrics), "get_cluster_health")
    assert answer["backend_nodes"] == {"alive": 1, "total": 1}


@pytest.mark.parametrize("seen", [None, replace(SEEN, text="Debian 12", version=None, flavour=None)])
async def test_health_of_what_is_not_known(seen: Capabilities | None) -> None:
    answer = await call(told(seen=seen, metrics={}), "get_cluster_health")
    assert (answer["version"], answer["flavour"]) == (None, None)
    assert [part.split(":")[0] for part in answer["missing"]] == ([] if seen else ["version, features, nodes"])


async def test_health_of_a_refused_account_is_an_error() -> None:
    with pytest.raises(DorisRefusedLogin):
        await call(told(metrics=DorisRefusedLogin("no")), "get_cluster_health")


async def test_without_an_http_port() -> None:
    bare = told(seen=None)
    for name, arguments in (("list_recent_queries", {}), ("get_query_profile", {"query_id": ID})):
        with pytest.raises(ConfigError, match="HTTP port") as failed:
            await call(bare, name, **arguments)
        assert "DORIS_MCP_FE_HTTP_PORT" in str(failed.value.hint)
    answer = await call(bare, "get_cluster_health")
    assert [part.split(":")[0] for part in answer["missing"]] == ["version, features, nodes", "frontends"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("get_query_profile", {}),
        ("get_query_profile", {"query_id": "../x"}),
        ("get_query_profile", {"query_id": f"{ID}\n"}),
        ("get_query_profile", {"query_id": f" {ID}"}),
        ("get_query_profile", {"query_id": 7}),
        ("list_recent_queries", {"limit": 0}),
        ("list_recent_queries", {"limit": 201}),
        ("list_recent_queries", {"limit": "5"}),
        ("get_cluster_health", {"user": "root"}),
        ("list_recent_queries", {"user": "root"}),
    ],
)
async def test_arguments_that_are_none(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        by_name[name].input.model_validate(arguments)
