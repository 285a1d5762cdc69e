"""The token endpoint: codes and refresh tokens become access tokens; and the end of what was given (RFC 7009)."""

from typing import Final

from doris_mcp_server.auth.opaque import Tokens, token_id
from doris_mcp_server.errors import DorisUnavailable
from doris_mcp_server.oauth.accounts import Accounts
from doris_mcp_server.oauth.codes import Codes, Replayed
from doris_mcp_server.oauth.grants import ACCESS, Grants, Held, Issued, Reused, new_grant
from doris_mcp_server.oauth.messages import Ask, Refused, Reply, answer, form
from doris_mcp_server.oauth.requests import check_resource
from doris_mcp_server.observe import Metrics, event

_NOT_GOOD: Final = "the refresh token is not good any more"


class TokenEndpoint:
    """Gives tokens that are good at `resource`, and takes them back."""

    def __init__(
        self, resource: str, *, codes: Codes, grants: Grants, tokens: Tokens, accounts: Accounts, metrics: Metrics
    ) -> None:
        self._resource = resource
        self._codes = codes
        self._grants = grants
        self._tokens = tokens
        self._accounts = accounts
        self._metrics = metrics

    async def give(self, ask: Ask) -> Reply:
        """Tokens for a code, or for a refresh token. Raises: Refused, StoreUnavailable."""
        given = form(ask)
        client = _client(ask, given)
        if (resource := given.get("resource")) is not None:
            check_resource(resource, self._resource)
        match given.get("grant_type"):
            case "authorization_code":
                issued = await self._redeem(given, client)
            case "refresh_token":
                issued = await self._refresh(given, client)
            case _:
                words = "grant_type can be authorization_code or refresh_token"
                raise Refused("unsupported_grant_type", words)
        return answer(
            {
                "access_token": issued.access,
                "token_type": "Bearer",
                "expires_in": int(ACCESS),
                "refresh_token": issued.refresh,
                "scope": " ".join(issued.scopes),
            }
        )

    async def take_back(self, ask: Ask) -> Reply:
        """End the grant that a token belongs to. What is no token of ours has ended already. Raises as `give`."""
        given = form(ask)
        client = _client(ask, given)
        token = given.get("token", "")
        if token_id(token) is None:
            held = await self._grants.find(token, client)
            grant = held.grant if held is not None else None
        else:
            record = await self._tokens.find(token)
            if record is not None and record.grant is None:
                raise Refused("unsupported_token_type", "this token was not given by a login")
            grant = await self._grants.get(record.grant) if record is not None and record.grant is not None else None
        if grant is not None and grant.client == client:
            await self._grants.end(grant.id)
            event("oauth: logged out", principal=grant.principal, client=grant.label)
        return answer({})

    async def _redeem(self, given: dict[str, str], client: str) -> Issued:
        try:
            allowed = await self._codes.redeem(
                given.get("code", ""),
                client=client,
                redirect_uri=given.get("redirect_uri", ""),
                verifier=given.get("code_verifier", ""),
                grant=new_grant(),
            )
        except Refused:
            self._metrics.oauth("code", "refused")
            raise
        except Replayed as replayed:
            self._metrics.oauth("code", "replayed")
            event("oauth: a code came twice, its grant is ended", grant=replayed.grant)
            await self._grants.end(replayed.grant)
            raise Refused("invalid_grant", "the code was used before; what it gave is ended") from None
        issued = await self._grants.begin(allowed)
        self._metrics.oauth("code", "redeemed")
        return issued

    async def _refresh(self, given: dict[str, str], client: str) -> Issued:
        held = await self._grants.find(given.get("refresh_token", ""), client)
        try:
            if held is None:
                raise Refused("invalid_grant", _NOT_GOOD)
            scopes = _narrowed(given, held)
            await self._check_account(held)
            issued, again = await self._grants.refresh(held, scopes)
        except Refused:
            self._metrics.oauth("refresh", "refused")
            raise
        except Reused:
            self._metrics.oauth("refresh", "reused")
            event("oauth: a refresh token came twice, its grant is ended", grant=held.grant.id if held else None)
            raise Refused("invalid_grant", _NOT_GOOD) from None
        self._metrics.oauth("refresh", "repeated" if again else "ok")
        return issued

    async def _check_account(self, held: Held) -> None:
        """Raises: Refused, and ends the grant, where Doris does not let its account in any more.

        A Doris that does not answer ends nothing: its statements will tell.
        """
        try:
            admitted = await self._accounts.admits(held.secret.bound)
        except DorisUnavailable:
            return
        if not admitted:
            await self._grants.end(held.grant.id)
            event("oauth: Doris refuses an account, its grant is ended", grant=held.grant.id)
            raise Refused("invalid_grant", "Doris does not let this account in any more")


def _client(ask: Ask, given: dict[str, str]) -> str:
    if b"authorization" in ask.headers:
        raise Refused("invalid_client", "clients have no secret here: send client_id in the body", status=401)
    if not (client := given.get("client_id", "")):
        raise Refused("invalid_request", "client_id is missing")
    return client


def _narrowed(given: dict[str, str], held: Held) -> tuple[str, ...]:
    """The scopes wanted, which can only be some of those that were allowed."""
    granted = held.grant.scopes
    if "scope" not in given:
        return granted
    wanted = set(given["scope"].split(" ")) - {"offline_access"}
    if not wanted <= set(granted):
        raise Refused("invalid_scope", f"allowed were {' '.join(granted)}")
    return tuple(scope for scope in granted if scope in wanted) or granted
