"""A whole login: a real browser, the balancer, two hosts with one Redis, and a Doris that knows who may see what.

The balancer asks the hosts strictly in turn, so no step of a login meets the host of the step before.
"""

import asyncio
import contextlib
import json
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import aiohttp
import httpx2
import pytest
import pytest_asyncio
from mcp.client.auth import OAuthClientProvider
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from doris_mcp_server import sandbox
from doris_mcp_server.sandbox.options import Options

from ..balancer import balancing
from ..browser import Page, browsing
from ..certificate import make_certificate
from ..conftest import LIMIT, Running, end, serving
from ..login import Callback, Pkce, allow, asking, redeeming, waiting
from ..ports import free_port
from ..redis_server import PASSWORD as REDIS_PASSWORD
from ..redis_server import answers, daemon
from ..server.conftest import legacy, modern

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANN, BEN, SECRET = "ann", "ben", "a password of theirs"  # two of them: nobody may try too often
MINE, OTHERS = "SELECT count(*) FROM ssb.customer", "SELECT count(*) FROM ssb.lineorder"
LOGGED_IN = "oauth: logged in"
CLIENTS = Path(__file__).parents[1] / "clients"


@dataclass
class Fleet:
    """Two hosts, the address clients use, and a browser."""

    hosts: tuple[Running, Running]
    origin: str
    page: Page
    http: aiohttp.ClientSession
    certificate: Path

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.certificate)

    @property
    def mcp(self) -> str:
        return f"{self.origin}/mcp"

    async def send(self, method: str, url: str, **more: Any) -> tuple[int, Any]:
        async with self.http.request(method, url, **more) as answer:
            return answer.status, await answer.json()

    async def register(self, redirect_uri: str) -> str:
        body = {"client_name": "A test's client", "redirect_uris": [redirect_uri]}
        status, client = await self.send("POST", f"{self.origin}/oauth/register", json=body)
        assert status == 201
        return str(client["client_id"])

    async def query(self, token: str, sql: str, era: Any = modern) -> tuple[int, Any]:
        request = era("tools/call", {"name": "execute_query", "arguments": {"sql": sql}})
        headers = request["headers"] | {"authorization": f"Bearer {token}"}
        async with self.http.post(self.mcp, json=request["json"], headers=headers) as answer:
            text = await answer.text()
            found = json.loads(text)
            return answer.status, json.loads(found["result"]["content"][0]["text"]) if answer.status == 200 else found

    async def refused_everywhere(self, token: str) -> None:
        """Wait until each host answers 401."""
        async with asyncio.timeout(LIMIT):
            for host in self.hosts:
                headers = {"authorization": f"Bearer {token}"}
                while True:
                    async with self.http.post(f"{host.url}/mcp", data=b"{}", headers=headers) as answer:
                        if answer.status == 401:
                            break


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    accounts = folder / "accounts.json"
    granted = {"password": SECRET, "grants": ["internal.ssb.customer"]}
    accounts.write_text(json.dumps([{"user": user} | granted for user in (ANN, BEN)]))
    engine = await sandbox.start("127.0.0.1", 0, "root", "root", 500, options=Options(accounts=accounts))
    certificate = make_certificate(folder)
    certificate.cert.rename(folder / "edge.crt")
    certificate.key.rename(folder / "edge.key")
    port, redis = free_port(), free_port()
    cluster = {"frontends": [f"127.0.0.1:{engine.port}"], "accounts": {"default": {"user": "root", "password": "root"}}}
    variables = {
        "DORIS_MCP_OAUTH": "true",
        "DORIS_MCP_PUBLIC_URL": f"https://127.0.0.1:{port}/mcp",
        "DORIS_MCP_TOKEN_KEY": "ef" * 32,
        "DORIS_MCP_CLUSTERS": json.dumps({"sales": cluster, "logs": cluster}),
        "REDIS_URL": f"redis://127.0.0.1:{redis}/0",
        "REDIS_PASSWORD": REDIS_PASSWORD,
    }
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(engine.close)
        stack.enter_context(daemon(folder, "redis", f"port {redis}\nrequirepass {REDIS_PASSWORD}"))
        await answers(redis)
        hosts = []
        for name in ("host-a", "host-b"):
            (folder / name).mkdir()
            host = await stack.enter_async_context(
                serving(folder / name, workers=2, DORIS_MCP_NODE_NAME=name, **variables)
            )
            await host.said("doris answers", 2)
            hosts.append(host)
        (folder / "edge").mkdir()
        members = [int(host.url.rpartition(":")[2]) for host in hosts]
        tls = {"__nginx_tls": True, "__nginx_tls_pair": folder / "edge", "nginx_tls_port": f"127.0.0.1:{port}"}
        await stack.enter_async_context(balancing(folder / "edge", members, in_turn=True, **tls))
        page = await stack.enter_async_context(browsing(folder))
        timeout = aiohttp.ClientTimeout(total=LIMIT)
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=folder / "edge.crt"))
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout, connector=connector))
        yield Fleet((hosts[0], hosts[1]), f"https://127.0.0.1:{port}", page, http, folder / "edge.crt")


