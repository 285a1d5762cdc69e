"""The authorization server alone: asked directly, with a store in memory and a Doris that knows one account."""

import asyncio
import re
from dataclasses import dataclass, field
from html import unescape
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson
import pytest

from doris_mcp_server.auth import Verifier
from doris_mcp_server.clusters import Account
from doris_mcp_server.config import Settings
from doris_mcp_server.doris.routes import Routes
from doris_mcp_server.errors import DorisRefusedLogin, DorisUnavailable
from doris_mcp_server.keys import KeyRing
from doris_mcp_server.oauth import Ask, OAuth, Reply
from doris_mcp_server.oauth.documents import Documents
from doris_mcp_server.observe import Metrics
from doris_mcp_server.state.bus import Bus
from doris_mcp_server.state.local import LocalStore

from ...login import Pkce

KEY = "cd" * 32
ISSUER = "https://mcp.example.com"
RESOURCE = f"{ISSUER}/mcp"
CALLBACK = "http://127.0.0.1/callback"
PASSWORD = "ann's password"


@dataclass
class Doris:
    """Stands for `Routes`: which accounts Doris lets in, and whether it is there."""

    clusters: dict[str, Any] = field(default_factory=lambda: {"sales": None, "logs": None})
    passwords: dict[str, str] = field(default_factory=lambda: {"ann": PASSWORD, "bob": "bob's"})
    away: bool = False
    asked: list[str] = field(default_factory=list)
    gate: asyncio.Event | None = None  # holds every answer back until it is set

    def cluster(self, name: str) -> "Doris":
        assert name in self.clusters
        return self

    async def admit(self, account: Account) -> None:
        self.asked.append(account.user)
        if self.gate is not None:
            await self.gate.wait()
        if self.away:
            raise DorisUnavailable("away")
        if self.passwords.get(account.user) != account.password:
            raise DorisRefusedLogin("no")


class Counted(Metrics):
    """Metrics that tell a test what was counted."""

    def __init__(self) -> None:
        self.counted: list[tuple[str, str]] = []

    def oauth(self, what: str, outcome: str) -> None:
        self.counted.append((what, outcome))


class Server:
    """One worker, and what a browser and a client do with it."""

    def __init__(self, store: LocalStore | None = None, doris: Doris | None = None, **documents: Any) -> None:
        self.store = store or LocalStore()
        self.doris = doris or Doris()
        self.metrics = Counted()
        settings = Settings(token_key=KEY, public_url=RESOURCE, oauth=True)
        self.verifier = Verifier(settings, self.store, Bus())
        self.oauth = OAuth(
            settings,
            store=self.store,
            verifier=self.verifier,
            routes=cast("Routes", self.doris),
            keys=KeyRing([bytes(32)]),
            metrics=self.metrics,
            documents=Documents(self.store, **documents) if documents else None,
        )
        self.cookie = b""
        self.address = "192.0.2.7"
        self.proof = Pkce()

    async def ask(self, method: str, path: str, query: bytes = b"", body: bytes = b"", **headers: str) -> Reply:
        given = {name.replace("_", "-").encode(): value.encode("latin-1") for name, value in headers.items()}
        if self.cookie:
            given[b"cookie"] = self.cookie
        return await self.oauth.answer(Ask(method, path, query, given, body, self.address))

    async def post(self, path: str, /, **form: str | None) -> Reply:
        sent = urlencode({name: value for name, value in form.items() if value is not None})
        return await self.ask("POST", path, body=sent.encode(), content_type="application/x-www-form-urlencoded")

    async def register(self, **metadata: Any) -> dict[str, Any]:
        document = {"client_name": "A client", "redirect_uris": [CALLBACK]} | metadata
        reply = await self.ask("POST", "/oauth/register", body=orjson.dumps(document))
        found: dict[str, Any] = orjson.loads(reply.body)
        return found | {"status": reply.status}

    async def client(self, **metadata: Any) -> str:
        return str((await self.register(**metadata))["client_id"])

    async def show(self, client: str, **changes: str | None) -> Reply:
        """The login page for this client's request; None leaves a parameter out."""
        asked: dict[str, str | None] = {
            "response_type": "code",
            "client_id": client,
            "redirect_uri": CALLBACK,
            "state": "a state",
            "code_challenge": self.proof.challenge,
            "code_challenge_method": "S256",
            "resource": RESOURCE,
            "scope": "catalog:read query:execute",
        }
        asked |= changes
        query = urlencode({name: value for name, value in asked.items() if value is not None})
        reply = await self.ask("GET", "/oauth/authorize", query.encode())
        if found := dict(reply.headers).get(b"set-cookie"):
            self.cookie = found.partition(b";")[0]
        return reply

    async def decide(self, page: Reply, **changes: str | None) -> Reply:
        """Fill in the form of a page as a browser would, and send it."""
        form: dict[str, str | None] = dict(inputs(page)) | {"user": "ann", "password": PASSWORD, "do": "allow"}
        form |= {"cluster": "sales"} | changes
        return await self.post("/oauth/authorize", **form)

    async def code(self, client: str, **changes: str | None) -> str:
        return answered(await self.decide(await self.show(client, **changes)))["code"]

    async def redeem(self, client: str, code: str, /, **changes: str | None) -> tuple[int, dict[str, Any]]:
        form: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "client_id": client,
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": self.proof.verifier,
            "resource": RESOURCE,
        }
        return told(await self.post("/oauth/token", **form | changes))

    async def refresh(self, client: str, token: str, **changes: str | None) -> tuple[int, dict[str, Any]]:
        form: dict[str, str | None] = {"grant_type": "refresh_token", "client_id": client, "refresh_token": token}
        return told(await self.post("/oauth/token", **form | changes))

    async def tokens(self, client: str) -> dict[str, Any]:
        status, given = await self.redeem(client, await self.code(client))
        assert status == 200, given
        return given


def told(reply: Reply) -> tuple[int, dict[str, Any]]:
    return reply.status, orjson.loads(reply.body)


def answered(reply: Reply) -> dict[str, str]:
    """What a redirect brings the client."""
    assert reply.status == 303, reply.body.decode()
    return dict(parse_qsl(urlsplit(location(reply)).query))


def location(reply: Reply) -> str:
    return dict(reply.headers)[b"location"].decode()


def inputs(page: Reply) -> dict[str, str]:
    """What the form of a page would send of itself."""
    return inputs_of(page.body.decode())


def inputs_of(text: str) -> dict[str, str]:
    found = {}
    for tag in re.findall(r"<input[^>]*>", text):
        members = {name: unescape(value) for name, value in re.findall(r'([a-z]+)="([^"]*)"', tag)}
        if members.get("type") != "checkbox" or " checked" in tag:
            found[members["name"]] = members.get("value", "")
    return found


@pytest.fixture
def server() -> Server:
    return Server()
