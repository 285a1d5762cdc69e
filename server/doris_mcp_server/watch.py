"""Who is silent: workers whose event loop stands still, told from a machine that stood still."""

import time
from collections.abc import Iterable

from doris_mcp_server.child import Child

TICK = 0.5  # seconds between looks


class Watch:
    def __init__(self) -> None:
        self._last = time.monotonic()

    def look(self, children: Iterable[Child]) -> list[Child]:
        """Those that have been silent for too long."""
        children = list(children)
        now = time.monotonic()
        late = now - self._last - TICK
        self._last = now
        if late > TICK:
            # This process did not run itself (a suspended machine, a stopped process): what the workers said
            # meanwhile is unread, and if they stood still too, it was not their fault.
            for child in children:
                child.heard += late
        return [child for child in children if child.silent()]


def turning(children: Iterable[Child]) -> bool:
    """Whether the event loops of all that listen turn, and there are some: what systemd's watchdog is told."""
    listening = [child for child in children if child.started.is_set()]
    return bool(listening) and all(child.ticks() for child in listening)
