"""Authorization codes: what a user has allowed, until the client comes for it. One minute, once.

The store knows a hash of the code, and what it is for. Redeemed, it becomes the name of the grant it gave, in one step
that only one host can take; who comes with it again ends that grant, whatever became of it meanwhile.
"""

import hashlib
import hmac
import json
import secrets
from base64 import urlsafe_b64encode
from typing import Final, NamedTuple

from doris_mcp_server.auth.opaque import open_account, seal_account
from doris_mcp_server.clusters import Bound
from doris_mcp_server.oauth.messages import Refused
from doris_mcp_server.oauth.requests import Request
from doris_mcp_server.state import Store

FAMILY: Final = "oauth-code:v1"
LIVES: Final = 60.0  # seconds
REMEMBERED: Final = 3600.0  # seconds a redeemed one is known: as long as an access token lives
_PREFIX: Final = "dmcp_code_"


class Allowed(NamedTuple):
    """What the user has allowed, and the grant that is to be made of it."""

    grant: str
    client: str
    label: str
    scopes: tuple[str, ...]
    bound: Bound


class Replayed(Exception):
    """A code was used before; `grant` is what that gave."""

    def __init__(self, grant: str) -> None:
        super().__init__("this code has been used already")
        self.grant = grant


class Codes:
    """The codes of the fleet. Methods raise StoreUnavailable."""

    def __init__(self, store: Store, token_key: str) -> None:
        self._store = store
        self._key = token_key

    async def issue(self, request: Request, scopes: tuple[str, ...], bound: Bound) -> str:
        """A code for what was allowed. It is on every replica when this returns: any host may be asked next."""
        code = _PREFIX + secrets.token_urlsafe(32)
        id = _id(code)
        record = {
            "client": request.client,
            "label": request.label,
            "redirect_uri": request.redirect_uri,
            "challenge": request.challenge,
            "scopes": scopes,
            "account": seal_account(bound, self._key, _purpose(id)),
        }
        await self._store.put(f"{FAMILY}/{id}", json.dumps(record), LIVES, durable=True)
        return code

    async def redeem(self, code: str, *, client: str, redirect_uri: str, verifier: str, grant: str) -> Allowed:
        """What was allowed, for the client it was allowed to, which proves that it asked (PKCE, RFC 7636).

        Raises: Refused with `invalid_grant`, Replayed.
        """
        id = _id(code)
        name = f"{FAMILY}/{id}"
        text = await self._store.get(name)
        if text is None:
            raise _unknown()
        record = json.loads(text)
        if "grant" in record:
            raise Replayed(record["grant"])
        if record["client"] != client:
            raise Refused("invalid_grant", "the code was given to another client")
        if record["redirect_uri"] != redirect_uri:
            raise Refused("invalid_grant", "the redirect_uri is another one than the code was sent to")
        if not hmac.compare_digest(record["challenge"].encode(), _challenge(verifier)):
            raise Refused("invalid_grant", "the code_verifier does not fit the code_challenge")
        if not await self._store.swap(name, json.dumps({"grant": grant}), text, REMEMBERED, durable=True):
            text = await self._store.get(name)  # somebody else was quicker with it
            raise _unknown() if text is None else Replayed(json.loads(text)["grant"])
        try:
            bound = open_account(record["account"], self._key, _purpose(id))
        except ValueError:
            raise _unknown() from None
        return Allowed(grant, client, record["label"], tuple(record["scopes"]), bound)


def _id(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()


def _purpose(id: str) -> str:
    return f"account of code {id}"


def _challenge(verifier: str) -> bytes:
    digest = hashlib.sha256(verifier.encode("utf-8", "surrogatepass")).digest()
    return urlsafe_b64encode(digest).rstrip(b"=")


def _unknown() -> Refused:
    return Refused("invalid_grant", "the code is not known, or older than a minute")
