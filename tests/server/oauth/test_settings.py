"""The switch, and what an operator sees of logins: settings, metadata, and the token commands."""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import pytest

from doris_mcp_server import tokens
from doris_mcp_server.auth.challenge import Resource, Resources
from doris_mcp_server.auth.opaque import REVOKED, Tokens
from doris_mcp_server.clusters import Account, Bound
from doris_mcp_server.config import Settings, load
from doris_mcp_server.errors import ConfigError, InvalidArgument
from doris_mcp_server.oauth.codes import Allowed
from doris_mcp_server.oauth.grants import Grants, new_grant
from doris_mcp_server.state.bus import Bus
from doris_mcp_server.state.local import LocalStore

from .conftest import ISSUER, KEY, RESOURCE, Server, told

GOOD = {
    "DORIS_MCP_OAUTH": "true",
    "DORIS_MCP_PUBLIC_URL": RESOURCE,
    "DORIS_MCP_TOKEN_KEY": KEY,
    "DORIS_HOST": "doris.example",
}


def test_it_is_off_unless_it_is_switched_on() -> None:
    assert load(environ={}).oauth is False
    assert load(environ=GOOD).oauth is True


@pytest.mark.parametrize("name", ["DORIS_MCP_PUBLIC_URL", "DORIS_MCP_TOKEN_KEY", "DORIS_HOST"])
def test_what_it_needs_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is not") as caught:
        load(environ={key: value for key, value in GOOD.items() if key != name})
    assert caught.value.hint is not None and name in caught.value.hint


def test_several_clusters_are_as_good_as_one_host() -> None:
    cluster = {"frontends": ["fe"], "accounts": {"default": {"user": "root"}}}
    environ = {**GOOD, "DORIS_HOST": "", "DORIS_MCP_CLUSTERS": json.dumps({"sales": cluster})}
    assert load(environ=environ).oauth is True


def test_passwords_are_never_sent_in_the_clear() -> None:
    with pytest.raises(ConfigError, match="is not https"):
        load(environ=GOOD | {"DORIS_MCP_PUBLIC_URL": "http://mcp.example.com/mcp"})
    for here in ("http://127.0.0.1:3000/mcp", "http://localhost:3000/mcp", "http://[::1]:3000/mcp"):
        assert load(environ=GOOD | {"DORIS_MCP_PUBLIC_URL": here}).oauth is True


def test_it_lets_a_server_listen_beyond_loopback() -> None:
    assert load({"transport": "http", "host": "0.0.0.0"}, GOOD).oauth is True


def servers(settings: Settings) -> Any:
    scope = {"scheme": "http", "headers": [(b"host", b"mcp.example.com")]}
    found: Resource = Resources(settings).of(scope)
    return json.loads(found.metadata).get("authorization_servers")


def test_the_resource_names_it_before_the_others() -> None:
    others = {"authorization_servers": ("https://login.example.com",)}
    assert servers(Settings(public_url=RESOURCE, oauth=True)) == [ISSUER]
    assert servers(Settings(public_url=RESOURCE, oauth=True, **others)) == [ISSUER, "https://login.example.com"]
    assert servers(Settings(public_url=RESOURCE, **others)) == ["https://login.example.com"]


async def test_its_metadata_says_what_clients_look_for(server: Server) -> None:
    status, found = told(await server.ask("GET", "/.well-known/oauth-authorization-server"))
    assert status == 200
    assert found["issuer"] == ISSUER
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert found["token_endpoint_auth_methods_supported"] == ["none"]
    assert found["authorization_response_iss_parameter_supported"] is True
    assert found["client_id_metadata_document_supported"] is True
    for name in ("authorization", "token", "revocation", "registration"):
        assert found[f"{name}_endpoint"].startswith(f"{ISSUER}/oauth/")
    assert (await server.ask("POST", "/.well-known/oauth-authorization-server")).status == 405


# -- the token commands ------------------------------------------------------------------------------------------


class Operator:
    """What somebody with the settings of a lone host does."""

    def __init__(self, directory: Path) -> None:
        self.settings = Settings(
            token_key=KEY,
            state_dir=str(directory),
            public_url=RESOURCE,
            doris_host="fe",
            oauth=True,
            ctl_socket="/none",
        )
        self.store = LocalStore(str(directory))
        self.tokens = Tokens(self.store, Bus(), KEY)
        self.grants = Grants(self.store, self.tokens, KEY, RESOURCE)

    async def logged_in(self) -> tuple[str, str]:
        """(access token's id, grant's id)"""
        bound = Bound(cluster="sales", account=Account(user="ann", password="secret-password"))
        allowed = Allowed(new_grant(), "c.x", "A client", ("catalog:read",), bound)
        issued = await self.grants.begin(allowed)
        return issued.access.split("_")[1], allowed.grant

    async def run(self, action: str, **arguments: Any) -> int:
        args = argparse.Namespace(action=action, json=True, **arguments)
        return await tokens.run(args, self.settings)


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


async def test_an_operator_sees_logins_and_their_tokens_with_the_client(
    operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    id, grant = await operator.logged_in()
    assert await operator.run("list") == 0
    text = capsys.readouterr().out
    access, login = json.loads(text)
    assert (access["id"], access["kind"], access["grant"]) == (id, "opaque", grant)
    assert (login["id"], login["kind"]) == (grant, "login")
    for shown in (access, login):
        assert (shown["name"], shown["client"]) == ("ann@sales", "A client")
        assert shown["account"] == {"cluster": "sales", "user": "ann"}
    assert "secret-password" not in text
    for which in (id, grant):
        assert await operator.run("show", id=which) == 0
        assert json.loads(capsys.readouterr().out)["grant"] == grant
    assert await operator.run("show", id="g0") == 1


@pytest.mark.parametrize("by", ["token", "grant"])
async def test_an_operator_ends_a_login_by_either_of_its_ids(
    operator: Operator, by: str, capsys: pytest.CaptureFixture[str]
) -> None:
    id, grant = await operator.logged_in()
    other, _ = await operator.logged_in()
    assert await operator.run("revoke", id=id if by == "token" else grant) == 0
    assert await operator.grants.get(grant) is None
    denied = await operator.store.grown(REVOKED, None)
    assert denied is not None and grant in denied.until
    assert denied.until[grant] > time.time() + 59 * 86_400  # longer than the refresh token could have lived
    capsys.readouterr()
    assert await operator.run("list") == 0
    assert {shown["id"] for shown in json.loads(capsys.readouterr().out) if shown["kind"] == "opaque"} == {other}
    assert await operator.run("revoke", id=grant) == 1


async def test_a_login_is_not_rotated_by_hand(operator: Operator) -> None:
    id, _ = await operator.logged_in()
    with pytest.raises(InvalidArgument, match="renews it by itself"):
        await operator.run("rotate", id=id, overlap=60.0)


@pytest.mark.parametrize(("name", "free"), [("ann@default", False), ("@default", False), ("ann@example.com", True)])
async def test_no_operator_issues_a_token_in_the_name_of_somebody_who_logs_in(
    operator: Operator, name: str, free: bool
) -> None:
    arguments: dict[str, Any] = {"scopes": None, "ttl": None, "jwt": False, "doris_user": None, "cluster": None}
    arguments |= {"doris_password_file": None, "doris_database": None}
    if free:
        assert await operator.run("issue", name=name, **arguments) == 0
    else:
        with pytest.raises(InvalidArgument, match="logs in with a Doris account"):
            await operator.run("issue", name=name, **arguments)
