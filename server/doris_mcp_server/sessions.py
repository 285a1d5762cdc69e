"""Sessions of the handshake era that live in no process: a signed id which any worker of any host can check.

The id carries when the session began and its protocol version, and is bound to the principal who began it. The store
holds only what a signature cannot tell: that a session was ended, and that one which is no longer young is in use.
Between `auth` and `protocol`: the caller is known, the request is not read yet.
"""

import asyncio
import json
import logging
import math
import secrets
import struct
from collections import OrderedDict
from collections.abc import Coroutine
from dataclasses import asdict, dataclass
from time import monotonic
from time import time as wall
from typing import Any, Literal, TypeVar

from doris_mcp_server.errors import StoreUnavailable
from doris_mcp_server.keys import KeyRing
from doris_mcp_server.observe import event
from doris_mcp_server.state import Store
from doris_mcp_server.state.bus import SESSION_ENDED, Bus

WARM = 2.0  # seconds a checked session is believed without asking again: bounds how long another host's end takes
ASK_LIMIT = 1.5  # seconds a request waits for the store's word; the token has authenticated the caller already
AWAY = 1.0  # seconds the store is left alone after it did not answer
SKEW = 60.0  # seconds the hosts' clocks may differ
LONGEST = 200  # characters of a session id; what we make has about 94
KEPT = 10_000  # sessions, and ends of sessions, a worker remembers: more ends than a host sees in WARM seconds
OWED = 1_000  # ends a worker keeps to write when the store is back
FIRST = 5.0  # seconds after which a session that is used again gets a record: most are over before
FAMILY = "session:v1"
ENDED = "ended"  # in the place of a record

_HEAD = struct.Struct(">d16s")  # when it began (Unix seconds), random id

T = TypeVar("T")
_Word = Literal["live", "ended", "away"] | None  # of the store


@dataclass(frozen=True, slots=True)
class Session:
    """A session that is good. `id` names it in the store and in logs; it is not the text the client holds."""

    id: str
    principal: str
    version: str
    began: float  # Unix time, seconds


@dataclass(slots=True)
class _Seen:
    """What this worker knows of a session; moments of the monotonic clock."""

    session: Session
    until: float  # believed till then
    used: float
    touched: float  # when the store was last told; the beginning counts, it is in the id
    recorded: bool = False


