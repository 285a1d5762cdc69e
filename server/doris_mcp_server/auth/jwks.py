"""The public keys that check signed tokens: our own, published, and those of other issuers, fetched.

Each key is pinned to one algorithm when it is read, so that no token can choose (RFC 8725 section 3.1).
"""

import asyncio
import functools
import logging
import math
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from doris_mcp_server.errors import IssuerUnavailable
from doris_mcp_server.keys.ring import Key
from doris_mcp_server.observe import event

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

OURS: Final = "EdDSA"
"""The algorithm of our own keys: a seed of Ed25519 is any 32 bytes, as a key of the ring is."""
FRESH: Final = 300.0  # seconds fetched keys are used without looking for newer ones
KEPT: Final = 3600.0  # seconds they are used while the issuer does not answer
PAUSE: Final = 30.0  # seconds between two fetches from one issuer, whatever callers send
_LIMIT: Final = 5.0  # seconds a fetch may take
_SIZE: Final = 1 << 18  # bytes a key set may have
_RSA_BITS: Final = 2048
_ALGORITHMS: Final[dict[tuple[Any, Any], tuple[str, ...]]] = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}


class Check(NamedTuple):
    """A public key, and the one algorithm it is for."""

    algorithm: str
    key: Any


@functools.lru_cache(maxsize=64)
def private(secret: bytes) -> "Ed25519PrivateKey":
    """What signs with a key of the ring."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(secret)


def own(keys: Iterable[Key]) -> dict[str, Check]:
    """Keys of the ring, by id."""
    return {key.id: Check(OURS, private(key.secret).public_key()) for key in keys}


def published(keys: Iterable[Key]) -> bytes:
    """The key set (RFC 7517, RFC 8037) by which others check what these keys sign."""
    members = [
        {
            "kty": "OKP",
            "crv": "Ed25519",
            "use": "sig",
            "alg": OURS,
            "kid": key.id,
            "x": urlsafe_b64encode(private(key.secret).public_key().public_bytes_raw()).rstrip(b"=").decode(),
        }
        for key in keys
    ]
    return orjson.dumps({"keys": members})


def read(document: bytes) -> dict[str, Check]:
    """The usable keys of a key set, by `kid`. Others are left out: symmetric, too short, unknown, without a name.

    Raises: ValueError when it is none.
    """
    data = orjson.loads(document)
    members = data.get("keys") if isinstance(data, dict) else None
    if not isinstance(members, list):
        raise ValueError("not a key set")
    return {kid: check for member in members if (kid := _name(member)) and (check := _check(member)) is not None}


def _name(member: Any) -> str | None:
    kid = member.get("kid") if isinstance(member, dict) else None
    return kid if isinstance(kid, str) else None


def _check(member: dict[str, Any]) -> Check | None:
    import jwt

    allowed = _ALGORITHMS.get((member.get("kty"), member.get("crv"))) if _plain(member) else None
    if allowed is None or member.get("use", "sig") != "sig":
        return None
    algorithm = member.get("alg", allowed[0])
    if algorithm not in allowed:
        return None
    try:
        key = jwt.PyJWK(member, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if getattr(key, "key_size", _RSA_BITS) < _RSA_BITS and allowed[0] == "RS256":
        return None
    return Check(algorithm, key)


def _plain(member: dict[str, Any]) -> bool:
    return all(isinstance(member.get(name, ""), str) for name in ("kty", "crv", "use", "alg")) and "d" not in member


class Remote:
    """The key set another issuer publishes. Fetched when first needed, then now and then, beside the requests."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._checks: dict[str, Check] = {}
        self._fetched = -math.inf  # when that went well last; monotonic
        self._tried = -math.inf
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str) -> Check | None:
        """The key of this name. An unknown name makes us look again, but no more than once in PAUSE seconds.

        Raises: IssuerUnavailable when there has been no key set for too long.
        """
        now = monotonic()
        stale = now - self._fetched > FRESH
        if (stale or kid not in self._checks) and self._fetching is None and now - self._tried >= PAUSE:
            self._tried = now
            self._fetching = asyncio.create_task(self._fetch())
        if self._fetching is not None and (kid not in self._checks or now - self._fetched > KEPT):
            await asyncio.shield(self._fetching)
        if monotonic() - self._fetched > KEPT:
            raise IssuerUnavailable(f"{self._url} gives no keys", hint="see DORIS_MCP_ISSUERS, or the issuer's state")
        return self._checks.get(kid)

    async def _fetch(self) -> None:
        import httpx2

        try:
            async with asyncio.timeout(_LIMIT):
                self._checks = read(await self._get())
            self._fetched = monotonic()
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, TimeoutError) as error:
            event("keys of an issuer not fetched", level=logging.WARNING, url=self._url, reason=repr(error)[:200])
        finally:
            self._fetching = None

    async def _get(self) -> bytes:
        import httpx2

        # No redirect and no proxy of the environment: the operator named the one place that is trusted.
        async with (
            httpx2.AsyncClient(follow_redirects=False, trust_env=False, timeout=_LIMIT) as client,
            client.stream("GET", self._url, headers={"accept": "application/json"}) as answer,
        ):
            if answer.status_code != 200:
                raise ValueError(f"status {answer.status_code}")
            body = b""
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > _SIZE:
                    raise ValueError(f"more than {_SIZE} bytes")
            return body
