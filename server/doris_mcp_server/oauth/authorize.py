"""The login page's two requests: a client sends the user here (GET), and the user sends the form (POST).

Nothing is kept in between. A form counts only in the browser it was shown to: its request is sealed together with a
cookie of that browser, which no other site can read, set or have sent.
"""

import re
import secrets
from typing import Final

from doris_mcp_server.clusters import Bound
from doris_mcp_server.errors import DorisUnavailable
from doris_mcp_server.keys import KeyRing
from doris_mcp_server.oauth import page
from doris_mcp_server.oauth.accounts import Accounts, principal
from doris_mcp_server.oauth.clients import Client, Registrations, is_loopback
from doris_mcp_server.oauth.codes import Codes
from doris_mcp_server.oauth.documents import Documents, is_address
from doris_mcp_server.oauth.messages import Ask, Refused, Reply, fields, form
from doris_mcp_server.oauth.requests import Target, read, seal, target, unseal
from doris_mcp_server.observe import Metrics, event

_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}")
_STALE: Final = "This page is too old, or was opened in another browser. Go back to the program and start again."
_AWAY: Final = "Doris does not answer. Try again in a moment."


class Authorize:
    """The authorization endpoint of `issuer`, for tokens that are good at `resource`."""

    def __init__(
        self,
        issuer: str,
        resource: str,
        *,
        registrations: Registrations,
        documents: Documents,
        accounts: Accounts,
        codes: Codes,
        keys: KeyRing,
        metrics: Metrics,
    ) -> None:
        self._issuer = issuer
        self._resource = resource
        self._registrations = registrations
        self._documents = documents
        self._accounts = accounts
        self._codes = codes
        self._ring = keys.derive("oauth-form:v1")
        self._metrics = metrics
        # A __Host- cookie is this host's own: no other one of the domain can set it.
        secure = issuer.startswith("https:")
        self._cookie = "__Host-doris-mcp-login" if secure else "doris-mcp-login"
        self._flags = "; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")

    async def show(self, ask: Ask) -> Reply:
        """The login page for an authorization request."""
        try:
            asked = fields(ask.query)
            at = target(asked, await self._client(asked.get("client_id", ""), ask.address))
        except Refused as refused:
            return self._failed(refused)
        try:
            request = read(asked, at, self._resource)
        except Refused as refused:
            return self._tell(at, refused)
        browser = self._browser(ask) or secrets.token_urlsafe(32)
        # The same for all pages of a browser, so that two of them can be open.
        cookie = (b"set-cookie", f"{self._cookie}={browser}{self._flags}".encode())
        shown = page.login(request, seal(request, self._ring, browser), self._accounts.clusters)
        return page.reply(shown, headers=[cookie], redirect_uri=request.redirect_uri)

    async def decide(self, ask: Ask) -> Reply:
        """What the user said: the redirect with a code or a refusal, or the page again."""
        try:
            given = form(ask)
            browser = self._browser(ask)
            request = unseal(given.get("request", ""), self._ring, browser) if browser else None
            if request is None or ask.headers.get(b"sec-fetch-site", b"same-origin") != b"same-origin":
                raise Refused("invalid_request", _STALE)
        except Refused as refused:
            return self._failed(refused)
        if given.get("do") == "deny":
            self._count("denied")
            return page.redirect(request.url(self._issuer, error="access_denied"))
        scopes = tuple(scope for scope in request.scopes if scope in given)
        try:
            bound = await self._log_in(given, scopes, ask.address)
            code = await self._codes.issue(request, scopes, bound)
        except Refused as refused:
            entered = page.Entered(given.get("user", ""), given.get("cluster", ""), scopes, refused.words)
            shown = page.login(request, given["request"], self._accounts.clusters, entered)
            return page.reply(shown, refused.status, refused.headers, redirect_uri=request.redirect_uri)
        self._metrics.oauth("code", "issued")
        event("oauth: logged in", principal=principal(bound), client=request.label, scopes=" ".join(scopes))
        return page.redirect(request.url(self._issuer, code=code))

    async def _client(self, client_id: str, address: str) -> Client:
        if is_address(client_id):
            return await self._documents.find(client_id, address)
        if (client := self._registrations.find(client_id)) is None:
            raise Refused("invalid_client", "The program that sent you here is not known. It has to register anew.")
        return client

    async def _log_in(self, given: dict[str, str], scopes: tuple[str, ...], address: str) -> Bound:
        """Raises: Refused with words for the page."""
        if not scopes:
            raise Refused("invalid_scope", "Allow at least one of these, or deny.")
        user, password = given.get("user", ""), given.get("password", "")
        try:
            bound = await self._accounts.log_in(given.get("cluster", ""), user, password, address)
        except DorisUnavailable:
            self._count("doris_away", address)
            raise Refused("temporarily_unavailable", _AWAY, status=502, after=5) from None
        except Refused as refused:
            self._count("wrong" if refused.error == "access_denied" else "limited", address)
            raise
        self._count("ok")
        return bound

    def _count(self, outcome: str, address: str = "") -> None:
        self._metrics.oauth("login", outcome)
        if address:  # without the user's name: now and then somebody types the password there
            event("oauth: not logged in", outcome=outcome, address=address)

    def _tell(self, at: Target, refused: Refused) -> Reply:
        """An error for the client. Without a word of the user's, nobody is sent to a foreign host (RFC 9700 4.11.2)."""
        url = at.url(self._issuer, error=refused.error, error_description=refused.words)
        if is_loopback(at.redirect_uri):
            return page.redirect(url)
        return page.reply(page.problem("This login cannot begin", refused.words, back=url), refused.status)

    @staticmethod
    def _failed(refused: Refused) -> Reply:
        """An error that no client can be told."""
        shown = page.problem("This login cannot go on", refused.words)
        return page.reply(shown, refused.status, refused.headers if refused.after else ())

    def _browser(self, ask: Ask) -> str:
        """What the browser's cookie says; empty without one of ours."""
        for pair in ask.headers.get(b"cookie", b"").decode("latin-1").split(";"):
            name, _, value = pair.strip().partition("=")
            if name == self._cookie and _COOKIE.fullmatch(value):
                return value
        return ""
