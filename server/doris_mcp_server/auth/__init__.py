"""Who is calling: bearer token → Principal, or nobody (401, see challenge), or 503 when the store is away.

A token this worker has verified is known by a hash of it, for two seconds without asking anybody; a revocation ends
that at once. Signed ones (JWT) need the store only to say what was revoked. Nobody is let in by a worker that has not
heard of revocations for longer than the grace, be it because the store is away or because what answers is cut off.
"""

import asyncio
import contextlib
import hashlib
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from doris_mcp_server.auth.denied import Denied
from doris_mcp_server.auth.opaque import Token, Tokens, token_id
from doris_mcp_server.auth.signed import Signed, is_signed
from doris_mcp_server.clusters import Bound, Caller
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import StoreUnavailable
from doris_mcp_server.state import Store
from doris_mcp_server.state.bus import Bus

POSITIVE_CACHE = 2.0  # seconds a verified token is believed without asking the store
GRACE = 15.0  # seconds a verified token stays good after the store last said what is revoked
PATIENCE = 0.5  # seconds the holder of such a token waits for a store that does not answer
USE_KEPT = 60.0  # seconds between two notes in the store that a token is used
MAX_KNOWN = 10_000  # verified tokens a worker remembers
_SCHEMES = (b"Bearer ", b"bearer ")
ALL_SCOPES = ("catalog:read", "cluster:read", "query:execute")
SMOKE = "smoke"
RESERVED = frozenset({"static", SMOKE, "local"})  # principals that the settings make


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified caller. `bound` is the Doris account of his token, None: clusters say which is his."""

    name: str
    scopes: frozenset[str]
    bound: Bound | None = None
    caller: Caller = field(init=False, compare=False)
    """Who that is to Doris."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "caller", Caller(self.name, self.bound))


LOCAL = Principal("local", frozenset(ALL_SCOPES))
"""The caller when no token is configured: only possible on loopback and stdio."""


class _Known(NamedTuple):
    """A token this worker has verified. Times are seconds of its clock."""

    until: float  # believed so long without asking the store
    principal: Principal
    expires: float
    id: str | None


