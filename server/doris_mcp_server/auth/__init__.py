"""Who is calling: bearer token → Principal, or nobody (401, see challenge), or 503 when the store is away.

Every token is looked up by a hash of it: SHA-256 in this process, a keyed hash in the store, which so never holds
a token in the clear. Signed ones (JWT) need no store: `signed` checks them, and they are remembered the same way.
"""

import asyncio
import hashlib
import hmac
import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from doris_mcp_server.auth.signed import Signed, is_signed
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import InvalidArgument, StoreUnavailable
from doris_mcp_server.state import Store, TokenRecord

POSITIVE_CACHE = 2.0  # seconds a verified token is believed without asking the store: bounds revocation
STORE_AWAY_GRACE = 60.0  # seconds a recently verified token stays good while the store is away
MAX_KNOWN = 10_000  # verified tokens a worker remembers
_SCHEMES = (b"Bearer ", b"bearer ")
MAX_TOKEN = 512  # characters; a longer one is nobody's
ALL_SCOPES = ("catalog:read", "cluster:read", "query:execute")
SMOKE = "smoke"
RESERVED = frozenset({"static", SMOKE, "local"})  # principals that the settings make


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified caller."""

    name: str
    scopes: frozenset[str]


LOCAL = Principal("local", frozenset(ALL_SCOPES))
"""The caller when no token is configured: only possible on loopback and stdio."""


def keyed_hash(key_hex: str, token: str) -> str:
    """HMAC-SHA256 of a token as the store knows it (hexadecimal)."""
    return hmac.new(bytes.fromhex(key_hex), token.encode(), hashlib.sha256).hexdigest()


def issue(name: str, scopes: tuple[str, ...], ttl: float | None) -> tuple[str, TokenRecord]:
    """A new opaque token of 256 random bits and its record. `ttl` in seconds, None for ever.

    Raises: InvalidArgument for a name that would make its holder look like a caller of another kind.
    """
    if name in RESERVED:
        raise InvalidArgument(f"the name {name!r} is the server's own", hint="choose another --name")
    now = time.time()
    record = TokenRecord(
        id=secrets.token_hex(6),
        name=name,
        principal=name,
        scopes=scopes,
        created=now,
        expires=None if ttl is None else now + ttl,
    )
    return "dmcp_" + secrets.token_urlsafe(32), record


class _Known(NamedTuple):
    """A token this worker has verified. Times are seconds of its clock."""

    until: float  # believed so long without asking the store
    principal: Principal
    checked: float  # when the store last vouched for it
    expires: float


class Verifier:
    """Checks bearer tokens for one worker. `clock` counts seconds and never goes back."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Callable[[], float] = time.monotonic,
        signed: Signed | None = None,
    ) -> None:
        self._store = store
        self._signed = signed
        self._clock = clock
        self._token_key = settings.token_key
        self._resource = _canonical(settings.public_url) if settings.public_url else None
        self._static = {
            _digest(token.encode()): _Known(math.inf, Principal(name, frozenset(ALL_SCOPES)), math.inf, math.inf)
            for token, name in ((settings.token, "static"), (settings.smoke_token, SMOKE))
            if token
        }
        # Looked up by digest, and a dict compares 64 bits of a randomly keyed hash of it before it compares bytes: the
        # time that takes depends on nothing a guesser can choose, so it does not tell how far a guess was right.
        self._known = dict(self._static)
        self._digests: dict[bytes, bytes] = {}  # of good Authorization headers, which callers send again and again
        self._asking: dict[bytes, asyncio.Task[Principal | None]] = {}
        self.required = bool(settings.token or settings.redis_url or settings.issuers or settings.beyond_loopback)

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
        if signed is None and (not self._token_key or len(token) > MAX_TOKEN):
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

    async def _ask(self, digest: bytes, token: str) -> Principal | None:
        known = self._known.get(digest)
        now = self._clock()  # before the store reads: a revocation after that must end what is believed
        try:
            record = await self._store.get_token(keyed_hash(self._token_key, token))
        except StoreUnavailable:
            now = self._clock()
            if known is None or now >= (end := min(known.checked + STORE_AWAY_GRACE, known.expires)):
                raise
            # Believed for another while, or each request would wait for a store that does not answer.
            self._known[digest] = known._replace(until=min(now + POSITIVE_CACHE, end))
            return known.principal
        if record is None or record.expired() or not (record.audience is None or self._is_us(record.audience)):
            self._known.pop(digest, None)
            return None
        expires = math.inf if record.expires is None else now + record.expires - time.time()
        return self._remember(digest, Principal(record.principal, frozenset(record.scopes)), now, expires)

    async def _check(self, signed: Signed, digest: bytes, token: str) -> Principal | None:
        now = self._clock()
        claims = await signed.check(token)
        if claims is None or not any(self._is_us(audience) for audience in claims.audiences):
            self._known.pop(digest, None)
            return None
        name = claims.subject if claims.issuer is None else f"{claims.issuer}:{claims.subject}"
        if name in RESERVED:
            return None
        principal = Principal(name, claims.scopes & frozenset(ALL_SCOPES))
        return self._remember(digest, principal, now, now + claims.expires - time.time())

    def _remember(self, digest: bytes, principal: Principal, now: float, expires: float) -> Principal:
        if len(self._known) >= MAX_KNOWN:
            self._known = dict(self._static)  # bounded; the next request of each caller asks the store once
        self._known[digest] = _Known(min(now + POSITIVE_CACHE, expires), principal, now, expires)
        return principal

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
