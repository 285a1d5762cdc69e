"""A bounded set of connections to one Doris account, and the one way a statement is run.

Needs no database to be created, never hangs on a dead one and recovers by itself: where a connection ends before the
statement does, the statement is sent again once, to another frontend if there is one (everything sent is read-only,
and nothing of its answer has left this module). A statement that is left early, because of its deadline, a cancelled
caller or a full result, loses its connection and is killed over another one; the session's `query_timeout` is the
second net below that.
"""

import asyncio
import re
import weakref
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from doris_mcp_server.doris.driver import Driver, Login, choose
from doris_mcp_server.doris.frontends import LATER, Frontend, Frontends
from doris_mcp_server.doris.kills import Kills
from doris_mcp_server.doris.names import quote_name
from doris_mcp_server.doris.pins import UNKNOWN_VARIABLE, pin
from doris_mcp_server.doris.rows import Column, Rows
from doris_mcp_server.doris.wire import Answered, Lost, Wire, whole_seconds
from doris_mcp_server.errors import DorisError, DorisUnavailable, Overloaded, QueryFailed, QueryTimeout

__all__ = ["Column", "Limits", "Pool", "Room", "Route", "Rows"]

IDLE_SECONDS: Final = 300.0
PATIENCE: Final = 2 / 3
NARROWER: Final = "Narrow the statement (filter, aggregate, LIMIT) or ask for a larger timeout_s."
SHUTTING_DOWN: Final = 1053
DENIED: Final = frozenset({1044, 1142, 1143, 1227})
UNKNOWN_NAME: Final = frozenset({1049, 1051, 1054, 1109, 1146})
_UNKNOWN = re.compile(r"unknown (?:table|column|database|catalog)|(?:table|database|catalog)\b.* does not exist")
_PREFIX = re.compile(r"^errCode = \d+, detailMessage = ")


@dataclass(frozen=True)
class Route:
    """Where Doris is and as whom we come; `login.database` is the one in use when a caller names none."""

    frontends: Frontends
    login: Login = field(repr=False)
    driver: Driver = field(default_factory=choose)

    @property
    def database(self) -> str | None:
        return self.login.database


@dataclass(frozen=True)
class Limits:
    """What one statement may take: seconds, rows, and bytes of its rows."""

    timeout_s: float
    max_rows: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Place:
    """The catalog (None: the account's own default) and database (None: none chosen) unqualified names mean."""

    catalog: str | None
    database: str | None


class NotReady(DorisUnavailable):
    """This frontend does not take statements now; another one may."""


