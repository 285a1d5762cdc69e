"""The load client of the fleet test sees what it is there to see: lost, foreign and repeated answers."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from ..conftest import TOKEN, Launch
from ..fleet.load import Load

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Answer `/mcp` with this handler; the address to ask."""
    runners: list[web.AppRunner] = []

    async def start(handler: Handler) -> str:
        app = web.Application()
        app.router.add_post("/mcp", handler)
        runners.append(web.AppRunner(app))
        await runners[-1].setup()
        await web.TCPSite(runners[-1], "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runners[-1].addresses[0][1]}/mcp"

    yield start
    for runner in runners:
        await runner.cleanup()


def result(asked: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The right answer to a request of the load client, with `id` or `nonce` changed."""
    nonce = asked["params"]["arguments"]["sql"].split("'")[1]
    row = [changes.get("nonce", nonce)]
    return {"jsonrpc": "2.0", "id": changes.get("id", asked["id"]), "result": {"structuredContent": {"rows": [row]}}}


async def test_against_a_real_server_all_is_well_and_the_connections_are_kept(launch: Launch) -> None:
    async with launch("--sandbox", DORIS_MCP_TOKEN=TOKEN) as server:
        await server.said("doris answers")
        async with Load(f"{server.url}/mcp", TOKEN, 4, slow=1, slow_seconds=1, sessions=True) as load:
            await load.until(lambda report: report.ok >= 40 and report.slow_ok >= 1)
        report = load.report()
    assert report.clean, report
    assert report.opened == 5
    assert report.hosts == {"node-a": report.ok + report.slow_ok}


async def test_right_answers_are_clean_as_json_and_as_a_stream(serve: Serve) -> None:
    async def handler(request: web.Request) -> web.Response:
        asked = await request.json()
        if asked["id"] % 2:
            return web.json_response(result(asked))
        text = f'event: message\ndata: {{"jsonrpc":"2.0","method":"note"}}\n\ndata: {json.dumps(result(asked))}\n\n'
        return web.Response(text=text, content_type="text/event-stream")

    async with Load(await serve(handler), connections=2) as load:
        await load.answers(20)
    assert load.report().clean, load.report()


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("foreign", {"id": 10**6}),
        ("foreign", {"nonce": "somebody-elses"}),
    ],
)
async def test_a_foreign_answer_is_seen(kind: str, changes: dict[str, Any], serve: Serve) -> None:
    async def handler(request: web.Request) -> web.Response:
        asked = await request.json()
        return web.json_response(result(asked, **changes if asked["id"] == 7 else {}))

    async with Load(await serve(handler), connections=2) as load:
        await load.answers(20)
    report = load.report()
    assert (getattr(report, kind), report.failed, report.clean) == (1, 0, False), report


async def test_an_answer_given_twice_is_seen(serve: Serve) -> None:
    before: dict[int, str] = {}

    async def handler(request: web.Request) -> web.Response:
        asked = await request.json()
        before[asked["id"]] = asked["params"]["arguments"]["sql"].split("'")[1]
        if asked["id"] == 7:
            return web.json_response(result(asked, nonce=before[1]))
        if asked["id"] == 9:
            return web.Response(text=f"data: {json.dumps(result(asked))}\n\n" * 2, content_type="text/event-stream")
        return web.json_response(result(asked))

    async with Load(await serve(handler), connections=1) as load:
        await load.answers(20)
    report = load.report()
    assert (report.duplicated, report.foreign, report.failed, report.clean) == (2, 0, 0, False), report


async def test_lost_and_refused_requests_are_counted_with_their_reason(serve: Serve) -> None:
    async def handler(request: web.Request) -> web.Response:
        asked = await request.json()
        match asked["id"]:
            case 3:
                return web.Response(status=502, text="no live upstreams")
            case 5:
                assert request.transport is not None
                request.transport.close()
            case 7:
                error = {"error": {"kind": "doris_unavailable"}}
                content = [{"type": "text", "text": json.dumps(error)}]
                failed = {"isError": True, "content": content}
                return web.json_response({"jsonrpc": "2.0", "id": 7, "result": failed})
            case 9:
                return web.json_response({"jsonrpc": "2.0", "id": 9, "error": {"code": -32603, "message": "oh"}})
            case 11:
                return web.Response(text='{"jsonrpc": "2.0", "id"')
        return web.json_response(result(asked))

    async with Load(await serve(handler), connections=1) as load:
        await load.answers(20)
    report = load.report()
    assert report.failed == 5, report
    assert set(report.reasons) == {
        "HTTP 502",
        "ServerDisconnectedError",
        "tool error doris_unavailable",
        "JSON-RPC error -32603",
        "unreadable answer (JSONDecodeError)",
    }
    assert report.reasons["HTTP 502"]["sample"] == "no live upstreams"
    assert (report.opened, report.clean) == (2, False)
