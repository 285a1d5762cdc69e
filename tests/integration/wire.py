"""HTTP/1.1 by hand: what no client library would send, and everything that comes back."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from ..conftest import LIMIT, TOKEN

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "wire", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
COMMON = {
    "Host": "127.0.0.1",
    "Authorization": f"Bearer {TOKEN}",
    "Accept": "application/json, text/event-stream",
    "Content-Type": "application/json",
}
LEGACY = {"MCP-Protocol-Version": "2025-11-25"}


def modern(method: str, name: str | None = None) -> dict[str, str]:
    """Headers of the 2026-07-28 era, which repeat what the body says."""
    names = {} if name is None else {"Mcp-Name": name}
    return {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method, **names}


def rpc(method: str, params: str = "", *, id: str | None = "1", era: str = "modern") -> bytes:
    """A JSON-RPC message. `params` are members of its params and `id` its id, both as JSON text, right or wrong."""
    members = [params] if params else []
    if era == "modern":
        members.append(f'"_meta":{json.dumps(META)}')
    shown = "" if id is None else f'"id":{id},'
    return f'{{"jsonrpc":"2.0",{shown}"method":"{method}","params":{{{",".join(members)}}}}}'.encode()


def head(
    headers: dict[str, str],
    *lines: str,
    method: str = "POST",
    target: str = "/mcp",
    but: dict[str, str | None] | None = None,
) -> bytes:
    """A request's head: the common headers, changed (None: left out) by `but`, then `headers`, then raw lines."""
    shown = {name: value for name, value in {**COMMON, **(but or {})}.items() if value is not None}
    first = f"{method} {target} HTTP/1.1"
    every = [first, *(f"{name}: {value}" for name, value in {**shown, **headers}.items()), *lines]
    return ("\r\n".join(every) + "\r\n\r\n").encode()


def post(body: bytes, headers: dict[str, str], *lines: str, target: str = "/mcp", **but: str | None) -> bytes:
    """A whole POST, well framed. Keywords change common headers: `accept=None` leaves it out."""
    changes = {name.replace("_", "-").title(): value for name, value in but.items()}
    return head(headers, f"Content-Length: {len(body)}", *lines, target=target, but=changes) + body


def chunked(size: str, body: bytes, end: bytes = b"\r\n0\r\n\r\n") -> bytes:
    """A POST of tools/list in one chunk, whose size line and end may be anything."""
    return head(modern("tools/list"), "Transfer-Encoding: chunked") + size.encode() + b"\r\n" + body + end


_numbers = itertools.count(1)


def canary() -> tuple[bytes, str]:
    """An ordinary request that needs no database, and the id that only its answer has."""
    name = f"canary-{next(_numbers)}"
    return post(rpc("tools/list", id=f'"{name}"'), modern("tools/list")), name


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def message(self) -> dict[str, Any]:
        """The JSON-RPC message in it, from JSON or from the last event of a stream."""
        text = self.body.decode()
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            text = [line[5:] for line in text.splitlines() if line.startswith("data:")][-1]
        found: dict[str, Any] = json.loads(text)
        return found

    def is_for(self, canary_name: str) -> bool:
        return self.status == 200 and self.message().get("id") == canary_name


class Connection:
    """One TCP connection, and its answers in the order they come."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def answer(self) -> Answer | None:
        """The next answer, whole; None when the server has closed the connection."""
        async with asyncio.timeout(LIMIT):
            found = await self.begun()
            if found is None:
                return None
            return Answer(found.status, found.headers, await self._body(found))

    async def begun(self) -> Answer | None:
        """The next answer as far as its head; None when the server has closed the connection."""
        async with asyncio.timeout(LIMIT):
            try:
                text = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            except (asyncio.IncompleteReadError, ConnectionResetError) as error:
                assert not getattr(error, "partial", b""), f"half an answer: {error!r}"
                return None
        first, *lines = text.rstrip("\r\n").split("\r\n")
        pairs = (line.split(":", 1) for line in lines)
        return Answer(int(first.split()[1]), {name.lower(): value.strip() for name, value in pairs}, b"")

    async def line(self) -> bytes:
        """The next line that is not empty, as it comes: of a stream that has not ended."""
        async with asyncio.timeout(LIMIT):
            while not (line := (await self._reader.readline()).strip()):
                assert not self._reader.at_eof(), "the stream has ended"
            return line

    async def _body(self, begun: Answer) -> bytes:
        if begun.status in (202, 204, 304) and "content-length" not in begun.headers:
            return b""
        if begun.headers.get("transfer-encoding") == "chunked":
            parts = []
            while size := int(await self._reader.readline(), 16):
                parts.append(await self._reader.readexactly(size))
                await self._reader.readline()
            await self._reader.readline()
            return b"".join(parts)
        if "content-length" in begun.headers:
            return await self._reader.readexactly(int(begun.headers["content-length"]))
        return await self._reader.read()


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@dataclass
class Relay:
    """Stands between a balancer and its member and counts the requests that go through."""

    port: int = 0
    requests: int = 0
    heads: list[bytes] = field(default_factory=list)


@dataclass
class Count:
    """Reads one connection's requests. A balancer has read each of them whole, so all have a length."""

    relay: Relay
    _held: bytes = b""
    _body: int = 0  # bytes of the current request's body still to come

    def feed(self, data: bytes) -> None:
        self._held += data
        while True:
            skipped = min(self._body, len(self._held))
            self._held, self._body = self._held[skipped:], self._body - skipped
            head, found, rest = self._held.partition(b"\r\n\r\n")
            if self._body or not found:
                return
            lengths = [
                int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
            ]
            assert b"transfer-encoding" not in head.lower(), head
            self.relay.requests += 1
            self.relay.heads.append(head)
            self._held, self._body = rest, sum(lengths)


@contextlib.asynccontextmanager
async def relaying(member: int) -> AsyncIterator[Relay]:
    relay = Relay()
    serving: set[asyncio.Task[Any]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Count | None) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(1 << 16):
                    if count is not None:
                        count.feed(data)
                    writer.write(data)
                    await writer.drain()
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", member)
            await asyncio.gather(pump(reader, forth, Count(relay)), pump(back, writer, None))
        finally:
            serving.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await server.wait_closed()
