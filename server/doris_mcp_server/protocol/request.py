"""One verified HTTP request, as every part of the protocol hands it on."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from doris_mcp_server.answers import Message, Receive, Scope, Send
from doris_mcp_server.auth import Principal

VERSION = b"mcp-protocol-version"
SESSION = b"mcp-session-id"


class ClientGone(Exception):
    """The client went away before its request was whole: there is nobody to answer."""


class Request(NamedTuple):
    """`headers` are those of `scope`, by name; none that matters came twice.

    `streaming` is entered by what turns out to be a stream, which no drain waits for.
    """

    scope: Scope
    headers: dict[bytes, bytes]
    principal: Principal
    receive: Receive
    send: Send
    address: str = ""
    """Where it comes from; told only where something is limited."""
    streaming: Callable[[], AbstractContextManager[None]] = nullcontext

    async def read(self, limit: int) -> bytes:
        """The whole body, or so much of it that it is more than `limit` bytes. Raises: ClientGone."""
        parts, size, more = [], 0, True
        while more and size <= limit:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            more = message.get("more_body", False)
        return b"".join(parts)

    def replayed(self, body: bytes) -> Receive:
        """`receive` as if the body had not been read yet."""
        fresh = True

        async def receive() -> Message:
            nonlocal fresh
            if fresh:
                fresh = False
                return {"type": "http.request", "body": body, "more_body": False}
            return await self.receive()

        return receive
