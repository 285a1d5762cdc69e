"""An answer written in one go is, byte for byte, what uvicorn makes of the same answer over ASGI."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from doris_mcp_server.answers import Answers

from .conftest import LIMIT

SMALL = b'{"jsonrpc":"2.0","id":1,"result":{}}'
LARGE = b'"' + b"x" * (8 << 20) + b'"'


class App:
    """`/quick` writes the answer itself, `/long` goes through ASGI; `wrote` counts the quick ones."""

    def __init__(self) -> None:
        self.answers = Answers("node-a")
        self.wrote = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        body = LARGE if b"large" in scope["query_string"] else SMALL
        if scope["path"] == "/quick" and self.answers.write(send, body):
            self.wrote += 1
        else:
            await self.answers.send(send, 200, body)


@asynccontextmanager
async def serving(app: App) -> AsyncIterator[int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            app, http="httptools", lifespan="off", log_config=None, access_log=False, server_header=False
        )
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve([sock]))
        async with asyncio.timeout(LIMIT):
            while not server.started:
                await asyncio.sleep(0.01)
        try:
            yield sock.getsockname()[1]
        finally:
            server.should_exit = True
            await running


def post(path: str, *lines: str, version: str = "1.1") -> bytes:
    head = [f"POST {path} HTTP/{version}", "host: x", "content-length: 2", *lines]
    return "\r\n".join([*head, "", "{}"]).encode()


async def talk(port: int, request: bytes, answers: int = 1) -> bytes:
    """Send `request`; everything that comes back for so many answers, or until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(LIMIT):
            writer.write(request)
            got = b""
            while got.count(b"\r\n\r\n{") < answers and (piece := await reader.read(65536)):
                got += piece
            while not got.endswith(SMALL) and (piece := await reader.read(65536)):
                got += piece
    finally:
        writer.close()
        await writer.wait_closed()
    return re.sub(rb"date: [^\r]*", b"date: now", got)


@pytest.mark.parametrize(
    ("lines", "version", "quick"),
    [
        ((), "1.1", True),
        (("connection: close",), "1.1", False),
        ((), "1.0", False),
        (("expect: 100-continue",), "1.1", True),
    ],
)
async def test_the_bytes_are_the_same(lines: tuple[str, ...], version: str, quick: bool) -> None:
    app = App()
    async with serving(app) as port:
        ours = await talk(port, post("/quick", *lines, version=version))
        theirs = await talk(port, post("/long", *lines, version=version))
    assert app.wrote == quick
    parts = [sorted(each.split(b"\r\n\r\n{")[0].split(b"\r\n")) for each in (ours, theirs)]
    assert parts[0] == parts[1]
    assert ours.endswith(SMALL) and theirs.endswith(SMALL)


async def test_pipelined_requests_are_answered_in_order_and_the_connection_is_kept() -> None:
    app = App()
    async with serving(app) as port:
        got = await talk(port, post("/quick") + post("/long") + post("/quick"), answers=3)
    assert got.count(b"HTTP/1.1 200 OK\r\n") == got.count(SMALL) == 3
    assert app.wrote == 2


async def test_a_closing_server_says_so_and_closes() -> None:
    app = App()
    app.answers.closing = True
    async with serving(app) as port:
        got = await talk(port, post("/quick"))
    assert b"connection: close\r\n" in got
    assert not app.wrote


async def test_a_client_that_reads_slowly_holds_nobody_up() -> None:
    """Its answer is more than the connection takes: another one is answered meanwhile, and it gets all of its own."""
    app = App()
    async with serving(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(post("/quick?large") + post("/quick"))
        async with asyncio.timeout(LIMIT):
            while not app.wrote:
                await asyncio.sleep(0.01)
            assert (await talk(port, post("/quick"))).endswith(SMALL)
            got = 0
            while piece := await reader.read(1 << 20):
                got += len(piece)
                if got > len(LARGE) and piece.endswith(SMALL):
                    break
        assert got > len(LARGE)
        writer.close()
        await writer.wait_closed()
