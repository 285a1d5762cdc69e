"""The frontends of a cluster: which to ask first, and which to leave alone because they do not answer.

Each has a circuit breaker: after OPEN_AFTER failures in a row it is left alone for a second, then longer, up to ten;
after that one caller may try it again, and any success closes it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, Protocol, TypeVar

from doris_mcp_server.errors import DorisRefusedLogin, DorisUnavailable
from doris_mcp_server.observe import event


class Opened(Protocol):
    """What a frontend gave us, and can be given up."""

    def abort(self) -> None: ...


T = TypeVar("T", bound=Opened)

OPEN_AFTER: Final = 3  # failures in a row
LONGEST_PAUSE: Final = 10.0  # seconds
LATER: Final = "Try again: Doris may be restarting."
STAGGER: Final = 0.4  # seconds one frontend may be silent before the next is asked as well


class Frontend:
    """One FE by its query port, and how it has been doing. Times are seconds of the loop's clock."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.failures = 0
        self.fault: DorisUnavailable | None = None
        self._left_alone_until = 0.0

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def open(self) -> bool:
        """Whether its circuit is open: nothing is sent there but a trial now and then."""
        return self.failures >= OPEN_AFTER

    def due(self, now: float) -> bool:
        return not self.open or now >= self._left_alone_until

    def try_now(self, now: float) -> None:
        """Somebody asks it: of an open one, the others keep away until the pause is over again."""
        if self.open:
            self._left_alone_until = now + self._pause

    def worked(self) -> None:
        if self.open:
            event("frontend answers again", frontend=str(self))
        self.failures, self.fault = 0, None

    def failed(self, fault: DorisUnavailable, now: float, times: int = 1) -> None:
        was_open = self.open
        self.failures += times
        self.fault = fault
        self._left_alone_until = now + self._pause
        if self.open and not was_open:
            event("frontend left alone", level=logging.WARNING, frontend=str(self), reason=fault.message)

    @property
    def _pause(self) -> float:
        return min(2.0 ** min(self.failures - OPEN_AFTER, 4), LONGEST_PAUSE)


class Frontends:
    """All frontends of one cluster, in the order in which they are to be asked."""

    def __init__(self, addresses: Iterable[tuple[str, int]]) -> None:
        self.all = tuple(Frontend(host, port) for host, port in addresses)
        self.failovers = 0
        self._ending: set[asyncio.Task[Any]] = set()  # the loop itself does not keep a task alive

    @property
    def preferred(self) -> Frontend:
        """The first whose circuit is closed; the first of all where none is."""
        return next((frontend for frontend in self.all if not frontend.open), self.all[0])

    async def first(
        self, connect: Callable[[Frontend], Awaitable[T]], timeout: float, avoid: Frontend | None = None
    ) -> T:
        """What `connect` makes with the first frontend that lets us in, within `timeout` seconds.

        They are asked in order. One that is silent for STAGGER seconds gets company, so a frontend that is gone without
        a word costs no more than that. `avoid` is asked last.

        Raises: DorisRefusedLogin as soon as one says so, DorisUnavailable with every frontend's reason.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        due = sorted((f for f in self.all if f.due(now)), key=lambda f: (f is avoid, f.open))
        if not due:
            raise self._nobody(self.all)
        running: dict[asyncio.Task[T], tuple[Frontend, float]] = {}
        waiting = list(due)
        try:
            async with asyncio.timeout(timeout):
                while waiting or running:
                    if waiting:
                        frontend = waiting.pop(0)
                        running[asyncio.create_task(self._ask(frontend, connect))] = frontend, loop.time()
                    patience = STAGGER if waiting else None
                    done, _ = await asyncio.wait(running, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        frontend, _ = running.pop(task)
                        if (made := self._outcome(task)) is not None:
                            self.failovers += frontend is not self.all[0]
                            self._silent(running.values(), STAGGER, STAGGER)
                            return made
        except TimeoutError:
            self._silent(running.values(), 0.0, timeout)
        finally:
            self._drop(running)
        raise self._nobody(due)

    @staticmethod
    def _silent(asked: Iterable[tuple[Frontend, float]], patience: float, told: float) -> None:
        """Count it as a failure where a frontend that was asked `patience` seconds ago has said nothing yet."""
        now = asyncio.get_running_loop().time()
        for frontend, since in asked:
            if now - since >= patience:
                words = f"Doris at {frontend} did not answer within {told:g} s"
                frontend.failed(DorisUnavailable(words, hint=LATER), now)

    async def _ask(self, frontend: Frontend, connect: Callable[[Frontend], Awaitable[T]]) -> T:
        loop = asyncio.get_running_loop()
        frontend.try_now(loop.time())
        try:
            made = await connect(frontend)
        except DorisUnavailable as error:
            frontend.failed(error, loop.time())
            raise
        except DorisRefusedLogin:
            frontend.worked()
            raise
        frontend.worked()
        return made

    @staticmethod
    def _outcome(task: asyncio.Task[T]) -> T | None:
        try:
            return task.result()
        except DorisUnavailable:
            return None

    def _drop(self, attempts: Iterable[asyncio.Task[T]]) -> None:
        """End those nobody needs any more. Awaits nothing: whoever is cancelled may be so once more meanwhile."""
        for attempt in attempts:
            attempt.cancel()
            self._ending.add(attempt)
            attempt.add_done_callback(self._give_up)

    def _give_up(self, attempt: asyncio.Task[T]) -> None:
        """Close what it has opened all the same."""
        self._ending.discard(attempt)
        if not attempt.cancelled() and attempt.exception() is None:
            attempt.result().abort()

    @staticmethod
    def _nobody(asked: Sequence[Frontend]) -> DorisUnavailable:
        faults = [frontend.fault for frontend in asked if frontend.fault is not None]
        reasons = "; ".join(fault.message for fault in faults) or "Doris was not asked: there was no time"
        return DorisUnavailable(reasons, hint=next((fault.hint for fault in faults), LATER))
