"""What the balancer passes on, to whom and how often, seen by the member behind it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from ..balancer import balancing
from ..conftest import LIMIT, TOKEN, Launch
from .wire import Connection, connected, head, modern, post, rpc

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
METADATA = "/.well-known/oauth-protected-resource"


@dataclass
class Member:
    """A server behind the balancer that does as it is told and notes what reached it."""

    handler: Handler
    port: int = 0
    seen: list[web.Request] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        return await self.handler(request)


@contextlib.asynccontextmanager
async def member(handler: Handler) -> AsyncIterator[Member]:
    made = Member(handler)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.port = runner.addresses[0][1]
        yield made
    finally:
        await runner.cleanup()


async def fine(request: web.Request) -> web.Response:
    return web.json_response({"path": request.path})


async def draining(request: web.Request) -> web.Response:
    return web.Response(status=503)


async def dying(request: web.Request) -> web.Response:
    """The connection breaks after the work began: was it done?"""
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def status(connection: Connection, data: bytes) -> int:
    connection.send(data)
    answer = await connection.answer()
    assert answer is not None
    return answer.status


async def test_an_event_stream_passes_event_by_event_with_the_headers_of_its_session(tmp_path: Path) -> None:
    first_was_read = asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"id: 8\ndata: first\n\n")
        async with asyncio.timeout(LIMIT):
            await first_was_read.wait()
        await response.write(b"id: 9\ndata: second\n\n")
        return response

    session = {"Mcp-Session-Id": "s" * 200, "Last-Event-ID": "7", "MCP-Protocol-Version": "2025-11-25"}
    async with member(stream) as one, balancing(tmp_path, [one.port]) as port, connected(port) as connection:
        connection.send(head(session, method="GET", but={"Accept": "text/event-stream"}))
        begun = await connection.begun()
        assert begun is not None
        assert (begun.status, begun.headers["content-type"]) == (200, "text/event-stream")
        while await connection.line() != b"data: first":
            pass
        first_was_read.set()
        while await connection.line() != b"data: second":
            pass
    for name, value in session.items():
        assert one.seen[0].headers[name] == value


async def test_a_client_that_leaves_a_stream_ends_it_at_the_member(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b": alive\n\n")
                await asyncio.sleep(0.01)
        ended.set()
        return response

    async with member(stream) as one, balancing(tmp_path, [one.port]) as port:
        async with connected(port) as connection:
            connection.send(head({}, method="GET"))
            assert await connection.begun() is not None
            assert await connection.line()
        async with asyncio.timeout(LIMIT):
            await ended.wait()


async def test_what_a_client_says_in_mcp_headers_reaches_the_member(tmp_path: Path) -> None:
    said = modern("tools/call", "execute_query") | {"Mcp-Param-Database": "ssb"}
    async with member(fine) as one, balancing(tmp_path, [one.port]) as port, connected(port) as connection:
        assert await status(connection, post(rpc("tools/call"), said)) == 200
    seen = one.seen[0].headers
    assert {name: seen[name] for name in said} == said
    assert seen["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("path", "passed"),
    [
        (METADATA, True),
        (f"{METADATA}/mcp", True),
        ("/.well-known/jwks.json", True),
        ("/.well-known/jwks.json/x", False),
        ("/.well-known/jwksxjson", False),
        (f"{METADATA}/admin", False),
        (f"{METADATA}/mcp/more", False),
        (f"{METADATA}x", False),
        ("/.well-known/oauth-authorization-server", True),
        ("/.well-known/oauth-authorization-server/mcp", False),
        ("/.well-known/openid-configuration", False),
        ("/oauth/authorize", True),
        ("/oauth/token", True),
        ("/oauth/revoke", True),
        ("/oauth/register", True),
        ("/oauth/authorize/x", False),
        ("/oauth/admin", False),
        ("/oauth", False),
        ("/metrics", False),
    ],
)
async def test_the_metadata_of_the_resource_is_reached_and_nothing_beside_it(
    path: str, passed: bool, tmp_path: Path
) -> None:
    async with member(fine) as one, balancing(tmp_path, [one.port]) as port, connected(port) as connection:
        assert await status(connection, head({}, method="GET", target=path)) == (200 if passed else 404)
    assert [request.path for request in one.seen] == ([path] if passed else [])


DELETE = head({"Mcp-Session-Id": "s"}, method="DELETE")


async def test_the_end_of_a_session_that_may_have_been_carried_out_is_not_sent_again(tmp_path: Path) -> None:
    async with (
        member(dying) as one,
        member(dying) as two,
        balancing(tmp_path, [one.port, two.port]) as port,
        connected(port) as connection,
    ):
        assert await status(connection, DELETE) == 502
    assert len(one.seen) + len(two.seen) == 1


async def test_the_end_of_a_session_goes_past_a_draining_member(tmp_path: Path) -> None:
    async with (
        member(draining) as one,
        member(fine) as two,
        balancing(tmp_path, [one.port, two.port]) as port,
        connected(port) as connection,
    ):
        assert [await status(connection, DELETE) for _ in range(2)] == [200, 200]
    assert one.seen and len(two.seen) == 2


AUTHORIZE, TOKENS = "/oauth/authorize", "/oauth/token"


def posted(path: str) -> bytes:
    form = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": "3"}
    return head({}, but=form, target=path) + b"a=b"


@pytest.mark.parametrize("path", [AUTHORIZE, TOKENS])
async def test_a_password_or_code_that_may_have_been_used_is_not_sent_again(path: str, tmp_path: Path) -> None:
    async with (
        member(dying) as one,
        member(dying) as two,
        balancing(tmp_path, [one.port, two.port]) as port,
        connected(port) as connection,
    ):
        assert await status(connection, posted(path)) == 502
    assert len(one.seen) + len(two.seen) == 1


@pytest.mark.parametrize("path", [AUTHORIZE, TOKENS])
async def test_a_login_goes_past_a_draining_member(path: str, tmp_path: Path) -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async with (
        member(draining) as one,
        member(echo) as two,
        balancing(tmp_path, [one.port, two.port], in_turn=True) as port,
        connected(port) as connection,
    ):
        for _ in range(3):
            connection.send(posted(path))
            answer = await connection.answer()
            assert answer is not None
            assert (answer.status, answer.body) == (200, b"a=b")
    assert one.seen and len(two.seen) == 3


async def test_the_login_page_is_asked_for_at_the_next_member(tmp_path: Path) -> None:
    async with (
        member(dying) as one,
        member(fine) as two,
        balancing(tmp_path, [one.port, two.port], in_turn=True) as port,
        connected(port) as connection,
    ):
        asked = head({}, method="GET", target=AUTHORIZE)
        assert [await status(connection, asked) for _ in range(2)] == [200, 200]
    assert one.seen


async def test_before_a_reload_each_answer_ends_its_connection_and_still_goes_past_a_member_that_dies(
    tmp_path: Path,
) -> None:
    asked = post(rpc("tools/call"), modern("tools/call", "execute_query"))
    async with (
        member(dying) as one,
        member(fine) as two,
        balancing(tmp_path, [one.port, two.port], in_turn=True) as port,
    ):
        async with connected(port) as connection:
            assert [await status(connection, asked) for _ in range(3)] == [200, 200, 200]
            (tmp_path / "leaving").touch()
            connection.send(asked)
            last = await connection.answer()
            assert last is not None
            assert (last.status, last.headers["connection"]) == (200, "close")
        (tmp_path / "leaving").unlink()
        async with connected(port) as connection:
            assert [await status(connection, asked) for _ in range(2)] == [200, 200]
    assert one.seen and len(two.seen) == 6


async def test_a_subscription_of_the_real_server_is_heard_at_once(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "edge").mkdir()
    listen = rpc("subscriptions/listen", '"notifications":{"toolsListChanged":true}')
    async with launch(DORIS_MCP_TOKEN=TOKEN) as server:
        member_port = int(server.url.rpartition(":")[2])
        async with balancing(tmp_path / "edge", [member_port]) as port, connected(port) as connection:
            connection.send(post(listen, modern("subscriptions/listen")))
            begun = await connection.begun()
            assert begun is not None
            assert (begun.status, begun.headers["content-type"].split(";")[0]) == (200, "text/event-stream")
            while not (line := await connection.line()).startswith(b"data:"):
                pass
            assert b"acknowledged" in line
