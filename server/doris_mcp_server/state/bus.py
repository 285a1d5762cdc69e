"""Events between workers: what one of them learns, all of them hear.

A publisher's own subscribers hear it at once; carriers bring it to the other workers of the host (the supervisor
passes it on) and to the other hosts (the store does). Delivery is at most once and never waits: an event is a hint,
what must not be lost is in the store.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from typing import Any

SESSION_ENDED = "session.ended"  # id
KEYS_WRITTEN = "keys.written"  # nothing
DENIED = "token.denied"  # until: {id: Unix time}
LISTENING = "store.listening"
"""Heard by this worker only: it hears other hosts (again). What they said before, it has to look up."""

Callback = Callable[[dict[str, Any]], None]
Carrier = Callable[[str, dict[str, Any]], None]


class Bus:
    """`origin` names the host, so that what it published does not come back to it."""

    def __init__(self, origin: str = "") -> None:
        self.origin = origin or secrets.token_hex(8)
        self.carriers: list[Carrier] = []
        self._subscribers: dict[str, list[Callback]] = {}

    def publish(self, topic: str, data: dict[str, Any]) -> None:
        """Tell everybody. `data` must be JSON."""
        self.deliver(topic, data)
        for carry in self.carriers:
            carry(topic, data)

    def deliver(self, topic: str, data: dict[str, Any]) -> None:
        """Tell the subscribers of this worker: for an event that came from another one."""
        for callback in tuple(self._subscribers.get(topic, ())):
            callback(data)

    def subscribe(self, topic: str, callback: Callback) -> Callable[[], None]:
        """Hear `topic` from now on; call what it gives to stop. `callback` must neither block nor raise."""
        self._subscribers.setdefault(topic, []).append(callback)
        return lambda: self._subscribers[topic].remove(callback)


class Bell:
    """Rings when one of the topics is heard: for who looks by himself every few seconds, and wants to know sooner."""

    def __init__(self, bus: Bus, *topics: str) -> None:
        self._rung = asyncio.Event()
        for topic in topics:
            bus.subscribe(topic, lambda _: self._rung.set())

    async def wait(self, within: float) -> None:
        """Return when it rings, or has since the last time; after `within` seconds at the latest."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._rung.wait()
        self._rung.clear()
