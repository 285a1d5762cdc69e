"""A caller comes as the Doris account it is bound to: sees what that one sees, and has no way to another."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from doris_mcp_server import sandbox
from doris_mcp_server.auth import ALL_SCOPES
from doris_mcp_server.auth.opaque import Tokens
from doris_mcp_server.clusters import Account, Bound
from doris_mcp_server.sandbox.options import Options
from doris_mcp_server.state.bus import Bus
from doris_mcp_server.state.local import LocalStore
from doris_mcp_server.tools import TOOLS

from ..conftest import LIMIT, Running, serving
from ..server.conftest import legacy, modern

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEAK, STRONG = "weak-token-0123456789", "strong-token-0123456789"  # principals `static` and `smoke`
TOKEN_KEY = "ab" * 32
SQL = "SELECT count(*) FROM {}"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """Two clusters on one demo engine: `main`, where one caller is bound to a weak account, and `closed` to it."""
    folder = tmp_path_factory.mktemp("accounts")
    accounts = [{"user": "weak", "password": "weak-password", "grants": ["internal.ssb.customer"]}]
    (folder / "accounts.json").write_text(json.dumps(accounts))
    options = Options(accounts=folder / "accounts.json", http_port=0)
    engine = await sandbox.start("127.0.0.1", 0, "root", "root-password", 500, options=options)
    main = {
        "frontends": [f"127.0.0.1:{engine.port}"],
        "http_port": engine.http_port,
        "accounts": {
            "strong": {"user": "root", "password": "root-password", "database": "ssb"},
            "weak": {"user": "weak", "password": "weak-password", "database": "ssb"},
        },
        "principals": {"static": "weak"},
        "default_account": "strong",
    }
    closed = main | {"principals": {"smoke": "strong"}, "default_account": None}
    (folder / "clusters.json").write_text(json.dumps({"main": main, "closed": closed}))
    variables = {
        "DORIS_MCP_TOKEN": WEAK,
        "DORIS_MCP_SMOKE_TOKEN": STRONG,
        "DORIS_MCP_TOKEN_KEY": TOKEN_KEY,
        "DORIS_MCP_STATE_DIR": str(folder),
    }
    async with serving(folder, DORIS_MCP_CLUSTERS_FILE=str(folder / "clusters.json"), **variables) as running:
        await running.said("doris answers")
        yield running
    await engine.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def bound(server: Running) -> str:
    """A token bound to the weak account at `closed`, whose operator names nobody but `smoke` there."""
    store = LocalStore(str(server.runtime))
    account = Account(user="weak", password="weak-password", database="ssb")
    tokens = Tokens(store, Bus(), TOKEN_KEY)
    token, _ = await tokens.issue("ann", ALL_SCOPES, None, bound=Bound(cluster="closed", account=account))
    await store.close()
    return token


async def call(server: Running, token: str, name: str, era: Any = modern, **arguments: Any) -> Any:
    """The tool's result, or the error it gave as {"error": ...}."""
    request = era("tools/call", {"name": name, "arguments": arguments})
    headers = request["headers"] | {"authorization": f"Bearer {token}"}
    timeout = aiohttp.ClientTimeout(total=LIMIT)
    async with (
        aiohttp.ClientSession(timeout=timeout) as http,
        http.post(f"{server.url}/mcp", json=request["json"], headers=headers) as response,
    ):
        text = await response.text()
        assert response.status == 200, text
        return json.loads(json.loads(text)["result"]["content"][0]["text"])


