"""How many calls run at once: in all and for each caller; the rest wait in a queue, or are told to come back.

Counts the calls of one worker. Without contention a call costs two look-ups.
"""

import asyncio
from typing import Final

from doris_mcp_server.errors import Overloaded

LATER: Final = "Try again in a moment, with fewer calls at once."


class Admission:
    """Lets calls in. The queue is served in order, past those whose caller has enough running."""

    def __init__(self, *, total: int, each: int, queued: int, patience: float) -> None:
        self.running = 0
        self._of: dict[str, int] = {}
        self._queue: dict[asyncio.Future[None], str] = {}
        self.limit(total=total, each=each, queued=queued, patience=patience)

    def limit(self, *, total: int, each: int, queued: int, patience: float) -> None:
        """Use these limits from now on. Calls that run, and those that wait already, are not turned away for it."""
        self._total = total
        self._each = min(each, total)
        self._queued = queued
        self._patience = patience
        while self._queue and self._let_in():
            pass

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def take(self, principal: str) -> bool:
        """Let the call in now; False, and nothing taken, where it has to `wait`. After either, `leave` must follow."""
        of_caller = self._of.get(principal, 0)
        if self.running >= self._total or of_caller >= self._each:
            return False
        self.running += 1
        self._of[principal] = of_caller + 1
        return True

    async def wait(self, principal: str) -> None:
        """Return when the call may run. Overloaded when the queue is full or its turn is late."""
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
            words = f"{self.running} calls run, and no turn came within {self._patience:g} s"
            raise Overloaded(words, hint=LATER) from None

    def leave(self, principal: str) -> None:
        """The call is over: whoever may run now gets its turn."""
        self.running -= 1
        of_caller = self._of[principal] - 1
        if of_caller:
            self._of[principal] = of_caller
        else:
            del self._of[principal]
        if self._queue:
            self._let_in()

    def _let_in(self) -> bool:
        """Give the first that may run its turn; False where none may."""
        for turn, principal in self._queue.items():
            # One that is done was given up; its caller has yet to hear of it and to take it out.
            if not turn.done() and self.take(principal):
                del self._queue[turn]
                turn.set_result(None)
                return True
        return False
