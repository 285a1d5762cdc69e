"""Grants: what a user's login gave a client. An access token for an hour, and a refresh token to get the next one.

`dmcp_refresh_<grant>_<generation>_<proof>`: the proof is a MAC under a secret of the grant's own, which the store has
encrypted, with the account; so nothing in the store is a token, or makes one. Each refresh is the end of the token it
came with. One that comes again was stolen or its answer lost: shortly after, it gets the very same successor; later,
it ends the grant, and every token of it.
"""

import hmac
import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Final, NamedTuple

from pydantic import ValidationError

from doris_mcp_server.auth.opaque import GRANT_DENIED, GRANT_LIVES, Tokens
from doris_mcp_server.clusters import Bound
from doris_mcp_server.errors import StoreUnavailable
from doris_mcp_server.keys.vault import decrypt, encrypt
from doris_mcp_server.oauth.accounts import principal
from doris_mcp_server.oauth.codes import Allowed
from doris_mcp_server.oauth.messages import Refused
from doris_mcp_server.state import Store

FAMILY: Final = "grant:v1"
ACCESS: Final = 3600.0  # seconds an access token lives
AGAIN: Final = 30.0  # seconds in which a refresh may be repeated
_PACE: Final = (0.1, 20)  # refreshes a second, and at once
_SHAPE = re.compile(r"dmcp_refresh_(g[0-9a-f]{16})_([1-9][0-9]{0,8})_([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant as the store keeps it. Times are Unix times in seconds."""

    id: str
    client: str
    label: str
    principal: str
    cluster: str
    user: str
    scopes: tuple[str, ...]
    created: float
    refreshed: float
    generation: int  # of its refresh token
    secret: str  # encrypted: the account, and what proves its refresh tokens

    @property
    def expires(self) -> float:
        return self.refreshed + GRANT_LIVES


class Secret(NamedTuple):
    """What is secret in a grant."""

    bound: Bound
    prover: bytes


class Held(NamedTuple):
    """A grant that somebody has shown a refresh token of; `text` is what the store had then."""

    grant: Grant
    secret: Secret
    generation: int  # of the token shown
    text: str


class Issued(NamedTuple):
    """What a client is handed."""

    access: str
    refresh: str
    scopes: tuple[str, ...]


class Reused(Exception):
    """A refresh token came that had been followed by another one; its grant has been ended."""


def new_grant() -> str:
    """An id for a grant; never one of a token."""
    return "g" + secrets.token_hex(8)


class Grants:
    """The grants of the fleet, for tokens that are good at `audience`. Methods raise StoreUnavailable.

    `ended` says whether a grant is known to have been ended, whatever the store says.
    """

    def __init__(
        self,
        store: Store,
        tokens: Tokens,
        token_key: str,
        audience: str,
        ended: Callable[[str], bool] = lambda id: False,
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._ended = ended
        self._key = token_key
        self._audience = audience

    async def begin(self, allowed: Allowed) -> Issued:
        """A new grant, and its first tokens."""
        now = time.time()
        secret = Secret(allowed.bound, secrets.token_bytes(32))
        grant = Grant(
            id=allowed.grant,
            client=allowed.client,
            label=allowed.label,
            principal=principal(allowed.bound),
            cluster=allowed.bound.cluster,
            user=allowed.bound.account.user,
            scopes=allowed.scopes,
            created=now,
            refreshed=now,
            generation=1,
            secret=_seal(secret, self._key, allowed.grant),
        )
        await self._store.put(_name(grant.id), json.dumps(asdict(grant)), GRANT_LIVES, durable=True)
        return await self._issue(grant, secret, grant.scopes)

    async def get(self, id: str) -> Grant | None:
        """A grant by its id."""
        text = await self._store.get(_name(id))
        return None if text is None else _decode(text)

    async def all(self) -> list[Grant]:
        """All grants, oldest first."""
        found = await self._store.find(FAMILY)
        return sorted(map(_decode, found.values()), key=lambda grant: grant.created)

    async def find(self, token: str, client: str | None) -> Held | None:
        """The living grant of a genuine refresh token of this client (None: of any), whatever its generation."""
        parts = _SHAPE.fullmatch(token)
        if parts is None or self._ended(parts[1]):
            return None
        text = await self._store.get(_name(parts[1]))
        if text is None:
            return None
        grant = _decode(text)
        if client not in (None, grant.client):
            return None
        held = Held(grant, _unseal(grant, self._key), int(parts[2]), text)
        return held if hmac.compare_digest(parts[3], _proof(held.secret, grant.id, held.generation)) else None

    async def refresh(self, held: Held, scopes: tuple[str, ...]) -> tuple[Issued, bool]:
        """The next tokens; and whether they were given before.

        Raises: Reused, Refused where that is too often, or the grant was ended meanwhile.
        """
        grant, secret, generation, text = held
        given, wait = await self._store.spend(f"oauth-refresh:v1/{grant.id}", 1, rate=_PACE[0], burst=_PACE[1])
        if not given:
            raise Refused("slow_down", "this grant was refreshed too often", status=429, after=wait)
        while generation >= grant.generation:
            # A store that lost the newest generation takes it from the token: nobody but us can have made that.
            newer = replace(grant, generation=generation + 1, refreshed=time.time())
            if await self._store.swap(_name(grant.id), json.dumps(asdict(newer)), text, GRANT_LIVES, durable=True):
                return await self._issue(newer, secret, scopes), False
            found = await self._store.get(_name(grant.id))
            if found is None:
                raise Refused("invalid_grant", "the refresh token is not good any more")
            grant, text = _decode(found), found
        if generation == grant.generation - 1 and time.time() - grant.refreshed <= AGAIN:
            return await self._issue(grant, secret, scopes), True
        await self.end(grant.id)
        raise Reused

    async def end(self, id: str) -> None:
        """End a grant and all its tokens, everywhere. Every replica knows it when this returns."""
        await self._tokens.deny({id: time.time() + GRANT_DENIED})
        await self._store.take(_name(id), durable=True)

    async def _issue(self, grant: Grant, secret: Secret, scopes: tuple[str, ...]) -> Issued:
        access, _ = await self._tokens.issue(
            grant.principal,
            scopes,
            ACCESS,
            bound=secret.bound,
            audience=self._audience,
            client=grant.label,
            grant=grant.id,
        )
        proof = _proof(secret, grant.id, grant.generation)
        return Issued(access, f"dmcp_refresh_{grant.id}_{grant.generation}_{proof}", scopes)


def _name(id: str) -> str:
    return f"{FAMILY}/{id}"


def _proof(secret: Secret, id: str, generation: int) -> str:
    return hmac.digest(secret.prover, f"{id} {generation}".encode(), "sha256").hex()


def _purpose(id: str) -> str:
    return f"grant {id}"


def _seal(secret: Secret, token_key: str, id: str) -> str:
    plain = {"bound": secret.bound.model_dump(), "prover": secret.prover.hex()}
    return encrypt(json.dumps(plain).encode(), token_key, _purpose(id))


def _unseal(grant: Grant, token_key: str) -> Secret:
    try:
        plain = json.loads(decrypt(grant.secret, token_key, _purpose(grant.id)))
        return Secret(Bound.model_validate(plain["bound"]), bytes.fromhex(plain["prover"]))
    except (ValueError, KeyError, TypeError, ValidationError):
        raise StoreUnavailable(
            f"grant {grant.id} was not encrypted under this DORIS_MCP_TOKEN_KEY", hint="give every host the same key"
        ) from None


def _decode(text: str) -> Grant:
    """A stored grant; members a newer release may have added are left alone."""
    data = json.loads(text)
    known = {name: data[name] for name in Grant.__dataclass_fields__ if name in data}
    return Grant(**known | {"scopes": tuple(data["scopes"])})
