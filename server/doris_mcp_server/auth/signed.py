"""Signed bearer tokens (JWT, RFC 9068): whose they are, checked without asking the store.

Nothing in a token chooses how it is checked: its issuer and key id are only looked up, the algorithm is the key's.
"""

import math
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import orjson

from doris_mcp_server.auth.jwks import OURS, Check, Remote, own, private
from doris_mcp_server.config import Settings
from doris_mcp_server.keys.ring import Key

LONGEST: Final = 8192  # characters of a token
TYPE: Final = "at+jwt"
_LEEWAY: Final = 30.0  # seconds the clock of an issuer may differ
_NAMES: Final = 256  # characters a key id or a subject may have
# `crit` demands what we do not know, `b64` and `zip` change what is signed, `enc` is another kind of token.
_REFUSED: Final = ("crit", "b64", "zip", "enc")


class Claims(NamedTuple):
    """What a good token says of its holder. `issuer` is the name of another issuer, None: our own."""

    issuer: str | None
    subject: str
    scopes: frozenset[str]
    audiences: tuple[str, ...]
    expires: float  # Unix time, seconds
    id: str  # empty where it has none


def is_signed(token: str) -> bool:
    """Whether it has the shape of one. No token we draw at random does: those have no dots."""
    return len(token) <= LONGEST and token.count(".") == 2


def own_issuer(public_url: str) -> str:
    """Our name as an issuer: the origin of the public address."""
    parts = urlsplit(public_url)
    return f"{parts.scheme}://{parts.netloc}"


def sign(public_url: str, key: Key, *, subject: str, scopes: tuple[str, ...], ttl: float, id: str) -> str:
    """A token of our own, for `ttl` seconds from now."""
    import jwt

    now = int(time.time())
    claims = {
        "iss": own_issuer(public_url),
        "aud": public_url,
        "sub": subject,
        "client_id": subject,
        "scope": " ".join(scopes),
        "iat": now,
        "exp": now + int(ttl),
        "jti": id,
    }
    return jwt.encode(claims, private(key.secret), algorithm=OURS, headers={"typ": TYPE, "kid": key.id})


class Signed:
    """Checks signed tokens of our own issuer and of those in the settings; `ours` gives the keys that are good now."""

    def __init__(self, settings: Settings, ours: Callable[[], list[Key]]) -> None:
        self._ours = ours
        self._own = own_issuer(settings.public_url) if settings.public_url else None
        self._others = {issuer.issuer: (issuer, Remote(issuer.jwks)) for issuer in settings.issuers}

    async def check(self, token: str) -> Claims | None:
        """The claims of a good token, None for any other. The audience is not checked here.

        Raises: IssuerUnavailable when the keys to check it with cannot be had.
        """
        parts = token.split(".")
        header, claims = _json(parts[0]), _json(parts[1])
        if header is None or claims is None or any(name in header for name in _REFUSED):
            return None
        kid, issuer = header.get("kid"), claims.get("iss")
        if not isinstance(kid, str) or len(kid) > _NAMES or not isinstance(issuer, str):
            return None
        if issuer == self._own:
            return self._by_us(token, header, kid)
        if issuer in self._others:
            other, remote = self._others[issuer]
            if _type(header) != other.typ.lower():
                return None  # before its keys are asked for
            return _verified(token, header, await remote.find(kid), issuer, other.typ, other.name)
        return None

    def _by_us(self, token: str, header: dict[str, Any], kid: str) -> Claims | None:
        """It ends with the key that signed it, if not before."""
        key = next((key for key in self._ours() if key.id == kid), None)
        if key is None or self._own is None:
            return None
        found = _verified(token, header, own([key])[kid], self._own, TYPE, None)
        return found and found._replace(expires=min(found.expires, math.inf if key.until is None else key.until))


def _verified(
    token: str, header: dict[str, Any], check: Check | None, issuer: str, typ: str, name: str | None
) -> Claims | None:
    import jwt

    if check is None or header.get("alg") != check.algorithm or _type(header) != typ.lower():
        return None
    try:
        claims = jwt.decode(
            token,
            check.key,
            algorithms=[check.algorithm],
            issuer=issuer,
            leeway=_LEEWAY,
            options={"require": ["exp", "iss", "sub", "aud"], "verify_aud": False},
        )
        expires = float(claims["exp"]) + _LEEWAY
    except (
        jwt.PyJWTError,
        ValueError,
        TypeError,
        OverflowError,
        RecursionError,
    ):  # its parser goes less deep than ours
        return None
    subject, audiences = claims["sub"], claims["aud"]
    audiences = [audiences] if isinstance(audiences, str) else audiences
    if not isinstance(audiences, list) or not all(isinstance(audience, str) for audience in audiences):
        return None
    if not isinstance(subject, str) or not 0 < len(subject) <= _NAMES or not subject.isprintable():
        return None
    id = claims.get("jti")
    scopes = _scopes(claims.get("scope", claims.get("scp")))
    return Claims(name, subject, scopes, tuple(audiences), expires, id if isinstance(id, str) else "")


def _scopes(claim: Any) -> frozenset[str]:
    """RFC 8693 has them in one text; some issuers make a list of them. Without any, none."""
    names = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else []
    return frozenset(name for name in names if isinstance(name, str))


def _type(header: dict[str, Any]) -> str:
    typ = header.get("typ")
    return typ.lower().removeprefix("application/") if isinstance(typ, str) else ""


def _json(part: str) -> dict[str, Any] | None:
    try:
        found = orjson.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
