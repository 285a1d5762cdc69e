"""How many calls run at once in the whole fleet: each takes a seat, of which a worker holds as many as it needs.

A worker that needed as many a moment ago has them and awaits nothing; else a call waits for one round trip. What is not
needed any more is given back within LINGER, or as soon as a call ends where few are left for others; what a dead worker
held is free after TERM. While the store is away each worker gives out its own share of every limit.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from doris_mcp_server.auth import limiter
from doris_mcp_server.auth.limiter import Counted, Limiter
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import Overloaded, StoreUnavailable
from doris_mcp_server.rates import Cap, spelt

if TYPE_CHECKING:
    from doris_mcp_server.observe import Instruments

FAMILY: Final = "seats:v1"
TERM: Final = 10.0  # seconds seats are held unless that is renewed
RENEW: Final = 1.0  # seconds after which it is, and how many are left is seen
LINGER: Final = 0.25  # seconds between looks at what is needed no more
FULL: Final = 0.1  # seconds the store is not asked for more where it had none
LATER: Final = 1.0  # seconds until one who was refused may try again: when a call ends nobody knows

_WORDS: Final = {
    "principal": "this caller may run {} calls at once",
    "tool": "{} calls of the tool {of} may run at once",
    "address": "{} calls from this address may run at once",
}


@dataclass(slots=True, eq=False)
class _Row(Counted):
    """The seats of one limit that this worker has. Moments are of its clock."""

    cap: Cap = field(kw_only=True)
    inside: int = 0  # calls that sit
    peak: int = 0  # most of them since the last look
    held: int = 0  # seats, by the store's word
    until: float = 0.0  # when these are lost
    renewed: float = 0.0
    scarce: bool = False  # few are left for others
    full: float = 0.0  # there are no more before this
    waiting: int = 0
    asking: asyncio.Task[None] | None = None


class Seats(Limiter):
    """The concurrency limits of one worker."""

    what = "concurrency"

    def _begin(self) -> None:
        self._holder = secrets.token_hex(8)
        self._caps: dict[tuple[str, str], Cap] = {}
        self._rows: dict[tuple[str, str], _Row] = {}
        self._used = asyncio.Event()

    def apply(self, settings: Settings) -> None:
        """Keep to the limits of these settings from now on. Calls that run go on."""
        caps = {(cap.kind, cap.of): cap for cap in settings.concurrency_limits}
        if caps == self._caps:
            return
        self._caps, self.on = caps, bool(caps)
        for key, row in self._rows.items():
            row.cap = self._cap(*key) or row.cap
        self._look_for_tools(self._caps)

    @contextlib.asynccontextmanager
    async def taken(self, *wanted: tuple[str, str]) -> AsyncIterator[None]:
        """Sit, by each of these (kind, of), while a call runs. Raises: Overloaded where there is no seat."""
        rows: list[_Row] = []
        try:
            for kind, of in wanted:
                if (row := self._row(kind, of)) is not None:
                    await self._sit(row)
                    rows.append(row)
            yield
        finally:
            for row in rows:
                self._leave(row)

    async def watch(self) -> None:
        """Renew what is needed and give back what is not, until cancelled."""
        while True:
            await self._used.wait()
            await asyncio.sleep(LINGER)
            await self.tidy()

    async def tidy(self) -> None:
        """One look at what is needed."""
        now = self._clock()
        for key, row in list(self._rows.items()):
            needed = row.inside if row.scarce else max(row.peak, row.inside)
            row.peak = row.inside
            if row.asking is not None or (self._away and not self._due()):
                continue
            # Also those who sit on a share of our own: the others are to know of them.
            if needed < row.held or (needed and now - row.renewed >= RENEW):
                row.held = min(row.held, needed)
                self._ask(row, needed)
            elif not (row.held or row.inside or row.waiting):
                del self._rows[key]
        if not self._rows:
            self._used.clear()
        await self._answers()

    async def close(self) -> None:
        """Give all seats back."""
        await self._answers()
        for row in self._rows.values():
            if row.held:
                row.held = 0
                self._ask(row, 0)
        await self._answers()

    async def _answers(self) -> None:
        """Return when the store has answered what it is being asked: the tasks are of the calls that wait, too."""
        if asking := [row.asking for row in self._rows.values() if row.asking is not None]:
            await asyncio.wait(asking)

    def show(self, to: "Instruments") -> None:
        """Bring the metrics up to date."""
        self._show(to.concurrency_limited, to.concurrency_limit_fallback)

    def _cap(self, kind: str, of: str) -> Cap | None:
        return self._caps.get((kind, of)) or self._caps.get((kind, ""))

    def _row(self, kind: str, of: str) -> _Row | None:
        cap = self._cap(kind, of)
        if cap is None:
            return None
        row = self._rows.get((kind, of))
        if row is None:
            row = self._rows[kind, of] = _Row(f"{FAMILY}/{spelt(kind, of)}", of, cap=cap)
            self._used.set()
        return row

    async def _sit(self, row: _Row) -> None:
        if self._seated(row):
            return
        row.waiting += 1
        try:
            for _ in range(2):  # what is being asked for already may be for others
                if self._clock() < row.full or (self._away and not self._due()):
                    break
                await asyncio.shield(row.asking or self._ask(row, row.inside + row.waiting))
                if self._seated(row):
                    return
        finally:
            row.waiting -= 1
        if not self._seated(row):
            raise self._over(row)

    def _seated(self, row: _Row) -> bool:
        """Whether there was a seat here, which is taken now."""
        seats = row.held if self._clock() < row.until else 0
        if self._away:
            seats = max(seats, row.cap.number // self._workers(), 1)
        if row.inside >= seats:
            return False
        row.inside += 1
        row.peak = max(row.peak, row.inside)
        return True

    def _leave(self, row: _Row) -> None:
        row.inside -= 1
        if row.scarce and row.asking is None and not self._away and row.inside + row.waiting < row.held:
            row.held = row.inside + row.waiting
            self._ask(row, row.held)

    def _ask(self, row: _Row, wanted: int) -> asyncio.Task[None]:
        task = row.asking = asyncio.create_task(self._hold(row, wanted))
        return task

    async def _hold(self, row: _Row, wanted: int) -> None:
        """Have so many seats, no fewer and no more, or as many as others leave."""
        asked = self._clock()
        self._asked()
        try:
            async with asyncio.timeout(limiter.PATIENCE):
                most = row.cap.number
                row.held, left = await self._store.hold(row.name, self._holder, wanted, most=most, ttl=TERM)
        except (StoreUnavailable, TimeoutError) as error:
            self._lost(error)
            return
        finally:
            row.asking = None
        self._found()
        row.until, row.renewed = asked + TERM, asked
        row.scarce = left < max(self._workers(), most // 4)
        if row.held < wanted:
            row.full = self._clock() + FULL

    def _over(self, row: _Row) -> Overloaded:
        self._refuse(row, row.cap.kind, number=row.cap.number)
        words = _WORDS[row.cap.kind].format(row.cap.number, of=row.of)
        return Overloaded(words, hint="Wait until one has ended.", retry_after=LATER)
