"""The HTTP surface of a real server on the demo engine: both eras, and what bad input is answered."""

import io
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from .conftest import LIMIT, TOKEN, Launch, Running, legacy, modern, serving

TOOLS = {
    "list_catalogs",
    "list_databases",
    "list_tables",
    "get_table_context",
    "execute_query",
    "explain_query",
    "get_query_profile",
    "list_recent_queries",
    "get_cluster_health",
}
GROUP_BY = "SELECT d_year, count(*) AS orders FROM lineorder JOIN dates ON lo_orderdate = d_datekey GROUP BY d_year"


# One server for all of them: none of these requests may harm it.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    runtime = tmp_path_factory.mktemp("runtime")
    async with serving(runtime, "--sandbox", DORIS_MCP_TOKEN=TOKEN) as running:
        await running.said("doris answers")
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIMIT)) as session:
        yield session


def authorised(request: dict[str, Any], token: str = TOKEN) -> dict[str, Any]:
    return request | {"headers": request["headers"] | {"authorization": f"Bearer {token}"}}


async def answer(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """The JSON-RPC answer, from a JSON body or from the last event of a stream."""
    text = await response.text()
    if response.content_type == "text/event-stream":
        text = [line[5:] for line in text.splitlines() if line.startswith("data:")][-1]
    found: dict[str, Any] = json.loads(text)
    return found


async def call(http: aiohttp.ClientSession, url: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    async with http.post(f"{url}/mcp", **authorised(request)) as response:
        return response.status, await answer(response)


@pytest.mark.parametrize("era", [modern, legacy])
async def test_each_era_lists_the_tools_and_runs_a_query(
    era: Any, server: Running, http: aiohttp.ClientSession
) -> None:
    status, listed = await call(http, server.url, era("tools/list"))
    assert status == 200
    assert {tool["name"] for tool in listed["result"]["tools"]} == TOOLS
    assert all(tool["outputSchema"] and tool["annotations"]["readOnlyHint"] for tool in listed["result"]["tools"])
    request = era("tools/call", {"name": "execute_query", "arguments": {"sql": GROUP_BY}}, id=7)
    status, result = await call(http, server.url, request)
    assert (status, result["id"]) == (200, 7)
    content = result["result"]["structuredContent"]
    assert content["truncated"] is False
    assert content["row_count"] == len(content["rows"]) == 7
    assert json.loads(result["result"]["content"][0]["text"]) == content


def refusals() -> list[Any]:
    """(what, keyword arguments of the request, status, JSON-RPC code or None)"""
    good = modern("tools/list")
    unknown = modern("tools/call", {"name": "drop_everything", "arguments": {}})
    raw = {"headers": good["headers"] | {"content-type": "application/json"}}
    return [
        pytest.param(authorised(raw | {"data": b'{"jsonrpc": '}), 400, -32700, id="malformed JSON"),
        pytest.param(authorised(raw | {"data": b"[" * 100_000}), 400, -32700, id="nested 100,000 deep"),
        pytest.param(authorised(raw | {"data": b"[]"}), 400, -32600, id="batch"),
        pytest.param(authorised(raw | {"data": io.BytesIO(b"x" * (5 << 20))}), 413, None, id="body too large"),
        pytest.param(authorised(unknown), 400, -32602, id="unknown tool"),
        pytest.param(authorised(modern("no/such/method")), 404, -32601, id="unknown method"),
        pytest.param(good, 401, None, id="no token"),
        pytest.param(authorised(good, "wrong-token-0123456789"), 401, None, id="wrong token"),
        pytest.param(authorised(good | {"headers": good["headers"] | {"host": "evil"}}), 421, None, id="wrong Host"),
        pytest.param(
            authorised(good | {"headers": good["headers"] | {"host": "127.0.0.1.evil.com"}}), 421, None, id="near Host"
        ),
        pytest.param(
            authorised(good | {"headers": good["headers"] | {"origin": "http://evil"}}), 403, None, id="wrong Origin"
        ),
        pytest.param(authorised(good | {"headers": good["headers"] | {"origin": "null"}}), 403, None, id="null Origin"),
    ]


@pytest.mark.parametrize(("request_", "status", "code"), refusals())
async def test_bad_input_gets_its_answer_and_the_worker_lives(
    request_: dict[str, Any], status: int, code: int | None, server: Running, http: aiohttp.ClientSession
) -> None:
    async with http.post(f"{server.url}/mcp", **request_) as response:
        text = await response.text()
        assert response.status == status, text
        assert "Traceback" not in text
        if code is not None:
            assert json.loads(text)["error"]["code"] == code
        if status == 401:
            assert response.headers["www-authenticate"].startswith("Bearer")
    good = modern("tools/call", {"name": "execute_query", "arguments": {"sql": "SELECT 41 + 1"}})
    assert (await call(http, server.url, good))[1]["result"]["structuredContent"]["rows"] == [[42]]
    assert not [line for line in server.lines if line["message"] == "worker ended"]


@pytest.mark.parametrize("era", [modern, legacy])
@pytest.mark.parametrize(
    ("name", "arguments", "kind"),
    [
        ("execute_query", {"sql": "DROP TABLE lineorder"}, "statement_refused"),
        ("execute_query", {"sql": "SELECT 1; DELETE FROM lineorder"}, "statement_refused"),
        ("execute_query", {"sql": "SELECT * FROM no_such_table"}, "query_failed"),
        ("execute_query", {"sql": "SELECT 1", "max_rows": 10**9}, "invalid_argument"),
        ("execute_query", {"statement": "SELECT 1"}, "invalid_argument"),
        ("execute_query", {"sql": "SELECT sleep(30)", "timeout_s": 1}, "query_timeout"),
        ("list_tables", {"database": "no_such_database"}, "query_failed"),
    ],
)
async def test_a_failing_call_is_a_tool_error_with_its_kind(
    era: Any, name: str, arguments: dict[str, Any], kind: str, server: Running, http: aiohttp.ClientSession
) -> None:
    status, result = await call(http, server.url, era("tools/call", {"name": name, "arguments": arguments}))
    assert status == 200
    assert result["result"]["isError"] is True
    assert json.loads(result["result"]["content"][0]["text"])["error"]["kind"] == kind


@pytest.mark.parametrize("era", [modern, legacy])
async def test_a_client_that_goes_away_stops_its_query(era: Any, server: Running, http: aiohttp.ClientSession) -> None:
    request = authorised(era("tools/call", {"name": "execute_query", "arguments": {"sql": "SELECT sleep(25)"}}))
    before = sum(line.get("outcome") == "cancelled" for line in server.lines)
    with pytest.raises(TimeoutError):
        async with http.post(f"{server.url}/mcp", timeout=aiohttp.ClientTimeout(total=1.5), **request) as response:
            await response.read()
    line = await server.said("tool call", before + 1, outcome="cancelled")
    assert line["ms"] < 20_000


async def test_health_and_metrics(server: Running, http: aiohttp.ClientSession) -> None:
    await call(http, server.url, modern("tools/call", {"name": "list_catalogs", "arguments": {}}))
    for path, words in (("/livez", "alive"), ("/readyz", "ready"), ("/health", "ready")):
        async with http.get(server.url + path) as response:
            assert (response.status, (await response.json())["status"]) == (200, words)
            assert response.headers["x-served-by"] == "node-a"
    async with http.get(f"{server.url}/metrics") as response:
        text = await response.text()
    assert 'doris_mcp_tool_calls_total{outcome="ok",tool="list_catalogs"} 1.0' in text
    for path, method in (("/", "GET"), ("/admin", "GET"), ("/mcp", "GET"), ("/mcp", "DELETE")):
        async with http.request(method, server.url + path, headers={"authorization": f"Bearer {TOKEN}"}) as response:
            assert response.status == (405 if path == "/mcp" else 404)


async def test_no_token_and_no_password_reaches_the_log(server: Running, http: aiohttp.ClientSession) -> None:
    await call(http, server.url, modern("tools/list"))
    async with http.post(
        f"{server.url}/mcp", **authorised(modern("tools/list"), "another-secret-0123456789")
    ) as response:
        assert response.status == 401
    said = json.dumps(server.lines)
    assert TOKEN not in said and "another-secret" not in said


async def test_without_doris_it_starts_says_why_and_answers_within_the_limit(
    launch: Launch, http: aiohttp.ClientSession, unused_tcp_port: int
) -> None:
    async with launch(DORIS_HOST="127.0.0.1", DORIS_PORT=str(unused_tcp_port)) as running:
        await running.said("worker listens")
        async with http.get(f"{running.url}/readyz") as response:
            body = await response.json()
            assert (response.status, body["status"], body["checks"]["doris"]["ok"]) == (503, "not_ready", False)
        query = modern("tools/call", {"name": "execute_query", "arguments": {"sql": "SELECT 1"}})
        _, result = await call(http, running.url, query)
        error = json.loads(result["result"]["content"][0]["text"])["error"]
        assert (error["kind"], error["retryable"]) == ("doris_unavailable", True)
