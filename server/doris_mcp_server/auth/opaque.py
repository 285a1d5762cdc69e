"""Bearer tokens of our own that say nothing: 256 random bits, whose record lies in the store.

`dmcp_<id>_<secret>`: the id finds the record, which holds a keyed hash of the whole token and never the token. A token
ends when it expires or is revoked; what was revoked is told to every worker and kept until nobody could believe it any
more, so that not even a store that lost the revocation lets it in again (`denied`).
"""

import asyncio
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Final

from doris_mcp_server.clusters import Bound
from doris_mcp_server.errors import StoreUnavailable
from doris_mcp_server.keys.vault import decrypt, encrypt
from doris_mcp_server.state import Store
from doris_mcp_server.state.bus import DENIED, Bus

FAMILY: Final = "token:v1"
USED: Final = "token-used:v1"
REVOKED: Final = "denied:v1"
"""The set of revoked ids: of tokens, of signed ones, and of grants."""
FORGOTTEN: Final = 30 * 86_400.0  # seconds after which a revoked token that never expired is unknown everywhere
GRANT_LIVES: Final = 30 * 86_400.0  # seconds a grant of OAuth lives when it is not used
GRANT_DENIED: Final = GRANT_LIVES + FORGOTTEN  # seconds
_SHAPE: Final = re.compile(r"dmcp_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Token:
    """An issued token, as the store keeps it. The token itself is not in here."""

    id: str
    name: str
    principal: str
    scopes: tuple[str, ...]
    created: float  # Unix time, seconds
    expires: float | None  # Unix time, seconds; None never
    audience: str | None = None  # the only resource (URL of a server) it is good for; None any of this fleet
    hash: str | None = None  # keyed hash of the token (hexadecimal); None: a signed one, which is checked by its keys
    account: str | None = None  # the Doris account it is bound to, encrypted
    client: str | None = None  # of OAuth
    grant: str | None = None  # what a login gave that client; whoever ends it ends this token as well

    @property
    def signed(self) -> bool:
        return self.hash is None

    def expired(self) -> bool:
        return self.expires is not None and self.expires <= time.time()


@dataclass(frozen=True, slots=True)
class Use:
    """When and where a token was last seen; about a minute old at most."""

    at: float  # Unix time, seconds
    node: str


def token_id(token: str) -> str | None:
    """The id within a token of ours, None for anything else."""
    found = _SHAPE.fullmatch(token)
    return found[1] if found else None


def new_id() -> str:
    """An id for a token."""
    return secrets.token_hex(6)


def keyed_hash(token_key: str, token: str) -> str:
    """HMAC-SHA256 of a token as the store knows it (hexadecimal)."""
    return hmac.new(bytes.fromhex(token_key), token.encode(), hashlib.sha256).hexdigest()


class Tokens:
    """The issued tokens of the fleet. Methods raise StoreUnavailable; what was done then is not known."""

    def __init__(self, store: Store, bus: Bus, token_key: str) -> None:
        self._store = store
        self._bus = bus
        self._key = token_key

    async def find(self, token: str) -> Token | None:
        """The record of a token that is good now."""
        id = token_id(token)
        record = None if id is None else await self.get(id)
        if record is None or record.hash is None or record.expired():
            return None
        return record if hmac.compare_digest(record.hash, keyed_hash(self._key, token)) else None

    async def get(self, id: str) -> Token | None:
        text = await self._store.get(f"{FAMILY}/{id}")
        return None if text is None else _decode(text)

    async def good(self, id: str) -> Token | None:
        """The record of this id if it is good now: one that is denied may still have a record."""
        record = await self.get(id)
        return None if record is None else next(iter(await self._good([record])), None)

    async def all(self) -> list[Token]:
        """All tokens that are good now, oldest first."""
        records = [_decode(text) for text in (await self._store.find(FAMILY)).values()]
        return sorted(await self._good(records), key=lambda record: record.created)

    async def _good(self, records: Iterable[Token]) -> list[Token]:
        revoked = await self._store.grown(REVOKED, None)
        denied = revoked.until if revoked is not None else {}
        return [r for r in records if not (r.expired() or r.id in denied or r.grant in denied)]

    async def issue(
        self,
        name: str,
        scopes: tuple[str, ...],
        ttl: float | None,
        *,
        principal: str | None = None,
        bound: Bound | None = None,
        audience: str | None = None,
        client: str | None = None,
        grant: str | None = None,
    ) -> tuple[str, Token]:
        """A new token, which nobody can show again, and its record. `ttl` in seconds, None: until it is revoked."""
        id, now = new_id(), time.time()
        token = f"dmcp_{id}_{secrets.token_urlsafe(32)}"
        record = Token(
            id=id,
            name=name,
            principal=principal or name,
            scopes=scopes,
            created=now,
            expires=None if ttl is None else now + ttl,
            audience=audience,
            hash=keyed_hash(self._key, token),
            account=None if bound is None else seal_account(bound, self._key, _purpose(id)),
            client=client,
            grant=grant,
        )
        await self.keep(record)
        return token, record

    async def keep(self, record: Token) -> None:
        """Write a record; it is forgotten by itself when the token expires. On every replica when this returns."""
        ttl = None if record.expires is None else max(record.expires - time.time(), 0.001)
        await self._store.put(f"{FAMILY}/{record.id}", json.dumps(asdict(record)), ttl, durable=True)

    async def rotate(self, id: str, overlap: float) -> tuple[str, Token] | None:
        """A new token for the same holder; the old one ends `overlap` seconds from now. None where there is none."""
        old = await self.good(id)
        if old is None or old.signed:
            return None
        now = time.time()
        ttl = None if old.expires is None else old.expires - old.created
        token, record = await self.issue(
            old.name,
            old.scopes,
            ttl,
            principal=old.principal,
            bound=self.bound(old),
            audience=old.audience,
            client=old.client,
        )
        if overlap <= 0:
            await self.revoke([id])
        elif old.expires is None or old.expires > now + overlap:
            await self.keep(replace(old, expires=now + overlap))
        return token, record

    async def revoke(self, ids: Iterable[str]) -> list[str]:
        """End tokens everywhere, with the grants they belong to; which of them there were.

        Every replica knows it when this returns. First they are denied, then forgotten: cut off in between, they are
        refused all the same.
        """
        found = [record for id in ids if (record := await self.get(id)) is not None]
        if found:
            now = time.time()
            until = {record.id: FORGOTTEN + (record.expires or now) for record in found}
            until |= {record.grant: now + GRANT_DENIED for record in found if record.grant is not None}
            await self.deny(until)
            await asyncio.gather(*(self.forget(record.id) for record in found))
        return [record.id for record in found]

    async def deny(self, until: dict[str, float]) -> None:
        """Have every worker refuse the tokens and grants of these ids, each until its time (Unix, seconds)."""
        await self._store.grow(REVOKED, until, durable=True)
        self._bus.publish(DENIED, {"until": until})

    async def forget(self, id: str) -> None:
        """Remove the record of a token that is denied, which alone is what counts."""
        await self._store.take(f"{FAMILY}/{id}", durable=True)
        await self._store.take(f"{USED}/{id}")

    def bound(self, record: Token) -> Bound | None:
        """The Doris account a token is bound to. Raises: StoreUnavailable where that cannot be read."""
        if record.account is None:
            return None
        try:
            return open_account(record.account, self._key, _purpose(record.id))
        except ValueError:
            raise StoreUnavailable(
                f"the account of token {record.id} was not encrypted under this DORIS_MCP_TOKEN_KEY",
                hint="give every host the same key, or revoke the token and issue anew",
            ) from None

    async def use(self, id: str, node: str, ttl: float | None) -> None:
        """Keep that a token was seen now."""
        await self._store.put(f"{USED}/{id}", json.dumps(asdict(Use(time.time(), node))), ttl)

    async def uses(self) -> dict[str, Use]:
        """When tokens were last seen, by id."""
        return {id: Use(**json.loads(text)) for id, text in (await self._store.find(USED)).items()}


def seal_account(bound: Bound, token_key: str, purpose: str) -> str:
    """A Doris account as the store may have it."""
    return encrypt(bound.model_dump_json().encode(), token_key, purpose)


def open_account(text: str, token_key: str, purpose: str) -> Bound:
    """What `seal_account` was given. ValueError where it was not, under this key and purpose."""
    return Bound.model_validate_json(decrypt(text, token_key, purpose))


def _purpose(id: str) -> str:
    return f"account of token {id}"


def _decode(text: str) -> Token:
    """A stored token; members a newer release may have added are left alone."""
    try:
        data = json.loads(text)
        known = {name: data[name] for name in Token.__dataclass_fields__ if name in data}
        return Token(**known | {"scopes": tuple(data["scopes"])})
    except (ValueError, TypeError, KeyError) as error:
        raise StoreUnavailable(
            f"a stored token cannot be read: {error!r}",
            hint="revoke it with `doris-mcp-server token revoke` and issue anew",
        ) from error
