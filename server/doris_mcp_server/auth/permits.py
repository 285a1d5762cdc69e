"""Rate limits of the whole fleet: each request needs permits, which a worker takes from the store a few at a time.

Who comes often finds some here and awaits nothing; who comes now and then waits for one round trip. What a worker took
and did not use is lost after GOOD_FOR, so a limit is never exceeded, and one so small that a permit matters is taken
one by one. While the store is away each worker gives out its own share of every limit.
"""

import asyncio
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from doris_mcp_server.auth import limiter
from doris_mcp_server.auth.limiter import Counted, Limiter
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import Overloaded, StoreUnavailable
from doris_mcp_server.rates import Rate, spelt

if TYPE_CHECKING:
    from doris_mcp_server.observe import Instruments

FAMILY: Final = "permits:v1"
GOOD_FOR: Final = 2.0  # seconds a permit that was taken ahead may be used
AHEAD: Final = 0.5  # seconds' worth of a limit that a worker takes at once, at most
SHARE: Final = 6  # all workers together take ahead what a full bucket holds, divided by this, at most
KEPT: Final = 10_000  # buckets a worker remembers; the store knows them all

_WORDS: Final = {
    "principal": "this caller may send {} requests",
    "tool": "the tool {of} may be called {} times",
    "address": "this address may send {} requests",
    "failure": "this address may fail to show a valid token {} times",
}
_PERIODS: Final = {1: "second", 60: "minute", 3600: "hour", 86_400: "day"}


@dataclass(slots=True, eq=False)
class _Bucket(Counted):
    """What this worker has of one bucket of the fleet. Moments are of its clock."""

    rate: Rate = field(kw_only=True)
    held: int = 0  # permits taken ahead
    until: float = 0.0  # when these are lost
    batch: int = 1  # permits to take next
    empty: float = 0.0  # there is none before this
    waiting: int = 0
    asking: asyncio.Task[None] | None = None
    level: float = math.inf  # of its own share, while the store is away
    at: float = 0.0


class Permits(Limiter):
    """The rate limits of one worker."""

    what = "rate"

    def _begin(self) -> None:
        self._rates: dict[tuple[str, str], Rate] = {}
        self._buckets: dict[tuple[str, str], _Bucket | None] = {}

    def apply(self, settings: Settings) -> None:
        """Keep to the limits of these settings from now on. What was spent stays spent."""
        rates = {(rate.kind, rate.of): rate for rate in settings.rate_limits}
        if rates == self._rates:
            return
        self._rates, self.on = rates, bool(rates)
        self._buckets.clear()
        self._look_for_tools(rates)

    async def spend(self, kind: str, of: str) -> None:
        """Take one permit. Raises: Overloaded with the time to wait where there is none."""
        bucket = self._bucket(kind, of)
        if bucket is None:
            return
        if bucket.held and self._clock() < bucket.until:
            bucket.held -= 1
            if bucket.held < bucket.batch // 2 and bucket.asking is None and not self._away:
                self._fill(bucket)
            return
        if wait := await self._ask(bucket):
            raise self._over(bucket, wait)

    def check(self, kind: str, of: str) -> None:
        """Take none. Raises: Overloaded while this worker knows that there is none."""
        bucket = self._bucket(kind, of)
        if bucket is not None and (wait := bucket.empty - self._clock()) > 0:
            raise self._over(bucket, wait)

    def show(self, to: "Instruments") -> None:
        """Bring the metrics up to date."""
        self._show(to.rate_limited, to.rate_limit_fallback)

    def _bucket(self, kind: str, of: str) -> _Bucket | None:
        try:
            return self._buckets[kind, of]
        except KeyError:
            pass
        if len(self._buckets) >= KEPT:
            self._buckets.clear()
        rate = self._rates.get((kind, of)) or self._rates.get((kind, ""))
        bucket = None if rate is None else _Bucket(f"{FAMILY}/{spelt(kind, of)}", of, rate=rate)
        self._buckets[kind, of] = bucket
        return bucket

    async def _ask(self, bucket: _Bucket) -> float:
        """Take one, from the store where none is here: 0, or the seconds until there is one."""
        bucket.waiting += 1
        try:
            while True:
                now = self._clock()
                if bucket.held and now < bucket.until:
                    bucket.held -= 1
                    return 0.0
                if now < bucket.empty:
                    return bucket.empty - now
                if self._away:
                    return self._own_share(bucket, now)
                await asyncio.shield(bucket.asking or self._fill(bucket))
        finally:
            bucket.waiting -= 1

    def _fill(self, bucket: _Bucket) -> asyncio.Task[None]:
        task = bucket.asking = asyncio.create_task(self._take(bucket))
        return task

    async def _take(self, bucket: _Bucket) -> None:
        """Take permits from the store: more each time while they are used up before they are lost, fewer when not."""
        rate = bucket.rate
        most = min(int(rate.per_second * AHEAD), rate.burst // (SHARE * self._workers()))
        busy = self._clock() < bucket.until
        bucket.batch = max(min(bucket.batch * 2 if busy else bucket.batch // 2, most), 1)
        wanted = max(bucket.batch, bucket.waiting)
        try:
            async with asyncio.timeout(limiter.PATIENCE):
                given, wait = await self._store.spend(bucket.name, wanted, rate=rate.per_second, burst=rate.burst)
        except (StoreUnavailable, TimeoutError) as error:
            self._lost(error)
            return
        finally:
            bucket.asking = None
        self._found()
        now = self._clock()
        if given:
            bucket.held = given + (bucket.held if now < bucket.until else 0)
            bucket.until = now + GOOD_FOR
        else:
            bucket.empty = now + max(wait, 0.001)
        if given < wanted:
            bucket.batch = 1  # there are few left: let others have some

    def _own_share(self, bucket: _Bucket, now: float) -> float:
        """Take one of this worker's share of the limit: 0, or the seconds until there is one."""
        if self._due() and bucket.asking is None:
            self._asked()
            self._fill(bucket)  # whether the store is back; nobody waits for that
        workers = self._workers()
        rate = bucket.rate.per_second / workers
        bucket.level = min(bucket.level + (now - bucket.at) * rate, max(bucket.rate.burst / workers, 1.0))
        bucket.at = now
        if bucket.level < 1:
            return (1 - bucket.level) / rate
        bucket.level -= 1
        return 0.0

    def _over(self, bucket: _Bucket, wait: float) -> Overloaded:
        rate = bucket.rate
        self._refuse(bucket, rate.kind, number=rate.number, seconds=rate.period)
        words = _WORDS[rate.kind].format(rate.number, of=bucket.of)
        return Overloaded(f"{words} a {_PERIODS[rate.period]}", hint="Wait before the next one.", retry_after=wait)