async def log_in(page: Page, password: str = SECRET, user: str = ANN) -> None:
    await allow(page, user, password)


async def test_a_user_logs_in_and_another_host_redeems_the_code(fleet: Fleet) -> None:
    page, proof = fleet.page, Pkce()
    async with waiting() as callback:
        client = await fleet.register("http://127.0.0.1/callback")
        await page.go(asking(fleet.mcp, client, callback.uri, proof))
        assert "A program that calls itself A test's client" in await page.text()
        await log_in(page, "not the password")
        await page.until("document.querySelector('[role=alert]')")
        assert "Doris does not know this user with this password." in await page.text()
        assert await page.read("[document.querySelector('[name=user]').value, document.activeElement.name]") == [
            ANN,
            "password",
        ]
        before = [sum(line["message"] == LOGGED_IN for line in host.lines) for host in fleet.hosts]
        await page.fill("[name=password]", SECRET)
        await page.press_enter()
        answer = await callback.answer()
        await page.until("document.body.innerText.startsWith('Done')")
    assert answer.keys() == {"code", "state", "iss"}
    assert (answer["state"], answer["iss"]) == ("what the client remembers", fleet.origin)

    issued = await logged_in_at(fleet, before)
    other = fleet.hosts[1 - issued]
    form = redeeming(fleet.mcp, client, callback.uri, proof, answer["code"])
    status, given = await fleet.send("POST", f"{other.url}/oauth/token", data=form)
    assert status == 200, given

    # As that account, at every host, in both eras.
    for _ in range(2):
        for era in (modern, legacy):
            status, rows = await fleet.query(given["access_token"], MINE, era)
            assert (status, "rows" in rows) == (200, True), rows
            status, denied = await fleet.query(given["access_token"], OTHERS, era)
            assert (status, "denied" in denied["error"]["message"].lower()) == (200, True), denied

    refresh = {"grant_type": "refresh_token", "client_id": client, "refresh_token": given["refresh_token"]}
    status, renewed = await fleet.send("POST", f"{fleet.origin}/oauth/token", data=refresh)
    assert status == 200, renewed
    assert (await fleet.query(renewed["access_token"], MINE))[0] == 200
    gone = {"token": renewed["refresh_token"], "client_id": client}
    assert (await fleet.send("POST", f"{fleet.origin}/oauth/revoke", data=gone))[0] == 200
    for token in (given["access_token"], renewed["access_token"]):
        await fleet.refused_everywhere(token)
    refresh["refresh_token"] = renewed["refresh_token"]
    for host in fleet.hosts:
        status, refused = await fleet.send("POST", f"{host.url}/oauth/token", data=refresh)
        assert (status, refused["error"]) == (400, "invalid_grant")


async def logged_in_at(fleet: Fleet, before: list[int]) -> int:
    """Which host has logged a login since."""
    async with asyncio.timeout(LIMIT):
        while True:
            now = [sum(line["message"] == LOGGED_IN for line in host.lines) for host in fleet.hosts]
            if now != before:
                return 0 if now[0] > before[0] else 1
            await asyncio.sleep(0.02)


async def test_who_denies_gives_nothing(fleet: Fleet) -> None:
    async with waiting() as callback:
        client = await fleet.register(callback.uri)
        await fleet.page.go(asking(fleet.mcp, client, callback.uri, Pkce()))
        await fleet.page.click("button[value=deny]")
        answer = await callback.answer()
    assert (answer["error"], answer["state"], answer["iss"]) == (
        "access_denied",
        "what the client remembers",
        fleet.origin,
    )