class Sessions:
    """The handshake-era sessions, as one worker sees them.

    A session ends `max_seconds` after it began, or when it is ended, or when nobody used it for `idle_seconds`: never
    earlier, and up to a tenth of it (at least 5 s) and WARM seconds later.
    """

    def __init__(
        self, ring: KeyRing, store: Store, bus: Bus, *, idle_seconds: float, max_seconds: float, node: str = ""
    ) -> None:
        self._ring = ring.derive("session:v1")
        self._store = store
        self._bus = bus
        self._node = node
        self._max = max_seconds
        self._interval = max(idle_seconds / 10, 5.0)
        self._record = idle_seconds + self._interval + WARM  # seconds a touch must last to cover the last use
        self._seen: OrderedDict[bytes, _Seen] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._owed: OrderedDict[str, None] = OrderedDict()
        self._asking: dict[str, asyncio.Task[_Word]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._away_until = -math.inf
        self._away = False
        bus.subscribe(SESSION_ENDED, lambda data: self._hear_end(data["id"]))

    def begin(self, principal: str, version: str) -> str:
        """A new session's id, for the `Mcp-Session-Id` header: visible ASCII, below LONGEST characters.

        Raises: ValueError when `version` is not a protocol version (ASCII, at most 32 characters).
        """
        if not version.isascii() or len(version) > 32:
            raise ValueError("a protocol version is at most 32 ASCII characters")
        nonce, began = secrets.token_bytes(16), wall()
        text = self._ring.seal(_HEAD.pack(began, nonce) + version.encode("ascii"), _bound(principal))
        self._remember(text.encode("ascii"), Session(nonce.hex(), principal, version, began))
        return text

    def warm(self, session_id: bytes, principal: str) -> Session | None:
        """The session, if this worker found it good within the last WARM seconds; None says nothing: ask `find`."""
        seen = self._seen.get(session_id)
        if seen is None or seen.until <= monotonic():
            return None
        session = seen.session
        return session if session.principal == principal and session.id not in self._ended else None

    async def find(self, session_id: bytes, principal: str) -> Session | None:
        """The session; None when it is not ours, another's, ended, too old or idle too long.

        A store that is away ends nothing: then the signature and what this worker knows decide.
        """
        if (warm := self.warm(session_id, principal)) is not None:
            return warm
        session = self._read(session_id, principal)
        if session is None or session.id in self._ended:
            return None
        state = await self._state(session.id)
        if state == "ended" or session.id in self._ended:  # perhaps while the store was asked
            return None
        if state is None and self._idle_ran_out(session_id, session):
            return None
        seen = self._remember(session_id, session)
        if state != "away" and monotonic() - seen.touched >= (self._interval if seen.recorded else FIRST):
            seen.touched, seen.recorded = monotonic(), True
            self._spawn(self._touch(seen))
        return seen.session

    async def end(self, session: Session) -> None:
        """End a session everywhere: on this host at once, on the others when they hear of it, or within WARM seconds.

        With the store away the end is written when it is back; until then other hosts do not know.
        """
        self._bus.publish(SESSION_ENDED, {"id": session.id})
        # A task of its own: a client that does not wait for the answer has ended its session all the same.
        await asyncio.wait({self._spawn(self._write_end(session.id))})

    async def close(self) -> None:
        """Wait for the writes under way. The caller bounds it, and closes the store afterwards."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    def _read(self, session_id: bytes, principal: str) -> Session | None:
        """All that needs no store: our signature, this principal, the absolute lifetime."""
        if len(session_id) > LONGEST or not session_id.isascii():
            return None
        payload = self._ring.open(session_id.decode("ascii"), _bound(principal))
        if payload is None:
            return None
        began, nonce = _HEAD.unpack_from(payload)
        if wall() - began >= self._max:
            return None
        return Session(nonce.hex(), principal, payload[_HEAD.size :].decode("ascii"), began)

    def _idle_ran_out(self, session_id: bytes, session: Session) -> bool:
        """Whether a session the store has no record of was unused for too long.

        A record can also be missing because the store was away or lost it: what this worker saw itself counts.
        """
        if wall() - max(session.began, self._store.since) <= self._record:
            return False
        seen = self._seen.get(session_id)
        return seen is None or monotonic() - seen.used > self._record

    def _remember(self, session_id: bytes, session: Session) -> _Seen:
        now = monotonic()
        age = max(wall() - session.began, 0.0)
        seen = self._seen.get(session_id)
        if seen is None:
            seen = self._seen[session_id] = _Seen(session, now, now, now - age)
            _shorten(self._seen, KEPT)
        self._seen.move_to_end(session_id)
        seen.used = now
        seen.until = now + min(WARM, self._max - age)
        return seen

    def _hear_end(self, id: str) -> None:
        self._ended[id] = None
        _shorten(self._ended, KEPT)

    async def _state(self, id: str) -> _Word:
        """What the store knows. Requests of one session that come together ask once."""
        if monotonic() < self._away_until:
            return "away"
        asking = self._asking.get(id)
        if asking is None:
            asking = self._asking[id] = self._spawn(self._ask(id))
            asking.add_done_callback(lambda _: self._asking.pop(id, None))
        return await asyncio.shield(asking)

    async def _ask(self, id: str) -> _Word:
        try:
            async with asyncio.timeout(ASK_LIMIT):
                text = await self._store.get(f"{FAMILY}/{id}")
        except (StoreUnavailable, TimeoutError) as error:
            self._is_away(error)
            return "away"
        self._is_back()
        return None if text is None else "ended" if text == ENDED else "live"

    async def _touch(self, seen: _Seen) -> None:
        record = asdict(seen.session) | {"used": wall(), "node": self._node}
        name = f"{FAMILY}/{record.pop('id')}"
        try:
            await self._store.put(name, json.dumps(record), self._record, unless=ENDED)
        except StoreUnavailable as error:
            seen.touched = -math.inf
            self._is_away(error)

    async def _write_end(self, id: str) -> None:
        # Once a session is older than `_record`, having no record refuses it: the end need not be kept for longer.
        try:
            await self._store.put(f"{FAMILY}/{id}", ENDED, min(self._record, self._max) + SKEW)
        except StoreUnavailable as error:
            self._owed[id] = None
            _shorten(self._owed, OWED)
            self._is_away(error)

    def _is_away(self, error: Exception) -> None:
        self._away_until = monotonic() + AWAY
        if not self._away:
            event("sessions: store away, signatures decide", level=logging.WARNING, reason=str(error) or "slow")
        self._away = True

    def _is_back(self) -> None:
        if self._away:
            event("sessions: store is back", owed=len(self._owed))
        self._away = False
        owed, self._owed = self._owed, OrderedDict()
        for id in owed:
            self._spawn(self._write_end(id))

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _bound(principal: str) -> bytes:
    return principal.encode("utf-8", "surrogatepass")  # a name out of JSON may hold half a surrogate pair


def _shorten(kept: OrderedDict[Any, Any], most: int) -> None:
    while len(kept) > most:
        kept.popitem(last=False)
