"""Results kept for a short while, so that the same question of the same caller need not go to Doris again.

Off unless the operator says for how long. Keyed by the caller: nobody is answered with what another account may see.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import NamedTuple

Clock = Callable[[], float]


class Kept(NamedTuple):
    """A result as JSON, and when Doris gave it (seconds of the cache's clock)."""

    text: bytes
    since: float


class ResultCache:
    """At most `max_bytes` of results, none older than `seconds`; what was not asked for longest goes first."""

    def __init__(self, *, seconds: float, max_bytes: int, clock: Clock = time.monotonic) -> None:
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._clock = clock
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable) -> tuple[bytes, float] | None:
        """A result and its age in seconds, or None."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        age = self._clock() - kept.since
        if age >= self._seconds:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return kept.text, age

    def put(self, key: Hashable, text: bytes) -> None:
        """Keep a result, unless it alone is too large."""
        self._drop(key)
        if len(text) > self._max_bytes:
            return
        self._kept[key] = Kept(text, self._clock())
        self._bytes += len(text)
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Hashable) -> None:
        if (kept := self._kept.pop(key, None)) is not None:
            self._bytes -= len(kept.text)
