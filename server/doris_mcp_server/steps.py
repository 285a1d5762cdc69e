"""The steps of a shutdown: one after the other, each within its own limit and all within one, whatever they do."""

import asyncio
import logging
import time
from collections.abc import Awaitable
from typing import Final

from doris_mcp_server.observe import Metrics, event

LEAST: Final = 0.1  # seconds that even a step gets for which no time is left
CLEAN: Final = "ok"
CUT: Final = "cut"


class Steps:
    """Runs them, logs and counts each: step, result, time.

    Results: `ok`; `cut`, when the step itself says that it ended something early; `late`, when it was given up at its
    limit; `failed`, when it raised.
    """

    def __init__(self, limit: float, metrics: Metrics) -> None:
        self.clean = True  # whether every step was ok so far
        self._limit = limit
        self._ends: float | None = None
        self._metrics = metrics

    @property
    def left(self) -> float:
        """Seconds until all of them must be over; the whole limit before the first."""
        return self._limit if self._ends is None else max(0.0, self._ends - time.monotonic())

    async def run(self, name: str, work: Awaitable[str | None], limit: float) -> None:
        """Await `work` for at most `limit` seconds, less when all of them together have less left. Never raises.

        The time of all begins with the first.
        """
        began = time.monotonic()
        if self._ends is None:
            self._ends = began + self._limit
        result = await _result(name, work, min(limit, max(self._ends - began, LEAST)))
        seconds = time.monotonic() - began
        self.clean = self.clean and result == CLEAN
        self._metrics.shutdown_step(name, result, seconds)
        level = logging.INFO if result == CLEAN else logging.WARNING
        event("shutdown step", level=level, step=name, result=result, ms=round(seconds * 1e3, 1))


async def _result(name: str, work: Awaitable[str | None], limit: float) -> str:
    # In a task of its own: it is left behind when it does not even hear that it is cancelled.
    task = asyncio.ensure_future(work)
    try:
        _, late = await asyncio.wait([task], timeout=limit)
        if late:
            task.cancel()
            await asyncio.wait([task], timeout=LEAST)
            return "late"
    except asyncio.CancelledError:
        task.cancel()
        raise
    if task.cancelled():
        return "failed"
    if error := task.exception():
        logging.getLogger("doris_mcp").error("shutdown step %s failed", name, exc_info=error)
        return "failed"
    return task.result() or CLEAN
