"""What hosts tell each other, over one channel of Redis: a hint that something is new, never the thing itself.

What is published while nobody listens is lost, so whoever hears of things here also looks by himself every few seconds,
and at once when LISTENING is heard. A connection to a primary that is cut off stays open, and silent: this one asks for
a sign of life each second, and goes where the primary is when that moves.
"""

import asyncio
import json
import logging
from typing import Any

from redis import exceptions as failed
from redis.asyncio.client import PubSub

from doris_mcp_server.observe import event
from doris_mcp_server.state.bus import LISTENING, Bus
from doris_mcp_server.state.primary import Primary

_BEAT = 1.0  # seconds between signs of life
_SILENT = 3  # of them missed, and the connection is given up
_PAUSE = 0.5  # seconds until the next attempt
_BACKLOG = 1_000  # events that wait to be sent while Redis is slow; more are dropped
_SEND_LIMIT = 1.0  # seconds


class Channel:
    def __init__(self, primary: Primary, name: str, bus: Bus) -> None:
        self._primary = primary
        self._name = name
        self._bus = bus
        self._waiting: asyncio.Queue[str] = asyncio.Queue(_BACKLOG)
        self._sending: asyncio.Task[None] | None = None
        bus.carriers.append(self._carry)

    async def listen(self) -> None:
        """Give the bus what other hosts publish, until cancelled."""
        deaf = False
        while True:
            try:
                await self._hear()
                deaf = False
            except (failed.RedisError, OSError, TimeoutError) as error:
                if not deaf:
                    event("other hosts not heard", level=logging.WARNING, reason=str(error) or "no answer in time")
                deaf = True
            await asyncio.sleep(_PAUSE)

    async def close(self) -> None:
        """Send what waits, for as long as Redis takes it, a second at most."""
        if self._sending is not None:
            await asyncio.wait([self._sending], timeout=_SEND_LIMIT)
            self._sending.cancel()

    async def _hear(self) -> None:
        """Listen until the primary moves. Raises when the connection breaks or goes silent."""
        moved = self._primary.moved
        ears: PubSub = self._primary.client.pubsub()
        try:
            await ears.subscribe(self._name)
            silent = 0
            while self._primary.moved == moved:
                message = await ears.get_message(timeout=_BEAT)
                if message is None:
                    silent += 1
                    if silent > _SILENT:
                        raise failed.TimeoutError("the primary went silent")
                    await ears.ping()
                    continue
                silent = 0
                if message["type"] == "subscribe":
                    self._bus.deliver(LISTENING, {})
                elif message["type"] == "message":
                    self._take(message["data"])
        finally:
            await ears.aclose()  # type: ignore[no-untyped-call]

    def _take(self, text: str) -> None:
        try:
            message = json.loads(text)
            origin, topic, data = message["origin"], message["topic"], message["data"]
        except (ValueError, TypeError, KeyError):
            event("an event of another host cannot be read", level=logging.WARNING)
            return
        if origin != self._bus.origin:
            self._bus.deliver(topic, data)

    def _carry(self, topic: str, data: dict[str, Any]) -> None:
        if self._waiting.full():
            return
        self._waiting.put_nowait(json.dumps({"origin": self._bus.origin, "topic": topic, "data": data}))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())

    async def _send(self) -> None:
        while not self._waiting.empty():
            text = self._waiting.get_nowait()
            try:
                async with asyncio.timeout(_SEND_LIMIT):
                    await self._primary.client.publish(self._name, text)
            except (failed.RedisError, OSError, TimeoutError):
                continue  # a hint that is late is worth nothing
