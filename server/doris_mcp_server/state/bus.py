"""Events between workers: what one of them learns, all of them hear.

A publisher's own subscribers hear it at once; `forward` carries it to the other workers of the host (the
supervisor passes it on). Delivery is at most once and never waits: an event is a hint, what must not be lost is in
the store.
"""

from collections.abc import Callable
from typing import Any

SESSION_TOUCHED = "session.touched"  # id, ttl (seconds)
SESSION_ENDED = "session.ended"  # id, ttl (seconds)
KEYS_WRITTEN = "keys.written"  # text of the key ring

Callback = Callable[[dict[str, Any]], None]


class Bus:
    def __init__(self) -> None:
        self._subscribers: dict[str, list[Callback]] = {}
        self.forward: Callable[[str, dict[str, Any]], None] | None = None

    def publish(self, topic: str, data: dict[str, Any]) -> None:
        """Tell everybody. `data` must be JSON."""
        self.deliver(topic, data)
        if self.forward is not None:
            self.forward(topic, data)

    def deliver(self, topic: str, data: dict[str, Any]) -> None:
        """Tell the subscribers of this worker: for an event that came from another one."""
        for callback in tuple(self._subscribers.get(topic, ())):
            callback(data)

    def subscribe(self, topic: str, callback: Callback) -> Callable[[], None]:
        """Hear `topic` from now on; call what it gives to stop. `callback` must neither block nor raise."""
        self._subscribers.setdefault(topic, []).append(callback)
        return lambda: self._subscribers[topic].remove(callback)
