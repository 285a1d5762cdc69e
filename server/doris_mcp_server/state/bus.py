"""Events between workers: what one of them learns, all of them hear.

A publisher's own subscribers hear it at once; carriers bring it to the other workers of the host (the supervisor
passes it on) and to the other hosts (the store does). Nothing waits for that, and an event may be lost or come
twice: it is a hint, what must not be lost is in the store.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable
from typing import Any

SESSION_ENDED = "session.ended"  # id
SESSIONS_ENDED = "sessions.ended"  # principal; before: Unix time until which they began
KEYS_WRITTEN = "keys.written"  # nothing
SETTINGS_WRITTEN = "settings.written"  # version: its number
DENIED = "token.denied"  # until: {id: Unix time}
LISTENING = "store.listening"
"""Heard by this worker only: it hears other hosts. `missed`: for a while it did not, and has to look up what is new."""

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
            try:
                callback(data)
            except Exception:  # `data` may be another release's; whoever brought it has other things to bring
                logging.getLogger("doris_mcp").exception("event %s was not taken in", topic)

    def subscribe(self, topic: str, callback: Callback) -> Callable[[], None]:
        """Hear `topic` from now on; call what it gives to stop. `callback` must not block."""
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
