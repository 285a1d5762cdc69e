"""Whether the store answers: what it counts for all hosts, each worker counts for itself while it does not."""

import logging
import math
from collections.abc import Callable
from typing import Final

from doris_mcp_server.observe import event

PATIENCE: Final = 0.5  # seconds a request waits for the store
AWAY: Final = 1.0  # seconds the store is left alone after it did not answer


class Reach:
    """`what` is limited, in words for the log; `workers` says how many share it then, `clock` counts seconds."""

    def __init__(self, what: str, workers: Callable[[], int], clock: Callable[[], float]) -> None:
        self.away = False
        self._what = what
        self._workers = workers
        self._clock = clock
        self._ask_again = -math.inf

    def due(self) -> bool:
        """Whether it is time to ask one that is away."""
        return self._clock() >= self._ask_again

    def asked(self) -> None:
        self._ask_again = self._clock() + AWAY

    def lost(self, error: Exception) -> None:
        self.asked()
        if not self.away:
            event(
                f"{self._what}: store away, each worker keeps to its share",
                level=logging.WARNING,
                workers=self._workers(),
                reason=str(error) or "slow",
            )
        self.away = True

    def found(self) -> None:
        if self.away:
            event(f"{self._what}: store is back")
        self.away = False
