"""What was revoked, as one worker knows it: it only ever learns more.

A revocation is pushed to every worker, and looked for once a second besides. Where the store has lost one (a failover,
a FLUSHALL, a restored backup), the workers that know it put it back.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from doris_mcp_server.auth.opaque import REVOKED, Tokens
from doris_mcp_server.errors import StoreUnavailable
from doris_mcp_server.observe import event
from doris_mcp_server.state import Grown, Store
from doris_mcp_server.state.bus import DENIED, LISTENING, Bell, Bus

POLL = 1.0  # seconds between looks
_AT_ONCE = 1_000  # ids written in one go


class Denied:
    """The revoked ids. `drop` is told those that are new, as soon as they are known. `clock` counts seconds.

    `confirmed` is when this worker last knew that it knows them all.
    """

    def __init__(
        self,
        store: Store,
        bus: Bus,
        tokens: Tokens,
        drop: Callable[[Iterable[str]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.confirmed = -math.inf
        self._clock = clock
        self._store = store
        self._tokens = tokens
        self._drop = drop
        self._until: dict[str, float] = {}
        self._mark: str | None = None
        self._news = Bell(bus, LISTENING)
        bus.subscribe(DENIED, self._hear)

    def __contains__(self, id: str) -> bool:
        return id in self._until

    def __len__(self) -> int:
        return len(self._until)

    async def watch(self) -> None:
        """Look what was revoked, until cancelled."""
        while True:
            with contextlib.suppress(StoreUnavailable):  # the check of the store says so
                await self.look()
            await self._news.wait(POLL)

    async def look(self) -> None:
        """Learn what the store has, and teach it what it lost. Raises: StoreUnavailable."""
        asked = self._clock()
        grown = await self._store.grown(REVOKED, self._mark)
        if grown is not None:
            await self._take_in(grown)
        self.confirmed = asked

    async def _take_in(self, grown: Grown) -> None:
        self._learn(grown.until)
        now = time.time()
        self._until = {id: until for id, until in self._until.items() if until > now}
        lost = {id: until for id, until in self._until.items() if id not in grown.until}
        for some in _chunks(lost):
            event("revocations put back into the store", tokens=len(some))
            await self._store.grow(REVOKED, some, durable=True)
            for id in some:  # one after the other: at once, each would have a connection of its own
                await self._tokens.forget(id)
        self._mark = grown.mark  # only now: what could not be put back is lost still

    def _hear(self, data: dict[str, Any]) -> None:
        self._learn(data["until"])

    def _learn(self, until: Mapping[str, float]) -> None:
        new = [id for id in until if id not in self._until]
        self._until.update(until)
        if new:
            self._drop(new)


def _chunks(whole: Mapping[str, float]) -> Iterator[dict[str, float]]:
    rest = iter(whole.items())
    while some := dict(islice(rest, _AT_ONCE)):
        yield some
