"""One channel of Redis, heard over a connection of its own: a hint that something is new.

What is published while nobody listens is lost, so who waits here looks by himself every few seconds too.
"""

import asyncio
from time import monotonic

import redis.asyncio as aioredis
from redis import exceptions as failed
from redis.asyncio.client import PubSub

_FRESH = 30.0  # seconds a connection is trusted: one to a primary that is cut off stays open, and silent


class Channel:
    def __init__(self, client: "aioredis.Redis", name: str) -> None:
        self._client = client
        self._name = name
        self._ears: PubSub | None = None
        self._since = 0.0
        self._closed = False

    async def wait(self, within: float) -> None:
        """Return at the next message, after `within` seconds at the latest. Without Redis it takes all of them."""
        end = monotonic() + within
        try:
            while not self._closed and (left := end - monotonic()) > 0:
                if await self._hear(left):
                    return
        except (failed.RedisError, OSError, TimeoutError):
            await self._hang_up()
        await asyncio.sleep(max(end - monotonic(), 0.0))

    async def aclose(self) -> None:
        """Hear nothing any more; `wait` only takes its time."""
        self._closed = True
        await self._hang_up()

    async def _hear(self, within: float) -> bool:
        """Whether there was a message. To have begun to listen counts as one: it may have come just before."""
        if self._ears is None or monotonic() - self._since > _FRESH:
            await self._hang_up()
            self._ears = self._client.pubsub(ignore_subscribe_messages=True)
            await self._ears.subscribe(self._name)
            self._since = monotonic()
            return True
        return await self._ears.get_message(timeout=within) is not None

    async def _hang_up(self) -> None:
        ears, self._ears = self._ears, None
        if ears is not None:
            await ears.aclose()  # type: ignore[no-untyped-call]