async def test_a_code_that_comes_twice_ends_what_it_gave_on_every_host(fleet: Fleet) -> None:
    proof = Pkce()
    async with waiting() as callback:
        client = await fleet.register(callback.uri)
        await fleet.page.go(asking(fleet.mcp, client, callback.uri, proof))
        await log_in(fleet.page)
        code = (await callback.answer())["code"]
    form = redeeming(fleet.mcp, client, callback.uri, proof, code)
    status, given = await fleet.send("POST", f"{fleet.hosts[0].url}/oauth/token", data=form)
    assert status == 200
    assert (await fleet.query(given["access_token"], MINE))[0] == 200
    status, refused = await fleet.send("POST", f"{fleet.hosts[1].url}/oauth/token", data=form)
    assert (status, refused["error"]) == (400, "invalid_grant")
    await fleet.refused_everywhere(given["access_token"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_fits_a_narrow_screen_and_says_what_it_is_to_a_screen_reader(
    fleet: Fleet, scheme: str, tmp_path: Path
) -> None:
    page, uri = fleet.page, "https://app.example/callback"
    await page.do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    await page.do("Emulation.setDeviceMetricsOverride", width=320, height=700, deviceScaleFactor=1, mobile=True)
    try:
        await page.go(asking(fleet.mcp, await fleet.register(uri), uri, Pkce()))
        await log_in(page, "wrong")
        await page.until("document.querySelector('[role=alert]')")
        assert await page.read("document.documentElement.scrollWidth") == 320
        named = await page.named()
        wrong = "Doris does not know this user with this password."
        assert {("textbox", "User", wrong), ("textbox", "Password", wrong), ("combobox", "Cluster", "")} <= set(named)
        assert {("button", "Log in and allow", ""), ("button", "Deny", ""), ("group", "It may", "")} <= set(named)
        assert sum(role == "checkbox" and bool(name) for role, name, _ in named) == 3
        assert "The answer goes to app.example" in await page.text()
        text, ground = await page.read("(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))")
        assert contrast(text, ground) > 7
        await page.picture(tmp_path / f"{scheme}.png")
        assert (tmp_path / f"{scheme}.png").stat().st_size > 10_000
    finally:
        await page.do("Emulation.setEmulatedMedia", features=[])
        await page.do("Emulation.clearDeviceMetricsOverride")


def contrast(one: str, other: str) -> float:
    """WCAG's contrast of two colours as browsers write them."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour.strip("rgb()").split(",")[:3]]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


class Kept:
    """What the SDK's client keeps between its steps."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.info: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.info

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.info = client_info


def official(
    fleet: Fleet, callback: Callback, kept: Kept, user: Callable[[str], Awaitable[None]]
) -> OAuthClientProvider:
    """The SDK's own client of OAuth; `user` does what a person does at the address it opens."""

    async def heard() -> AuthorizationCodeResult:
        return AuthorizationCodeResult(**await callback.answer())

    metadata = OAuthClientMetadata(client_name="The SDK", redirect_uris=[callback.uri])
    return OAuthClientProvider(fleet.mcp, metadata, kept, user, heard)


async def ask(fleet: Fleet, auth: OAuthClientProvider, sql: str) -> Any:
    async with (
        httpx2.AsyncClient(auth=auth, timeout=LIMIT, verify=fleet.trust) as http,
        Client(streamable_http_client(fleet.mcp, http_client=http)) as client,
    ):
        result = await client.call_tool("execute_query", {"sql": sql})
        return result.structured_content


async def test_the_sdks_client_finds_the_way_in_by_itself_and_renews_its_tokens(fleet: Fleet) -> None:
    kept, opened = Kept(), 0

    async def user(url: str) -> None:
        nonlocal opened
        opened += 1
        await fleet.page.go(url)
        await log_in(fleet.page)

    async with waiting() as callback:
        auth = official(fleet, callback, kept, user)
        assert "rows" in await ask(fleet, auth, MINE)
        assert kept.tokens is not None
        assert kept.tokens.scope == "catalog:read cluster:read query:execute"
        first = kept.tokens
        auth.context.token_expiry_time = 1.0  # as if an hour had passed
        assert "rows" in await ask(fleet, auth, MINE)
        assert kept.tokens.access_token != first.access_token
        assert kept.tokens.refresh_token != first.refresh_token
    assert opened == 1


@pytest.mark.parametrize("version", ["sdk", "client"])
async def test_the_typescript_clients_find_it_too(fleet: Fleet, version: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *("node", CLIENTS / "login.mjs", fleet.mcp, version),
        env=os.environ | {"NODE_EXTRA_CA_CERTS": str(fleet.certificate)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(LIMIT):
            await fleet.page.go((await process.stdout.readline()).decode().strip())
            await log_in(fleet.page, user=BEN)
            told = json.loads(await process.stdout.readline())
    finally:
        await end(process)
    assert told == {"before": [[1]], "after": [[1]], "logins": 1, "renewed": True}


async def test_a_tool_beyond_the_scopes_leads_the_sdks_client_to_another_login(fleet: Fleet) -> None:
    """Step-up: the user allows little, the client needs more, and asks for it."""
    kept, opened = Kept(), []

    async def user(url: str) -> None:
        opened.append(dict(parse_qsl(url.partition("?")[2]))["scope"])
        await fleet.page.go(url)
        if len(opened) == 1:
            await fleet.page.click("[name='query:execute']")
        await log_in(fleet.page, user=BEN)

    async with waiting() as callback:
        assert "rows" in await ask(fleet, official(fleet, callback, kept, user), MINE)
        assert kept.tokens is not None and kept.tokens.scope is not None
        assert "query:execute" in kept.tokens.scope
    assert len(opened) == 2
    assert "query:execute" in opened[1]