class Room:
    """How many connections all pools of a worker may have together; idle ones make room for what is needed."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.pools: weakref.WeakSet[Pool] = weakref.WeakSet()

    def make(self) -> None:
        """Before one more is opened. Overloaded when every one of `size` is busy."""
        while sum(pool.open for pool in self.pools) > self.size:
            if not any(pool.close_idle() for pool in self.pools):
                words = f"All {self.size} connections of this worker to Doris are busy"
                raise Overloaded(words, hint="Try again in a moment.")


class Pool:
    """At most `size` statements at once over at most `size` connections, plus short-lived ones for KILL."""

    def __init__(
        self,
        route: Route,
        *,
        size: int,
        connect_timeout: float = 1.5,
        acquire_timeout: float = 5.0,
        room: Room | None = None,
    ) -> None:
        self.route = route
        self.size = size
        self.in_use = 0
        self.retries = 0
        self.kills = Kills(
            replace(route.login, database=None), route.driver, 2 * connect_timeout, unreachable=self._drop_idle
        )
        self._connect_timeout = connect_timeout
        self._acquire_timeout = acquire_timeout
        self._room = room or Room(size)
        self._room.pools.add(self)
        self._slots = asyncio.Semaphore(size)
        self._idle: list[Wire] = []
        self._busy: set[Wire] = set()
        self._all_back = asyncio.Event()
        self._all_back.set()
        self._closing = False

    @property
    def open(self) -> int:
        """Connections: busy, being opened, or idle."""
        return self.in_use + len(self._idle)

    async def query(self, sql: str, *, catalog: str | None, database: str | None, limits: Limits) -> Rows:
        """Run one read-only statement in `catalog`.`database` within `limits`.

        Overloaded when no connection comes free in time, DorisUnavailable, DorisRefusedLogin, QueryTimeout after
        `limits.timeout_s` seconds, QueryFailed with Doris' own words.
        """
        if database is None and catalog is None:
            database = self.route.database
        place = Place(catalog, database)
        await self._take_slot()
        try:
            deadline = asyncio.get_running_loop().time() + limits.timeout_s
            wire = self._reuse(place)
            if wire is not None:
                try:
                    return await self._run(wire, place, sql, limits, deadline)
                except Lost as lost:
                    if not lost.broken:
                        raise
                    self._drop_idle(wire.frontend)  # what ended this connection most likely ended its neighbours
                    self.retries += 1
            wire = await self._open(place)
            try:
                return await self._run(wire, place, sql, limits, deadline)
            except (Lost, NotReady) as gone:
                if len(self.route.frontends.all) == 1 or (isinstance(gone, Lost) and not gone.broken):
                    raise  # sending it again to the same frontend could end that once more
                self.retries += 1
            wire = await self._open(place, avoid=wire.frontend)
            return await self._run(wire, place, sql, limits, deadline)
        finally:
            self._return_slot()

    async def connect(self, frontend: Frontend) -> Wire:
        """A connection to that very frontend, for looking how it does; the caller's to abort. Limits are its own, too.

        Raises: DorisUnavailable, DorisRefusedLogin.
        """
        return await Wire.open(frontend, self.route.login, self.route.driver)

    def abandon(self, frontend: Frontend) -> None:
        """This frontend hangs: drop the connections to it; their statements go on elsewhere, if there is elsewhere."""
        self._drop_idle(frontend)
        if any(not other.open for other in self.route.frontends.all if other is not frontend):
            for wire in tuple(self._busy):
                if wire.frontend is frontend:
                    wire.abort()

    def close_idle(self) -> bool:
        """Close the connection that has been idle longest; False where none is."""
        if not self._idle:
            return False
        self._idle.pop(0).abort()
        return True

    def unused(self) -> bool:
        """Close what has been idle too long; whether nothing is left that anybody would miss."""
        self._drop_old()
        return not (self.open or self.kills.under_way)

    async def close(self, timeout: float) -> None:
        """Take no more statements and drop everything within `timeout` seconds.

        Statements under way get the first part of it (PATIENCE) to end; those that do not are killed in the rest.
        """
        self._closing = True
        self._drop_idle()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        try:
            async with asyncio.timeout(timeout * PATIENCE):
                await self._all_back.wait()
        except TimeoutError:
            for wire in tuple(self._busy):
                wire.abort()
                self.kills.kill(wire)
        await self.kills.close(max(0.0, deadline - loop.time()))

    async def _run(self, wire: Wire, place: Place, sql: str, limits: Limits, deadline: float) -> Rows:
        loop = asyncio.get_running_loop()
        started = loop.time()
        self._busy.add(wire)
        running = keep = False
        try:
            async with asyncio.timeout_at(deadline):
                await self._prepare(wire, place, limits)
                running = True
                columns, rows, cut = await wire.run(sql, max_rows=limits.max_rows, max_bytes=limits.max_bytes)
            running = cut is not None
            keep = not running
            return Rows(columns, rows, cut is not None, cut, round((loop.time() - started) * 1000, 1))
        except TimeoutError:
            if wire.frontend.open:  # it hangs, and there was no other: the statement is not to blame
                raise DorisUnavailable(f"Doris at {wire.frontend} stopped answering", hint=LATER) from None
            raise QueryTimeout(f"The statement ran longer than {limits.timeout_s:g} s", hint=NARROWER) from None
        except Answered as answer:
            # A failed USE may have changed the catalog and not the database, so only the statement's own error
            # leaves the connection where we think it is.
            keep, running = running, False
            raise _explain(answer) from None
        except Lost:
            running = False
            raise
        finally:
            self._busy.discard(wire)
            if keep:
                self._park(wire)
            else:
                wire.abort()
                if running:
                    self.kills.kill(wire)

    async def _prepare(self, wire: Wire, place: Place, limits: Limits) -> None:
        """Bring the session to `place` and set its second net; sends nothing that already holds."""
        if step := _way(wire, place):
            await wire.command(step)
        wire.catalog, wire.database = place.catalog, place.database
        if place.database is not None:
            wire.catalogs_used.add(place.catalog)
        seconds = whole_seconds(limits.timeout_s) + 1
        if wire.query_timeout != seconds:
            try:
                await wire.command(f"SET query_timeout = {seconds}")
            except Answered as answer:
                if answer.code != UNKNOWN_VARIABLE:
                    raise
            wire.query_timeout = seconds

    def _reuse(self, place: Place) -> Wire | None:
        """An idle connection that is at `place`, else one that can get there, newest first.

        Only of the frontend that comes first now: when it is back, what went to another one goes there again.
        """
        self._drop_old()
        preferred = self.route.frontends.preferred
        ours = [wire for wire in reversed(self._idle) if wire.frontend is preferred]
        reachable = [wire for wire in ours if _way(wire, place) is not None]
        chosen = next((wire for wire in reachable if _way(wire, place) == ""), next(iter(reachable), None))
        if chosen is not None:
            self._idle.remove(chosen)
        return chosen

    async def _open(self, place: Place, avoid: Frontend | None = None) -> Wire:
        """A fresh connection from which `place` can be reached; an idle one nobody could use makes room for it."""
        while self.open > self.size and self.close_idle():
            pass
        self._room.make()
        login = replace(self.route.login, database=None) if place.catalog else self.route.login
        connect = partial(self._connect, login)
        return await self.route.frontends.first(connect, self._connect_timeout, avoid)

    async def _connect(self, login: Login, frontend: Frontend) -> Wire:
        """Open a session ready for statements."""
        wire = await Wire.open(frontend, login, self.route.driver)
        ready = False
        try:
            await pin(wire)
            ready = True
        finally:
            if not ready:
                wire.abort()
        return wire

    def _park(self, wire: Wire) -> None:
        if self._closing or not wire.usable:
            wire.abort()
            return
        wire.parked_at = asyncio.get_running_loop().time()
        self._idle.append(wire)

    def _drop_old(self) -> None:
        now = asyncio.get_running_loop().time()
        for wire in [w for w in self._idle if not w.usable or now - w.parked_at > IDLE_SECONDS]:
            self._idle.remove(wire)
            wire.abort()

    def _drop_idle(self, frontend: Frontend | None = None) -> None:
        """Close the idle connections to one frontend, or all of them."""
        kept = [wire for wire in self._idle if frontend not in (None, wire.frontend)]
        for wire in self._idle:
            if wire not in kept:
                wire.abort()
        self._idle = kept

    async def _take_slot(self) -> None:
        if self._closing:
            raise DorisUnavailable("The server is shutting down")
        try:
            async with asyncio.timeout(self._acquire_timeout if self._slots.locked() else None):
                await self._slots.acquire()
        except TimeoutError:
            words = f"All {self.size} connections to Doris are busy"
            raise Overloaded(words, hint="Try again in a moment.") from None
        self.in_use += 1
        self._all_back.clear()

    def _return_slot(self) -> None:
        self.in_use -= 1
        if not self.in_use:
            self._all_back.set()
        self._slots.release()


def _way(wire: Wire, place: Place) -> str | None:
    """The statement that takes a session to `place`: "" if it is there, None if only a new session can be there.

    A session cannot leave a database for none, and cannot go back to the account's default catalog, whose name
    nobody told us. SWITCH restores the database last used in that catalog, which may be the default one, hence
    `catalogs_used`.
    """
    if (wire.catalog, wire.database) == (place.catalog, place.database):
        return ""
    if place.catalog is not None:
        if place.database is not None:
            return f"USE {quote_name(place.catalog, place.database)}"
        used = place.catalog in wire.catalogs_used or None in wire.catalogs_used
        return None if used else f"SWITCH {quote_name(place.catalog)}"
    if wire.catalog is not None or place.database is None:
        return None
    return f"USE {quote_name(place.database)}"


def _explain(answer: Answered) -> DorisError:
    """Doris' own words as an error of ours. Most of its errors are 1105; what they are stands in the text."""
    words = _PREFIX.sub("", answer.text)
    text = words.lower()
    if answer.code == SHUTTING_DOWN or "catalog is not ready" in text:
        return NotReady(f"Doris is not ready: {words}", hint="Try again in a moment.")
    if "query is timeout" in text or "query timeout" in text:
        return QueryTimeout(f"Doris stopped the statement: {words}", hint=NARROWER)
    hint = None
    if answer.code in DENIED or "denied" in text:
        hint = "The account this server uses may not read that; ask for something else."
    elif answer.code in UNKNOWN_NAME or _UNKNOWN.search(text):
        hint = "Look the name up with list_databases, list_tables or get_table_context."
    return QueryFailed(f"Doris error {answer.code}: {words}", hint=hint)
