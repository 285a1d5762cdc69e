"""The load of the fleet's tests sees what it is there to see: lost, foreign, repeated and late answers, cut streams."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from ..conftest import TOKEN, Launch
from ..fleet.load import SHORT, Load, Mix
from ..fleet.load.history import Request, read
from ..fleet.load.verdict import judge

Handler = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[str]]
RATE = 200.0
STREAMS = Mix(long=0, stream=0.5, shortest=600, longest=600)


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Begin sessions at `/mcp`, and answer all the rest there with this handler; the address to ask."""
    runners: list[web.AppRunner] = []

    async def start(handler: Handler) -> str:
        async def answer(request: web.Request) -> web.StreamResponse:
            asked = await request.json() if request.method == "POST" else {}
            if asked.get("method") == "initialize":
                return web.json_response({}, headers={"mcp-session-id": "a-session"})
            return await handler(request, asked)

        app = web.Application()
        app.router.add_route("*", "/mcp", answer)
        runners.append(web.AppRunner(app, handler_cancellation=True))
        await runners[-1].setup()
        await web.TCPSite(runners[-1], "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runners[-1].addresses[0][1]}/mcp"

    yield start
    for runner in runners:
        await runner.cleanup()


def number(asked: dict[str, Any]) -> int:
    """Which request of the load this is."""
    return int(asked["id"].rpartition("-")[2])


def result(asked: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The right answer to a query of the load, with `id` or `nonce` changed."""
    row = [changes.get("nonce", asked["id"])]
    return {"jsonrpc": "2.0", "id": changes.get("id", asked["id"]), "result": {"structuredContent": {"rows": [row]}}}


def frame(message: dict[str, Any]) -> bytes:
    return f"event: message\r\ndata: {json.dumps(message)}\r\n\r\n".encode()


def subscription(asked: dict[str, Any]) -> tuple[bytes, bytes]:
    """The first and the last frame of the subscription that was asked for."""
    within = {"_meta": {"io.modelcontextprotocol/subscriptionId": asked["id"]}}
    acknowledged = {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": within}
    return frame(acknowledged), frame({"jsonrpc": "2.0", "id": asked["id"], "result": within})


async def test_against_a_real_server_all_is_well_and_the_connections_are_kept(launch: Launch, tmp_path: Path) -> None:
    history = tmp_path / "history"
    mix = Mix(long=0.2, stream=0.2, shortest=0.1, longest=0.3)
    async with launch("--sandbox", DORIS_MCP_TOKEN=TOKEN) as server:
        await server.said("doris answers")
        async with Load(f"{server.url}/mcp", TOKEN, RATE, mix=mix, history=history) as load:
            with load.phase("busy"):
                await load.until(lambda seen: min(seen.ok, seen.long_ok, seen.streams_ok) >= 20)
    report = load.report
    assert report.clean, report
    assert not (report.told or report.again or report.late), report
    assert report.opened < report.ok
    assert set(report.hosts) == {"node-a"}
    lines = [line for line in read(history) if isinstance(line, Request)]
    assert {(line.kind, line.era) for line in lines} == {
        (kind, era) for kind in ("short", "long", "stream") for era in ("modern", "legacy")
    }
    assert all(line.due <= line.start <= line.answered <= line.end and line.connection for line in lines)
    verdict = judge(read(history))
    assert verdict.clean, verdict
    assert verdict.whole.outcomes.total() == len(lines) == report.hosts.total()


async def test_requests_start_at_their_rate_whether_or_not_earlier_ones_were_answered(serve: Serve) -> None:
    everybody = asyncio.Event()
    waiting = 0

    async def handler(request: web.Request, asked: dict[str, Any]) -> web.Response:
        nonlocal waiting
        waiting += 1
        if waiting == 50:
            everybody.set()
        await everybody.wait()
        return web.json_response(result(asked))

    async with Load(await serve(handler), rate=RATE, mix=SHORT) as load:
        await load.answers(50)
    assert load.report.clean, load.report


async def test_right_answers_are_clean_as_json_and_as_a_stream(serve: Serve) -> None:
    async def handler(request: web.Request, asked: dict[str, Any]) -> web.Response:
        if number(asked) % 2:
            return web.json_response(result(asked))
        body = frame({"jsonrpc": "2.0", "method": "note"}) + frame(result(asked))
        return web.Response(body=body, content_type="text/event-stream")

    async with Load(await serve(handler), rate=RATE, mix=SHORT) as load:
        await load.answers(20)
    assert load.report.clean, load.report


@pytest.mark.parametrize("changes", [{"id": "somebody-elses"}, {"nonce": "somebody-elses"}])
async def test_a_foreign_answer_is_seen(changes: dict[str, Any], serve: Serve, tmp_path: Path) -> None:
    async def handler(request: web.Request, asked: dict[str, Any]) -> web.Response:
        return web.json_response(result(asked, **changes if number(asked) == 7 else {}))

    async with Load(await serve(handler), rate=RATE, mix=SHORT, history=tmp_path / "history") as load:
        await load.answers(20)
    report = load.report
    assert (report.foreign, report.failed, report.duplicated, report.clean) == (1, 0, 0, False), report
    verdict = judge(read(tmp_path / "history"))
    assert (verdict.whole.outcomes["foreign"], verdict.faults) == (1, []), verdict


async def test_an_answer_given_twice_is_seen(serve: Serve, tmp_path: Path) -> None:
    first = asyncio.Event()

    async def handler(request: web.Request, asked: dict[str, Any]) -> web.Response:
        if number(asked) == 7:
            await first.wait()
            return web.json_response(result(asked, nonce=asked["id"].replace("-7", "-1")))
        if number(asked) == 9:
            return web.Response(body=frame(result(asked)) * 2, content_type="text/event-stream")
        if number(asked) == 20:
            first.set()
        return web.json_response(result(asked))

    async with Load(await serve(handler), rate=RATE, mix=SHORT, history=tmp_path / "history") as load:
        await load.answers(20)
    report = load.report
    assert (report.duplicated, report.foreign, report.failed, report.clean) == (2, 0, 0, False), report
    verdict = judge(read(tmp_path / "history"))
    assert (verdict.whole.outcomes["duplicated"], verdict.faults) == (2, []), verdict


async def test_lost_and_refused_requests_are_counted_with_their_reason(serve: Serve, tmp_path: Path) -> None:
    async def handler(request: web.Request, asked: dict[str, Any]) -> web.Response:
        match number(asked):
            case 3:
                return web.Response(status=503, headers={"retry-after": "1"}, text="draining")
            case 5:
                assert request.transport is not None
                request.transport.close()
            case 7:
                content = [{"type": "text", "text": json.dumps({"error": {"kind": "doris_unavailable"}})}]
                failed = {"isError": True, "content": content}
                return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": failed})
            case 9:
                error = {"code": -32603, "message": "oh"}
                return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "error": error})
            case 11:
                return web.Response(text='{"jsonrpc": "2.0", "id"')
        return web.json_response(result(asked))

    async with Load(await serve(handler), rate=RATE, mix=SHORT, history=tmp_path / "history") as load:
        await load.answers(20)
    report = load.report
    assert (report.failed, report.clean) == (5, False), report
    assert set(report.reasons) == {
        "HTTP 503",
        "ServerDisconnectedError",
        "tool error doris_unavailable",
        "JSON-RPC error -32603",
        "unreadable answer (JSONDecodeError)",
    }
    assert report.reasons["HTTP 503"].sample == "draining"
    verdict = judge(read(tmp_path / "history"))
    assert (verdict.whole.outcomes["failed"], verdict.faults) == (5, []), verdict


async def test_who_keeps_to_http_comes_again_when_told_and_only_then(serve: Serve, tmp_path: Path) -> None:
    before: set[str] = set()

    async def handler(request: web.Request, asked: dict[str, Any]) -> web.Response:
        if number(asked) in (3, 4, 5) and asked["id"] not in before:
            before.add(asked["id"])
            headers = {} if number(asked) == 5 else {"retry-after": "0"}
            return web.Response(status=429 if number(asked) == 4 else 503, headers=headers)
        return web.json_response(result(asked))

    history = tmp_path / "history"
    async with Load(await serve(handler), rate=RATE, mix=SHORT, comes_again=True, history=history) as load:
        await load.answers(20)
    report = load.report
    assert (report.told, report.failed, list(report.reasons)) == (2, 1, ["HTTP 503"]), report
    verdict = judge(read(tmp_path / "history"))
    assert (verdict.whole.outcomes["failed"], verdict.faults) == (1, []), verdict


@pytest.mark.parametrize(
    ("ending", "reasons"),
    [("in order", []), ("without its last frame", ["ended without its last frame"]), ("cut", ["ClientPayloadError"])],
)
async def test_a_stream_ended_in_order_is_opened_again_and_any_other_end_counts(
    ending: str, reasons: list[str], serve: Serve, tmp_path: Path
) -> None:
    listened = itertools.count(1)

    async def handler(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        if asked.get("method") == "tools/call":
            return web.json_response(result(asked))
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        if not asked:
            await response.write(b": open\r\n\r\n")
            return await until_closed()
        acknowledged, ended = subscription(asked)
        await response.write(acknowledged)
        if next(listened) > 1:
            return await until_closed()
        if ending == "in order":
            await response.write(ended)
        elif ending == "cut":
            assert request.transport is not None
            request.transport.close()
        return response

    history = tmp_path / "history"
    async with Load(await serve(handler), rate=RATE, mix=STREAMS, history=history) as load:
        await load.until(lambda seen: seen.ok >= 20 and seen.streams_ok + seen.failed >= 1)
    assert list(load.report.reasons) == reasons, load.report
    streams = [line for line in read(history) if isinstance(line, Request) and line.kind == "stream"]
    assert [line.ended_by for line in streams].count("server") == (ending != "cut")
    assert len(streams) > sum(line.ended_by == "client" for line in streams)
    verdict = judge(read(history))
    assert (verdict.whole.outcomes["failed"], verdict.faults) == (len(reasons), []), verdict


async def until_closed() -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError("the client closes it, and the handler is cancelled")
