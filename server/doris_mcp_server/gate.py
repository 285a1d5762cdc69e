"""The drain gate of one worker: who is let in, how many are in flight, how many streams are open. A leaf."""

import asyncio
import contextlib
from collections.abc import Iterator

from doris_mcp_server.answers import Answers


class Gate:
    """Counts requests in flight and, while draining, lets none in.

    A stream lasts as long as its client likes: it is counted apart, and no drain waits for its end.
    """

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self.inflight = 0
        self.served = 0  # requests let in since this worker began
        self.streams = 0
        self._draining = False
        self._retiring = False
        self._changed = asyncio.Event()
        self._waited_for = False

    @property
    def draining(self) -> bool:
        return self._draining

    @draining.setter
    def draining(self, yes: bool) -> None:
        self._draining = yes
        self._answers.closing = yes or self._retiring  # whoever is answered now is asked to leave the connection, too

    def retire(self) -> None:
        """Ask everybody to leave and turn nobody away: another worker of this host serves the same address."""
        self._retiring = True
        self._answers.closing = True

    def enter(self) -> None:
        self.inflight += 1
        self.served += 1

    def leave(self) -> None:
        self.inflight -= 1
        if self._waited_for:
            self._changed.set()

    @contextlib.contextmanager
    def streaming(self) -> Iterator[None]:
        """A request that was let in is a stream from now on."""
        self.streams += 1
        self.leave()
        try:
            yield
        finally:
            self.inflight += 1
            self.streams -= 1

    async def idle(self) -> None:
        """Wait until nothing is in flight."""
        self._waited_for = True
        while self.inflight:
            self._changed.clear()
            await self._changed.wait()

    async def still(self) -> None:
        """Wait until no stream is open either."""
        self._waited_for = True
        while self.inflight or self.streams:
            self._changed.clear()
            await self._changed.wait()