@pytest.mark.parametrize("era", [modern, legacy])
async def test_each_sees_what_its_account_sees(server: Running, era: Any) -> None:
    seen = {}
    for token in (WEAK, STRONG):
        tables = (await call(server, token, "list_tables", era, database="ssb"))["tables"]
        seen[token] = {table["name"] for table in tables}
    assert seen[WEAK] == {"customer"}
    assert {"customer", "lineorder"} < seen[STRONG]
    for table in ("customer", "lineorder"):
        assert "rows" in await call(server, STRONG, "execute_query", era, sql=SQL.format(table))
    assert "rows" in await call(server, WEAK, "execute_query", era, sql=SQL.format("customer"))


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("execute_query", {"sql": SQL.format("lineorder")}),
        ("execute_query", {"sql": SQL.format("internal.ssb.lineorder")}),
        ("execute_query", {"sql": "SELECT (SELECT max(lo_revenue) FROM lineorder)"}),
        ("execute_query", {"sql": "SELECT 1 FROM customer WHERE EXISTS (SELECT 1 FROM `lineorder`)"}),
        ("execute_query", {"sql": "SHOW CREATE TABLE ssb.lineorder"}),
        ("execute_query", {"sql": SQL.format("clicks"), "catalog": "lake", "database": "raw"}),
        ("explain_query", {"sql": SQL.format("lineorder")}),
        ("get_table_context", {"database": "ssb", "table": "lineorder"}),
        ("list_tables", {"database": "ops"}),
    ],
)
async def test_what_the_account_may_not_see_is_refused_by_doris(
    server: Running, tool: str, arguments: dict[str, Any]
) -> None:
    error = (await call(server, WEAK, tool, **arguments))["error"]
    assert error["kind"] == "query_failed", error
    assert "denied" in error["message"].lower()
    assert "error" not in await call(server, STRONG, tool, **arguments)


async def test_the_catalog_of_tables_tells_it_no_more(server: Running) -> None:
    sql = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'ssb'"
    assert (await call(server, WEAK, "execute_query", sql=sql))["rows"] == [["customer"]]
    assert len((await call(server, STRONG, "execute_query", sql=sql))["rows"]) > 3
    assert (await call(server, WEAK, "execute_query", sql="SELECT current_user()"))["rows"][0][0].startswith("'weak'")


async def test_it_sees_its_own_queries_only(server: Running) -> None:
    await call(server, WEAK, "execute_query", sql="SELECT 'mine'")
    await call(server, STRONG, "execute_query", sql="SELECT 'theirs'")
    for token, users in ((WEAK, {"weak"}), (STRONG, {"weak", "root"})):
        queries = (await call(server, token, "list_recent_queries", limit=200))["queries"]
        assert users <= {query["user"] for query in queries}
        assert token is STRONG or {query["user"] for query in queries} == users


@pytest.mark.parametrize("name", ["user", "account", "principal", "password", "host", "login", "as"])
async def test_no_argument_chooses_another(server: Running, name: str) -> None:
    for tool in TOOLS:
        assert name not in tool.input_schema["properties"]
    error = (await call(server, WEAK, "execute_query", sql=SQL.format("lineorder"), **{name: "root"}))["error"]
    assert error["kind"] == "invalid_argument"
    assert name in error["message"]


async def test_a_cluster_without_an_account_for_it_is_closed(server: Running) -> None:
    assert [each["name"] for each in (await call(server, WEAK, "list_clusters"))["clusters"]] == ["main"]
    assert [each["name"] for each in (await call(server, STRONG, "list_clusters"))["clusters"]] == ["main", "closed"]
    assert "rows" in await call(server, STRONG, "execute_query", sql=SQL.format("lineorder"), cluster="closed")
    for cluster, words in (("closed", "no Doris account is bound to you"), ("nowhere", "there is no cluster")):
        error = (await call(server, WEAK, "execute_query", sql=SQL.format("customer"), cluster=cluster))["error"]
        assert error["kind"] == "invalid_argument"
        assert words in error["message"]


@pytest.mark.parametrize("era", [modern, legacy])
async def test_the_account_of_a_token_goes_before_what_clusters_say(server: Running, bound: str, era: Any) -> None:
    assert [each["name"] for each in (await call(server, bound, "list_clusters", era))["clusters"]] == ["closed"]
    there = {"cluster": "closed"}
    assert "rows" in await call(server, bound, "execute_query", era, sql=SQL.format("customer"), **there)
    refused = await call(server, bound, "execute_query", era, sql=SQL.format("lineorder"), **there)
    assert refused["error"]["kind"] == "query_failed"
    error = (await call(server, bound, "execute_query", era, sql=SQL.format("customer")))["error"]
    assert "no Doris account is bound to you at the cluster main" in error["message"]


@pytest.mark.parametrize("sql", ["SET ROLE 'admin'", "SHOW GRANTS FOR 'root'", "SELECT 1; SET PASSWORD = 'x'", "USE x"])
async def test_no_statement_changes_who_one_is(server: Running, sql: str) -> None:
    assert (await call(server, WEAK, "execute_query", sql=sql))["error"]["kind"] == "statement_refused"
