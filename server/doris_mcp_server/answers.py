"""Answers over ASGI: complete JSON ones, built in as few steps as the protocol allows.

A leaf. `Answers` knows the headers that every answer of this server carries.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import orjson
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from doris_mcp_server.errors import Overloaded

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
OVERLOADED: Final = -32000
"""JSON-RPC leaves -32000 to -32099 to servers; the HTTP status beside it is 429."""
CANCELLED: Final = -32800
"""What the SDK answers to a cancelled request of the handshake era, whose stream ends only with an answer."""

_STREAM: Final[list[Header]] = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]
_CLOSE: Final[Header] = (b"connection", b"close")


class Answers:
    """Sends answers with the common headers; `closing` makes each ask its client to leave the connection."""

    def __init__(self, node: str) -> None:
        self.closing = False
        self._served_by: Header = (b"x-served-by", node.encode("ascii", "replace"))
        # The same bytes for every ordinary answer that is sent within one second.
        self._head = b""
        self._dated: list[Header] | None = None

    async def send(
        self, send: Send, status: int, body: bytes, *headers: Header, kind: bytes = b"application/json"
    ) -> None:
        """One complete answer."""
        lines = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), self._served_by, *headers]
        if self.closing:
            lines.append(_CLOSE)
        await send({"type": "http.response.start", "status": status, "headers": lines})
        await send({"type": "http.response.body", "body": body})

    @staticmethod
    def body(send: Send) -> bytes | None:
        """The body of the request that `send` answers, when it is here in whole; None: ask `receive`."""
        cycle = getattr(send, "__self__", None)
        if type(cycle) is not RequestResponseCycle or cycle.more_body or cycle.waiting_for_100_continue:
            return None
        return bytes(cycle.body)

    async def ok(self, send: Send, body: bytes) -> None:
        """200 with JSON, as quickly as it can be sent."""
        if not self.write(send, body):
            await self.send(send, 200, body)

    def write(self, send: Send, body: bytes) -> bool:
        """Send 200 with JSON in one write to the connection; False, and nothing sent, where that may not be.

        ASGI makes uvicorn look at each header of each answer: a quarter of what an ordinary request costs. What it
        would do is known here, so it is done directly on uvicorn's own cycle; test_answers compares the bytes. Whatever
        is not plain (HTTP/1.0, a client that reads slowly, another server) goes the long way.
        """
        cycle = getattr(send, "__self__", None)
        if (
            type(cycle) is not RequestResponseCycle
            or self.closing
            or not cycle.keep_alive
            or cycle.disconnected
            or cycle.response_started
            or cycle.waiting_for_100_continue
            or cycle.flow.write_paused
        ):
            return False
        if cycle.default_headers is not self._dated:
            self._dated = cycle.default_headers
            lines = [*self._dated, (b"content-type", b"application/json"), self._served_by]
            self._head = b"HTTP/1.1 200 OK\r\n" + b"".join(b"%s: %s\r\n" % line for line in lines)
        cycle.transport.write(b"%scontent-length: %d\r\n\r\n%s" % (self._head, len(body), body))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        cycle.on_response()
        return True

    async def error(self, send: Send, status: int, code: int, words: str, *headers: Header, id: Any = None) -> None:
        """A JSON-RPC error as the whole answer."""
        problem = {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": words}}
        await self.send(send, status, orjson.dumps(problem), *headers)

    async def turn_away(self, send: Send, error: Overloaded, id: Any = None) -> int:
        """429, which no balancer carries to the next member: that one has as much to do, or keeps to the same limit."""
        words = f"{error.message}. {error.hint}"
        await self.error(send, 429, OVERLOADED, words, (b"retry-after", b"%d" % error.retry_after), id=id)
        return 429

    async def begin_stream(self, send: Send) -> None:
        """Commit to an event stream; the events follow as bodies with `more_body`."""
        lines = [*_STREAM, self._served_by]
        if self.closing:
            lines.append(_CLOSE)
        await send({"type": "http.response.start", "status": 200, "headers": lines})

    def completed(self, headers: list[Header]) -> list[Header]:
        """The headers of an answer made elsewhere (by the SDK), with ours."""
        kept = [h for h in headers if not (self.closing and h[0] == b"connection")]
        return [*kept, self._served_by, *([_CLOSE] if self.closing else ())]


def event(message: bytes) -> bytes:
    """One JSON-RPC message as a frame of an event stream."""
    return b"event: message\r\ndata: " + message + b"\r\n\r\n"
