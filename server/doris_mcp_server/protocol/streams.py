"""Event streams of the handshake era: what a client that sent GET hears until it, its session or the server ends.

Nothing is replayed: an event says "this changed, look again", so a stream that was cut loses nothing that a fresh
look does not show. (Clients of 2026-07-28 send `subscriptions/listen`, which the SDK serves.)
"""

import asyncio
from collections import Counter
from typing import Any, Final

import orjson

from doris_mcp_server.answers import OVERLOADED, Answers, Receive, Send, event
from doris_mcp_server.sessions import Session, Sessions
from doris_mcp_server.state.bus import SESSION_ENDED, SESSIONS_ENDED, Bus

CHANGED: Final = "mcp.changed"
"""Topic of what clients may hear: {"method": …, "params": … or nothing}, a JSON-RPC notification."""
SILENCE: Final = 15.0  # seconds until a sign of life, so that no proxy gives up on the stream
BACKLOG: Final = 256  # events a client may be behind; one that reads no more is cut off


class Streams:
    def __init__(self, answers: Answers, sessions: Sessions, bus: Bus, limit: int) -> None:
        self._answers = answers
        self._sessions = sessions
        self.limit = limit  # streams that one caller may have open
        self._open: Counter[str] = Counter()  # by principal
        self._queues: dict[asyncio.Queue[bytes | None], Session] = {}
        bus.subscribe(CHANGED, self._changed)
        for topic in (SESSION_ENDED, SESSIONS_ENDED):
            bus.subscribe(topic, self._ended)

    async def serve(self, session_id: bytes, session: Session, receive: Receive, send: Send) -> int:
        """Stream until somebody ends it; the HTTP status."""
        principal = session.principal
        if self._open[principal] >= self.limit:
            words = f"this caller has {self.limit} event streams open already"
            await self._answers.error(send, 429, OVERLOADED, words, (b"retry-after", b"10"))
            return 429
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(BACKLOG)
        self._queues[queue] = session
        self._open[principal] += 1
        watch = asyncio.create_task(self._until_gone(receive, queue))
        try:
            await self._answers.begin_stream(send)
            frame: bytes | None = b": open\r\n\r\n"
            while frame is not None:
                await send({"type": "http.response.body", "body": frame, "more_body": True})
                try:
                    async with asyncio.timeout(SILENCE):
                        frame = await queue.get()
                except TimeoutError:
                    alive = await self._sessions.find(session_id, principal)
                    frame = b": ping\r\n\r\n" if alive else None
            await send({"type": "http.response.body", "body": b""})
            return 200
        finally:
            watch.cancel()
            del self._queues[queue]
            self._open[principal] -= 1
            if not self._open[principal]:
                del self._open[principal]

    def close(self) -> None:
        """End every stream: its client opens another one, on a server that stays."""
        for queue in self._queues:
            _end(queue)

    def _changed(self, data: dict[str, Any]) -> None:
        frame = event(orjson.dumps({"jsonrpc": "2.0", **data}))
        for queue in self._queues:
            try:
                queue.put_nowait(frame)
            except asyncio.QueueFull:
                _end(queue)

    def _ended(self, _: dict[str, Any]) -> None:
        """Some session is over; the sessions heard it first, and know which."""
        for queue, session in self._queues.items():
            if self._sessions.ended(session):
                _end(queue)

    async def _until_gone(self, receive: Receive, queue: asyncio.Queue[bytes | None]) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        _end(queue)


def _end(queue: asyncio.Queue[bytes | None]) -> None:
    while queue.full():
        queue.get_nowait()
    queue.put_nowait(None)
