"""What hosts tell each other, over one channel of Redis: a hint that something is new, never the thing itself.

What is published while nobody listens is lost, so whoever hears of things here also looks by himself every few seconds,
and at once when LISTENING is heard. A connection to a primary that is cut off stays open, and silent: this one asks for
a sign of life each second, and goes where the primary is when that moves.
"""

import asyncio
import json
import logging
from collections import deque
from time import monotonic
from typing import Any

from redis import exceptions as failed
from redis.asyncio.client import PubSub

from doris_mcp_server.observe import event
from doris_mcp_server.state.bus import LISTENING, Bus
from doris_mcp_server.state.primary import Primary

_BEAT = 1.0  # seconds between signs of life
_SILENT = 3  # of them missed, and the connection is given up
_PAUSE = 0.5  # seconds until the next attempt to listen
_BACKLOG = 1_000  # events that wait to be sent while Redis is slow; more are dropped
_SEND_LIMIT = 1.0  # seconds one attempt may take
_RETRY = 0.1  # seconds until the next one
_FRESH = 5.0  # seconds an event is worth sending: who could not be reached for longer looks for himself


class Channel:
    def __init__(self, primary: Primary, name: str, bus: Bus) -> None:
        self._primary = primary
        self._name = name
        self._bus = bus
        self._waiting: deque[tuple[float, str]] = deque()  # when it was published
        self._dropping = False
        self._sending: asyncio.Task[None] | None = None
        self._deaf = False
        self._missed = False  # whether there was a time in which other hosts were not heard
        bus.carriers.append(self._carry)

    async def listen(self) -> None:
        """Give the bus what other hosts publish, until cancelled."""
        while True:
            try:
                await self._hear()
            except (failed.RedisError, OSError, TimeoutError) as error:
                # A connection that ends at the same moment makes redis-py lose the word that this task is to end.
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise asyncio.CancelledError from error
                if not self._deaf:
                    event("other hosts not heard", level=logging.WARNING, reason=str(error) or "no answer in time")
                self._deaf = True
            self._missed = True
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
                message = await self._primary.attempt(lambda: ears.get_message(timeout=_BEAT))
                if message is None:
                    silent += 1
                    if silent > _SILENT:
                        raise failed.TimeoutError("the primary went silent")
                    await ears.ping()
                    continue
                silent = 0
                if message["type"] == "subscribe":
                    if self._deaf:
                        event("other hosts heard again")
                    self._deaf = False
                    self._bus.deliver(LISTENING, {"missed": self._missed})
                elif message["type"] == "message":
                    self._take(message["data"])
                    await asyncio.sleep(0)  # what has been received already is read without a pause
        finally:
            await ears.aclose()  # type: ignore[no-untyped-call]

    def _take(self, text: str) -> None:
        try:
            message = json.loads(text)
            origin, topic, data = message["origin"], str(message["topic"]), dict(message["data"])
        except (ValueError, TypeError, KeyError):
            event("an event of another host cannot be read", level=logging.WARNING)
            return
        if origin != self._bus.origin:
            self._bus.deliver(topic, data)

    def _carry(self, topic: str, data: dict[str, Any]) -> None:
        if len(self._waiting) >= _BACKLOG:
            if not self._dropping:
                event("events for other hosts dropped: too many at once", level=logging.WARNING, topic=topic)
            self._dropping = True
            return
        text = json.dumps({"origin": self._bus.origin, "topic": topic, "data": data})
        self._waiting.append((monotonic(), text))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())

    async def _send(self) -> None:
        """Send what waits, in order. One that did not get through is sent again: who hears it twice loses nothing."""
        while self._waiting:
            published, text = self._waiting[0]
            if monotonic() - published < _FRESH and not await self._sent(text):
                await asyncio.sleep(_RETRY)
                continue
            self._waiting.popleft()
        self._dropping = False

    async def _sent(self, text: str) -> bool:
        try:
            async with asyncio.timeout(_SEND_LIMIT):
                await self._primary.attempt(lambda: self._primary.client.publish(self._name, text))
        except (failed.RedisError, OSError, TimeoutError):
            return False
        return True
