"""Who is calling: bearer token → Principal, or 401 with a challenge, or 503 when the store is away.

Static tokens are compared as hashes of equal length; issued tokens are looked up by a keyed hash, so neither
way tells a guesser how far a guess was right, and the store never holds a token in the clear.
"""

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass

from doris_mcp_server.config import Settings
from doris_mcp_server.errors import StoreUnavailable
from doris_mcp_server.state import Store, TokenRecord

POSITIVE_CACHE = 2.0  # seconds a verified token is believed without asking the store: bounds revocation
STORE_AWAY_GRACE = 60.0  # seconds a recently verified token stays good while the store is away
ALL_SCOPES = ("catalog:read", "query:execute")
SMOKE = "smoke"


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
    """A new opaque token of 256 random bits and its record. `ttl` in seconds, None for ever."""
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


class Verifier:
    """Checks bearer tokens for one worker."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._store = store
        self._token_key = settings.token_key
        self._static = [
            (_digest(token), Principal(name, frozenset(ALL_SCOPES)))
            for token, name in ((settings.token, "static"), (settings.smoke_token, SMOKE))
            if token
        ]
        self._verified: dict[str, tuple[float, Principal, float | None]] = {}
        self.required = bool(settings.token or settings.redis_url or settings.beyond_loopback)

    def static(self, token: str) -> Principal | None:
        """The principal of a token given in the settings, without asking the store."""
        digest = _digest(token)
        found = None
        for known, principal in self._static:
            if hmac.compare_digest(known, digest):
                found = principal
        return found

    async def verify(self, token: str) -> Principal | None:
        """The caller behind `token`, or None when it is not (or no longer) valid.

        Raises: StoreUnavailable when only the store could tell and the grace has run out.
        """
        if (principal := self.static(token)) is not None:
            return principal
        if not self._token_key or len(token) > 512:
            return None
        digest = keyed_hash(self._token_key, token)
        now = time.monotonic()
        cached = self._verified.get(digest)
        if cached and cached[2] is not None and cached[2] <= time.time():
            del self._verified[digest]
            return None
        if cached and now - cached[0] < POSITIVE_CACHE:
            return cached[1]
        try:
            record = await self._store.get_token(digest)
        except StoreUnavailable:
            if cached and now - cached[0] < STORE_AWAY_GRACE:
                return cached[1]
            raise
        if record is None:
            self._verified.pop(digest, None)
            return None
        principal = Principal(record.principal, frozenset(record.scopes))
        if len(self._verified) >= 10_000:
            self._verified.clear()  # bounded; the next request of each caller asks the store once
        self._verified[digest] = (now, principal, record.expires)
        return principal


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def bearer(headers: list[tuple[bytes, bytes]]) -> str | None:
    """The one bearer token of a request; None when there is none, more than one, or another scheme."""
    found = [value for name, value in headers if name == b"authorization"]
    if len(found) != 1:
        return None
    scheme, _, token = found[0].partition(b" ")
    if scheme.lower() != b"bearer":
        return None
    try:
        return token.strip().decode("ascii") or None
    except UnicodeDecodeError:
        return None
