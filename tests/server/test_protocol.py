"""What a client may count on beyond one request: sessions, streams, progress and cancellation, over several workers."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from doris_mcp_server.auth import Principal

from .conftest import LIMIT, TOKEN, Launch, Running, legacy, modern, serving
from .test_differential import both
from .test_http import answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

OTHER = "smoke-token-0123456789"
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
SLEEP = {"name": "execute_query", "arguments": {"sql": "SELECT sleep(25)"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """Two workers: a fresh connection may reach either, so nothing below may live in one of them."""
    runtime = tmp_path_factory.mktemp("runtime")
    variables = {"DORIS_MCP_TOKEN": TOKEN, "DORIS_MCP_SMOKE_TOKEN": OTHER, "DORIS_MCP_MAX_STREAMS": "3"}
    async with serving(runtime, "--sandbox", workers=2, **variables) as running:
        await running.said("doris answers", 2)
        yield running


@asynccontextmanager
async def asking(
    server: Running, request: dict[str, Any], *, method: str = "POST", session: str | None = None, token: str = TOKEN
) -> AsyncIterator[aiohttp.ClientResponse]:
    """One request over a connection of its own."""
    headers = request["headers"] | {"authorization": f"Bearer {token}"}
    if session is not None:
        headers["mcp-session-id"] = session
    body = {"json": request["json"]} if "json" in request else {}
    limit = aiohttp.ClientTimeout(total=LIMIT)
    async with (
        aiohttp.ClientSession(timeout=limit) as client,
        client.request(method, f"{server.url}/mcp", headers=headers, **body) as response,
    ):
        yield response


async def status(server: Running, request: dict[str, Any], **how: Any) -> int:
    async with asking(server, request, **how) as response:
        await response.read()
        return response.status


async def begin(server: Running) -> str:
    async with asking(server, legacy("initialize", HELLO)) as response:
        assert response.status == 200
        assert (await answer(response))["result"]["protocolVersion"] == "2025-11-25"
        return response.headers["mcp-session-id"]


def note(method: str, params: dict[str, Any]) -> dict[str, Any]:
    request = legacy(method, params)
    del request["json"]["id"]
    return request


BARE = {"headers": {"accept": "text/event-stream", "mcp-protocol-version": "2025-11-25"}}
LISTING = legacy("tools/list")


async def test_a_session_is_good_on_every_worker_and_only_for_its_own_caller(server: Running) -> None:
    session = await begin(server)
    assert {await status(server, LISTING, session=session) for _ in range(12)} == {200}
    assert await status(server, note("notifications/initialized", {}), session=session) == 202
    assert await status(server, LISTING, session=session, token=OTHER) == 404
    assert await status(server, LISTING, session=session[:-2] + ("AA" if session[-2:] != "AA" else "BB")) == 404
    assert await status(server, LISTING, session="made-up") == 404
    # A client whose session is gone begins a new one, even if it still sends the old id.
    assert await status(server, legacy("initialize", HELLO), session="made-up") == 200


async def test_a_client_only_the_sdk_understands_gets_a_session_too(server: Running) -> None:
    icons = [{"src": "https://example.org/icon.png", "mimeType": "image/png"}]
    hello = HELLO | {"clientInfo": {"name": "t", "version": "1", "icons": icons}}
    async with asking(server, legacy("initialize", hello)) as response:
        assert (await answer(response))["result"]["capabilities"]["tools"]["listChanged"] is True
        session = response.headers["mcp-session-id"]
    assert await status(server, LISTING, session=session) == 200


async def test_an_ended_session_is_over_on_every_worker(server: Running) -> None:
    session, kept = await begin(server), await begin(server)
    assert await status(server, BARE, method="DELETE", session=session, token=OTHER) == 404
    assert await status(server, LISTING, session=session) == 200
    assert await status(server, BARE, method="DELETE", session=session) == 200
    async with asyncio.timeout(LIMIT):
        while {await status(server, LISTING, session=session) for _ in range(8)} != {404}:
            pass
        while await status(server, BARE, method="DELETE", session=session) != 404:
            pass
    assert {await status(server, LISTING, session=kept) for _ in range(8)} == {200}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_what_needs_a_session_says_so(method: str, server: Running) -> None:
    async with asking(server, BARE, method=method) as response:
        assert (response.status, response.headers["allow"]) == (405, "POST")
        assert "Mcp-Session-Id" in (await response.json())["error"]["message"]
    new = {"headers": {"accept": "text/event-stream", "mcp-protocol-version": "2026-07-28"}}
    assert await status(server, new, method=method, session=await begin(server)) == 405


async def test_the_stream_of_a_session_ends_with_it_and_one_caller_has_only_so_many(server: Running) -> None:
    session, other = await begin(server), await begin(server)
    async with asking(server, BARE, method="GET", session=session) as stream:
        assert (stream.status, stream.content_type) == (200, "text/event-stream")
        assert await stream.content.readline() == b": open\r\n"
        opened = []
        # Three a worker: of seven more, one at least meets a worker that has its three.
        for _ in range(7):
            opened.append(asking(server, BARE, method="GET", session=other))
        answers = [await each.__aenter__() for each in opened]
        try:
            refused = [each for each in answers if each.status == 429]
            assert refused
            assert "event streams" in (await refused[0].json())["error"]["message"]
        finally:
            for each in opened:
                await each.__aexit__(None, None, None)
        assert await status(server, BARE, method="DELETE", session=session) == 200
        await stream.content.read()  # to its end, without an error


async def test_every_stream_ends_properly_when_the_server_stops(launch: Launch) -> None:
    async with launch("--sandbox") as server:
        session = await begin(server)
        listen = modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        async with (
            asking(server, BARE, method="GET", session=session) as old,
            asking(server, listen) as new,
        ):
            await old.content.readline()
            await new.content.readline()
            server.signal(signal.SIGTERM)
            await old.content.read()
            frames = (await new.content.read()).decode()
            assert '"result"' in frames.strip().splitlines()[-1], frames
        assert await server.process.wait() == 0


async def test_a_cancelled_call_stops_wherever_the_word_arrives(server: Running) -> None:
    session, other = await begin(server), await begin(server)
    before = sum(line["message"] == "tool call" for line in server.lines)

    async def slow(id: int) -> dict[str, Any]:
        async with asking(server, legacy("tools/call", SLEEP, id=id), session=session) as response:
            return await answer(response)

    calls = [asyncio.create_task(slow(id)) for id in range(1, 5)]
    forgotten = asyncio.create_task(slow(9))
    try:
        async with asyncio.timeout(LIMIT):
            # The word may overtake the call on its way to another worker: it is said until it was heard.
            while not all(call.done() for call in calls):
                for id in range(1, 5):
                    await status(server, note("notifications/cancelled", {"requestId": id}), session=session)
                # Neither another session's word nor one without a session stops anything.
                await status(server, note("notifications/cancelled", {"requestId": 9}), session=other)
                await status(server, note("notifications/cancelled", {"requestId": 9}))
        assert [(await call)["error"]["code"] for call in calls] == [-32800] * 4
        line = await server.said("tool call", before + 4)
        assert (line["outcome"], line["ms"] < 20_000) == ("cancelled", True)
        assert not forgotten.done()
    finally:
        forgotten.cancel()
        await asyncio.gather(forgotten, return_exceptions=True)


@pytest.mark.parametrize("era", [modern, legacy])
async def test_a_long_call_shows_progress_and_then_its_result(era: Any, server: Running) -> None:
    request = era("tools/call", {"name": "execute_query", "arguments": {"sql": "SELECT sleep(3)"}}, id="long")
    request["json"]["params"].setdefault("_meta", {})["progressToken"] = "token-1"
    async with asking(server, request) as response:
        assert response.content_type == "text/event-stream"
        text = await response.text()
    messages = [json.loads(line[5:]) for line in text.splitlines() if line.startswith("data:")]
    *notes, last = messages
    assert {each["method"] for each in notes} == {"notifications/progress"}
    assert {each["params"]["progressToken"] for each in notes} == {"token-1"}
    shown = [each["params"]["progress"] for each in notes]
    assert shown == sorted(set(shown)) and len(shown) >= 2
    assert (last["id"], last["result"]["structuredContent"]["row_count"]) == ("long", 1)


async def test_a_quick_call_with_a_progress_token_is_plain_json(server: Running) -> None:
    request = modern("tools/call", {"name": "execute_query", "arguments": {"sql": "SELECT 1"}})
    request["json"]["params"]["_meta"]["progressToken"] = 7
    async with asking(server, request) as response:
        assert response.content_type == "application/json"
        assert (await response.json())["result"]["structuredContent"]["rows"] == [[1]]


async def test_a_cursor_nobody_gave_is_refused(server: Running) -> None:
    async with asking(server, modern("tools/list", {"cursor": "page-2"})) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (400, -32602)


async def test_catalog_and_database_must_be_what_their_headers_say(server: Running) -> None:
    request = modern("tools/call", {"name": "list_tables", "arguments": {"database": "ssb"}})
    assert await status(server, request) == 200
    del request["headers"]["mcp-param-database"]
    assert await status(server, request) == 400
    request["headers"]["mcp-param-database"] = "other"
    async with asking(server, request) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (400, -32020)


@pytest.mark.parametrize("odd", [False, True])
async def test_a_tool_beyond_the_callers_scopes_is_403_with_what_it_needs(odd: bool) -> None:
    """On the lean path, and on a request that only the SDK would take."""
    request = modern("tools/call", {"name": "execute_query", "arguments": {"sql": "SELECT 1"}}, id=5)
    if odd:
        request["json"]["params"]["requestState"] = "x"
    headers = request["headers"] | {"host": "127.0.0.1:3000", "content-type": "application/json"}
    async with both() as pair:
        body = json.dumps(request["json"]).encode()
        seen = await pair.ours(headers, body, Principal("reader", frozenset({"catalog:read"})))
    assert (seen.status, seen.messages[0]["id"]) == (403, 5)
    assert 'error="insufficient_scope"' in seen.headers["www-authenticate"]
    assert 'scope="query:execute"' in seen.headers["www-authenticate"]
    assert "resource_metadata=" in seen.headers["www-authenticate"]
