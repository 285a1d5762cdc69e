"""How many calls run at once: in all and for each caller; the rest wait in a queue, or are told to come back.

Counts the calls of one worker. Without contention a call costs two additions.
"""

import asyncio
from collections import Counter
from typing import Final

from doris_mcp_server.errors import Overloaded

LATER: Final = "Try again in a moment, with fewer calls at once."


class Admission:
    """Lets calls in. The queue is served in order, past those whose caller has enough running."""

    def __init__(self, *, total: int, each: int, queued: int, patience: float) -> None:
        self.running = 0
        self._total = total
        self._each = min(each, total)
        self._queued = queued
        self._patience = patience
        self._of: Counter[str] = Counter()
        self._queue: dict[asyncio.Future[None], str] = {}

    @property
    def waiting(self) -> int:
        return len(self._queue)

    async def enter(self, principal: str) -> None:
        """Return when the call may run; `leave` must follow. Overloaded when the queue is full or its turn is late."""
        if self.running < self._total and self._of[principal] < self._each:
            self.running += 1
            self._of[principal] += 1
            return
        if len(self._queue) >= self._queued:
            raise Overloaded(f"{self.running} calls run and {len(self._queue)} wait", hint=LATER)
        turn = asyncio.get_running_loop().create_future()
        self._queue[turn] = principal
        try:
            async with asyncio.timeout(self._patience):
                await turn
        except BaseException as error:
            if self._queue.pop(turn, None) is None:
                self.leave(principal)  # its turn had come all the same
            if not isinstance(error, TimeoutError):
                raise
            raise Overloaded(
                f"{self.running} calls run, and no turn came within {self._patience:g} s", hint=LATER
            ) from None

    def leave(self, principal: str) -> None:
        """The call is over: whoever may run now gets its turn."""
        self.running -= 1
        self._of[principal] -= 1
        if not self._of[principal]:
            del self._of[principal]
        for turn, who in self._queue.items():
            if turn.done():
                continue  # given up; its caller has yet to hear of it and to take it out
            if self.running < self._total and self._of[who] < self._each:
                del self._queue[turn]
                self.running += 1
                self._of[who] += 1
                turn.set_result(None)
                return