class Verifier:
    """Checks bearer tokens for one worker. `clock` counts seconds and never goes back."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        bus: Bus,
        clock: Callable[[], float] = time.monotonic,
        signed: Signed | None = None,
    ) -> None:
        self.tokens = Tokens(store, bus, settings.token_key)
        self.denied = Denied(store, bus, self.tokens, self._drop, clock)
        self._signed = signed
        self._clock = clock
        self._node = settings.node_name
        self._issued = bool(settings.token_key)
        self._resource = _canonical(settings.public_url) if settings.public_url else None
        self._static = {
            _digest(token.encode()): _Known(math.inf, Principal(name, frozenset(ALL_SCOPES)), math.inf, None)
            for token, name in ((settings.token, "static"), (settings.smoke_token, SMOKE))
            if token
        }
        # Looked up by digest, and a dict compares 64 bits of a randomly keyed hash of it before it compares bytes: the
        # time that takes depends on nothing a guesser can choose, so it does not tell how far a guess was right.
        self._known = dict(self._static)
        self._of_id: dict[str, set[bytes]] = {}  # digests of what is known
        self._digests: dict[bytes, bytes] = {}  # of good Authorization headers, which callers send again and again
        self._asking: dict[bytes, asyncio.Task[Principal | None]] = {}
        self._used: dict[str, float] = {}  # when the store was last told that a token is used
        self._notes: set[asyncio.Task[None]] = set()
        self.required = bool(
            settings.token or settings.redis_url or settings.token_key or settings.issuers or settings.beyond_loopback
        )

    def warm(self, authorization: bytes) -> Principal | None:
        """The caller behind the value of the one Authorization header, if that is known without asking anybody.

        None says nothing about the token: `verify` does. About a microsecond, awaits nothing.
        """
        if not authorization.startswith(_SCHEMES):
            return None
        digest = self._digests.get(authorization)
        if digest is None:
            digest = _digest(authorization[7:])
            if digest not in self._known:
                return None
            if len(self._digests) >= MAX_KNOWN:
                self._digests.clear()
            self._digests[authorization] = digest
        known = self._known.get(digest)
        return known.principal if known is not None and self._clock() < known.until else None

    def static(self, token: str) -> Principal | None:
        """The principal of a token given in the settings, without asking the store."""
        known = self._static.get(_digest(token.encode()))
        return None if known is None else known.principal

    async def verify(self, token: str) -> Principal | None:
        """The caller behind `token`, or None when it is not (or no longer) valid, or meant for another resource.

        Raises: StoreUnavailable when only the store could tell and the grace has run out, IssuerUnavailable when the
        keys of its issuer cannot be had.
        """
        digest = _digest(token.encode())
        known = self._known.get(digest)
        if known is not None and self._clock() < known.until:
            return known.principal
        signed = self._signed if is_signed(token) else None
        if signed is None and (not self._issued or token_id(token) is None):
            return None
        # However many requests come with it, it is checked once at a time; one that goes away leaves the question
        # to the others.
        asking = self._asking.get(digest)
        if asking is None:
            asking = self._asking[digest] = asyncio.create_task(
                self._ask(digest, token) if signed is None else self._check(signed, digest, token)
            )
            asking.add_done_callback(lambda _: self._asking.pop(digest))
        return await asyncio.shield(asking)

    async def watch(self) -> None:
        """Learn what is revoked, until cancelled."""
        await self.denied.watch()

    async def _ask(self, digest: bytes, token: str) -> Principal | None:
        known = self._known.get(digest)
        now = self._clock()  # before the store reads: a revocation after that must end what is believed
        try:
            async with asyncio.timeout(PATIENCE if known is not None and now < self._end(known.expires) else None):
                await self._informed()
                record = await self.tokens.find(token)
        except (StoreUnavailable, TimeoutError) as error:
            now = self._clock()
            # Gone from there, it was revoked meanwhile.
            if known is None or now >= (end := self._end(known.expires)) or digest not in self._known:
                raise StoreUnavailable(str(error) or "the store is slow") from None
            # Believed for another while, or each request would wait for a store that does not answer.
            self._known[digest] = known._replace(until=min(now + POSITIVE_CACHE, end))
            return known.principal
        if record is None or record.id in self.denied or not (record.audience is None or self._is_us(record.audience)):
            self._forget(digest)
            return None
        found = Principal(record.principal, frozenset(record.scopes), self.tokens.bound(record))
        expires = math.inf if record.expires is None else now + record.expires - time.time()
        self._note_use(record, expires)
        return self._remember(digest, found, now, expires, record.id)

    async def _check(self, signed: Signed, digest: bytes, token: str) -> Principal | None:
        now = self._clock()
        claims = await signed.check(token)
        if claims is None or not any(self._is_us(audience) for audience in claims.audiences):
            self._forget(digest)
            return None
        if claims.issuer is None:
            await self._informed()
        name, id = (claims.subject, claims.id) if claims.issuer is None else (f"{claims.issuer}:{claims.subject}", None)
        if name in RESERVED or (id is not None and id in self.denied):
            self._forget(digest)
            return None
        found = Principal(name, claims.scopes & frozenset(ALL_SCOPES))
        return self._remember(digest, found, now, now + claims.expires - time.time(), id)

    async def _informed(self) -> None:
        """Return when this worker knows what is revoked. Raises: StoreUnavailable."""
        if self._clock() >= self.denied.confirmed + GRACE:
            await self.denied.look()

    def _end(self, expires: float) -> float:
        """Until when a token that expires then is good if the store says nothing any more."""
        return min(self.denied.confirmed + GRACE, expires)

    def _remember(self, digest: bytes, found: Principal, now: float, expires: float, id: str | None) -> Principal:
        if len(self._known) >= MAX_KNOWN:
            # Bounded; the next request of each caller asks the store once.
            self._known = dict(self._static)
            self._of_id.clear()
        until = min(now + POSITIVE_CACHE, expires if id is None else self._end(expires))
        self._known[digest] = _Known(until, found, expires, id)
        if id is not None:
            self._of_id.setdefault(id, set()).add(digest)
        return found

    def _forget(self, digest: bytes) -> None:
        known = self._known.pop(digest, None)
        if known is not None and known.id is not None:
            self._of_id[known.id].discard(digest)

    def _drop(self, ids: Iterable[str]) -> None:
        """These tokens are revoked: nothing is believed of them any more."""
        for id in ids:
            for digest in self._of_id.pop(id, ()):
                self._known.pop(digest, None)

    def _note_use(self, record: Token, expires: float) -> None:
        """Have the store note that a token is used, now and then. Nobody waits for that, and it may fail."""
        now = self._clock()
        if now - self._used.get(record.id, -math.inf) < USE_KEPT:
            return
        if len(self._used) >= MAX_KNOWN:
            self._used.clear()
        self._used[record.id] = now
        task = asyncio.create_task(self._tell_use(record.id, None if math.isinf(expires) else expires - now))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def _tell_use(self, id: str, ttl: float | None) -> None:
        with contextlib.suppress(StoreUnavailable):  # it is told again in a minute
            await self.tokens.use(id, self._node, ttl)

    def _is_us(self, audience: str) -> bool:
        """RFC 8707: a token bound to a resource is good there only. Without a public address we are none."""
        return self._resource is not None and _canonical(audience) == self._resource


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _canonical(url: str) -> tuple[str, str, str]:
    """A resource's URL for comparing: scheme and host in lower case, no default port, no slash at the end."""
    scheme, rest = url.partition("://")[::2]
    host, slash, path = rest.partition("/")
    port = {"https": ":443", "http": ":80"}.get(scheme.lower(), "")
    return scheme.lower(), host.lower().removesuffix(port), (slash + path).removesuffix("/")


def credentials(headers: list[tuple[bytes, bytes]]) -> bytes | None:
    """The value of the one Authorization header of a request; None when there is none or more than one."""
    found = [value for name, value in headers if name == b"authorization"]
    return found[0] if len(found) == 1 else None


def bearer(headers: list[tuple[bytes, bytes]]) -> str | None:
    """The one bearer token of a request; None when there is none, more than one, or another scheme.

    Only the header counts: a token in a query string is none (it would end up in logs; OAuth 2.1 section 5.1).
    """
    scheme, _, token = (credentials(headers) or b"").partition(b" ")
    if scheme.lower() != b"bearer":
        return None
    try:
        return token.strip().decode("ascii") or None
    except UnicodeDecodeError:
        return None
