"""The authorization server (OAuth 2.1, as MCP 2026-07-28 wants it): who logs in with the own Doris account gets tokens.

Between `asgi`, which lets requests in, and `auth`, whose opaque tokens it issues. No step needs the host of the step
before: what is not in the store travels sealed with the user.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson

from doris_mcp_server.auth import ALL_SCOPES, Principal, Verifier
from doris_mcp_server.auth.signed import own_issuer
from doris_mcp_server.config import Settings
from doris_mcp_server.doris.routes import Routes
from doris_mcp_server.errors import DorisUnavailable, StoreUnavailable
from doris_mcp_server.keys import KeyRing, derived_key
from doris_mcp_server.oauth import page
from doris_mcp_server.oauth.accounts import Accounts
from doris_mcp_server.oauth.authorize import Authorize
from doris_mcp_server.oauth.clients import Registrations
from doris_mcp_server.oauth.codes import Codes
from doris_mcp_server.oauth.documents import Documents
from doris_mcp_server.oauth.grants import Grants
from doris_mcp_server.oauth.messages import LARGEST, Ask, Refused, Reply, answer, away, refusal
from doris_mcp_server.oauth.token import TokenEndpoint
from doris_mcp_server.observe import Metrics, event
from doris_mcp_server.state import Store

__all__ = ["AUTHORIZE", "LARGEST", "PATHS", "Ask", "OAuth", "Reply"]

METADATA: Final = "/.well-known/oauth-authorization-server"
AUTHORIZE: Final = "/oauth/authorize"
TOKEN: Final = "/oauth/token"
REVOKE: Final = "/oauth/revoke"
REGISTER: Final = "/oauth/register"
PATHS: Final = (METADATA, AUTHORIZE, TOKEN, REVOKE, REGISTER)

_REGISTRATIONS: Final = (0.2, 30)  # a second, and at once, for each address: they cost little, and nothing is kept
_SLOW: Final = "the store does not answer; try again"

Endpoint = Callable[[Ask], Awaitable[Reply]]


class OAuth:
    """The authorization server, as one worker has it."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        verifier: Verifier,
        routes: Routes,
        keys: KeyRing,
        metrics: Metrics,
        documents: Documents | None = None,
    ) -> None:
        issuer, resource = own_issuer(settings.public_url), settings.public_url
        self._store = store
        self._accounts = accounts = Accounts(routes, store)
        # Under the key that never rotates: a client keeps its id for as long as it is used.
        self._registrations = Registrations(KeyRing((derived_key(settings.token_key),)))
        self._grants = Grants(store, verifier.tokens, settings.token_key, resource, verifier.denied.__contains__)
        codes = Codes(store, settings.token_key)
        self._authorize = Authorize(
            issuer,
            resource,
            registrations=self._registrations,
            documents=documents or Documents(store),
            accounts=accounts,
            codes=codes,
            keys=keys,
            metrics=metrics,
        )
        token = TokenEndpoint(
            resource, codes=codes, grants=self._grants, tokens=verifier.tokens, accounts=accounts, metrics=metrics
        )
        self._metadata = _described(issuer)
        self._endpoints: dict[tuple[str, str], Endpoint] = {
            ("GET", METADATA): self._tell,
            ("HEAD", METADATA): self._tell,
            ("POST", TOKEN): token.give,
            ("POST", REVOKE): token.take_back,
            ("POST", REGISTER): self._register,
        }
        self._looking: dict[str, asyncio.Task[None]] = {}

    async def answer(self, ask: Ask) -> Reply:
        """The answer to a request for one of PATHS."""
        if ask.path == AUTHORIZE:
            return await self._with_a_person(ask)
        endpoint = self._endpoints.get((ask.method, ask.path))
        if endpoint is None:
            return _not_allowed(", ".join(method for method, path in self._endpoints if path == ask.path))
        try:
            return await endpoint(ask)
        except Refused as refused:
            return refusal(refused)
        except StoreUnavailable as error:
            event("oauth: store away", level=logging.WARNING, path=ask.path, reason=error.message)
            return refusal(away(_SLOW))

    def refused(self, principal: Principal) -> None:
        """Doris refused the account of this caller: if it does so again, his grant ends, and with it his tokens."""
        grant, bound = principal.grant, principal.bound
        if grant is None or bound is None or grant in self._looking:
            return

        async def look() -> None:
            try:
                if not await self._accounts.admits(bound):
                    await self._grants.end(grant)
                    event("oauth: Doris refuses an account, its grant is ended", grant=grant)
            except (DorisUnavailable, StoreUnavailable) as error:  # the next call of his looks again
                event("oauth: an account was not looked at", level=logging.WARNING, reason=error.message)

        task = self._looking[grant] = asyncio.create_task(look())
        task.add_done_callback(lambda _: self._looking.pop(grant))

    async def _with_a_person(self, ask: Ask) -> Reply:
        try:
            if ask.method in ("GET", "HEAD"):
                return await self._authorize.show(ask)
            if ask.method == "POST":
                return await self._authorize.decide(ask)
        except StoreUnavailable as error:
            event("oauth: store away", level=logging.WARNING, path=ask.path, reason=error.message)
            return page.reply(page.problem("Not now", "The server cannot keep logins at the moment. Try again."), 502)
        return _not_allowed("GET, HEAD, POST")

    async def _tell(self, ask: Ask) -> Reply:
        return Reply(200, self._metadata, headers=[(b"cache-control", b"max-age=300")])

    async def _register(self, ask: Ask) -> Reply:
        rate, burst = _REGISTRATIONS
        given, wait = await self._store.spend(f"oauth-register:v1/{ask.address}", 1, rate=rate, burst=burst)
        if not given:
            raise Refused("slow_down", "too many registrations from this address", status=429, after=wait)
        return answer(self._registrations.register(ask.body), 201)


def _described(issuer: str) -> bytes:
    """What clients read first (RFC 8414)."""
    page: dict[str, Any] = {
        "issuer": issuer,
        "authorization_endpoint": issuer + AUTHORIZE,
        "token_endpoint": issuer + TOKEN,
        "revocation_endpoint": issuer + REVOKE,
        "registration_endpoint": issuer + REGISTER,
        "scopes_supported": ALL_SCOPES,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "client_id_metadata_document_supported": True,
    }
    return orjson.dumps(page)


def _not_allowed(methods: str) -> Reply:
    return Reply(405, b'{"error":"invalid_request"}', headers=[(b"allow", methods.encode())])
