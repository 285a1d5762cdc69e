"""What all limits have in common: the store counts for all hosts; while it is away each worker counts for itself."""

import logging
import math
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from doris_mcp_server.config import Settings
from doris_mcp_server.observe import event
from doris_mcp_server.state import Store

if TYPE_CHECKING:
    from prometheus_client import Counter as Total
    from prometheus_client import Gauge

PATIENCE: Final = 0.5  # seconds a request waits for the store
AWAY: Final = 1.0  # seconds the store is left alone after it did not answer
TOLD: Final = 60.0  # seconds between two log lines about one limit


@dataclass(slots=True, eq=False)
class Counted:
    """What is counted: `name` in the store, for whom or what."""

    name: str
    of: str
    told: float = -math.inf


class Limiter(ABC):
    """The limits of one worker. `workers` says how many there are, `clock` counts seconds."""

    what: ClassVar[str]
    """What is limited, in the words of the log: `rate`."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        workers: Callable[[], int],
        tools: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.on = False
        """Whether anything is limited."""
        self._store = store
        self._workers = workers
        self._tools = tools
        self._clock = clock
        self._away = False
        self._ask_again = -math.inf
        self._refused: Counter[str] = Counter()
        self._begin()
        self.apply(settings)

    @abstractmethod
    def _begin(self) -> None:
        """Have nothing counted yet."""

    @abstractmethod
    def apply(self, settings: Settings) -> None:
        """Keep to the limits of these settings from now on."""

    def _look_for_tools(self, limits: Iterable[tuple[str, str]]) -> None:
        for kind, of in limits:
            if kind == "tool" and of and of not in self._tools:
                event("a limit on a tool that is none", level=logging.WARNING, tool=of)

    def _show(self, refused: "Total", fallback: "Gauge") -> None:
        while self._refused:
            kind, count = self._refused.popitem()
            refused.labels(kind).inc(count)
        fallback.set(self._away)

    def _refuse(self, counted: Counted, kind: str, **number: int) -> None:
        """Count it, and tell the log now and then."""
        self._refused[kind] += 1
        now = self._clock()
        if now - counted.told >= TOLD:
            counted.told = now
            event(f"{self.what} limit reached", limit=kind, of=counted.of, **number)

    def _due(self) -> bool:
        """Whether it is time to ask a store that is away."""
        return self._clock() >= self._ask_again

    def _asked(self) -> None:
        self._ask_again = self._clock() + AWAY

    def _lost(self, error: Exception) -> None:
        self._asked()
        if not self._away:
            event(
                f"{self.what} limits: store away, each worker keeps to its share",
                level=logging.WARNING,
                workers=self._workers(),
                reason=str(error) or "slow",
            )
        self._away = True

    def _found(self) -> None:
        if self._away:
            event(f"{self.what} limits: store is back")
        self._away = False
