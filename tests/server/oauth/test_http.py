"""The authorization server as a process serves it: who may ask, how much, what is counted and what is logged."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
import pytest_asyncio

from doris_mcp_server import ctl, sandbox
from doris_mcp_server.sandbox.endpoint import Sandbox
from doris_mcp_server.sandbox.options import Options

from ...conftest import LIMIT, Running, serving
from ...login import Pkce
from ...ports import free_port
from ..conftest import modern
from .conftest import CALLBACK, KEY, inputs_of

PASSWORD = "ann's-secret"
pytestmark = pytest.mark.asyncio(loop_scope="module")


class Site:
    """A server with one account in its Doris."""

    def __init__(self, server: Running, http: aiohttp.ClientSession) -> None:
        self.server = server
        self.http = http
        self.proof = Pkce()

    async def send(self, method: str, path: str, **more: Any) -> tuple[int, str, Any]:
        async with self.http.request(method, self.server.url + path, allow_redirects=False, **more) as answer:
            return answer.status, await answer.text(), answer.headers

    async def client(self) -> str:
        body = {"client_name": "Over HTTP", "redirect_uris": [CALLBACK]}
        return str(json.loads((await self.send("POST", "/oauth/register", json=body))[1])["client_id"])

    async def page(self, client: str) -> tuple[dict[str, str], dict[str, str]]:
        """The form's fields, and the cookie."""
        asked = {"response_type": "code", "client_id": client, "redirect_uri": CALLBACK, "resource": self.server.url}
        asked |= {"code_challenge": self.proof.challenge, "code_challenge_method": "S256"}
        asked["resource"] += "/mcp"
        status, text, headers = await self.send("GET", f"/oauth/authorize?{urlencode(asked)}")
        assert status == 200, text
        return inputs_of(text), {"cookie": headers["set-cookie"].partition(";")[0]}

    async def tokens(self, client: str) -> dict[str, Any]:
        form, cookie = await self.page(client)
        form |= {"user": "ann", "password": PASSWORD, "do": "allow"}
        status, text, headers = await self.send("POST", "/oauth/authorize", data=form, headers=cookie)
        assert status == 303, text
        code = headers["location"].partition("code=")[2].partition("&")[0]
        form = {"grant_type": "authorization_code", "code": code, "code_verifier": self.proof.verifier}
        form |= {"client_id": client, "redirect_uri": CALLBACK}
        status, text, _ = await self.send("POST", "/oauth/token", data=form)
        assert status == 200, text
        found: dict[str, Any] = json.loads(text)
        return found

    async def call(self, token: str, sql: str) -> tuple[int, Any]:
        request = modern("tools/call", {"name": "execute_query", "arguments": {"sql": sql}})
        request["headers"]["authorization"] = f"Bearer {token}"
        status, text, _ = await self.send("POST", "/mcp", **request)
        return status, json.loads(json.loads(text)["result"]["content"][0]["text"]) if status == 200 else text


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    file = tmp_path_factory.mktemp("engine") / "accounts.json"
    file.write_text(json.dumps([{"user": "ann", "password": PASSWORD, "grants": ["internal.ssb.*"]}]))
    running = await sandbox.start("127.0.0.1", 0, "root", "root-password", 100, options=Options(accounts=file))
    yield running
    await running.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory, engine: Sandbox) -> AsyncIterator[Site]:
    port = str(free_port())
    variables = {
        "DORIS_MCP_OAUTH": "true",
        "DORIS_MCP_PUBLIC_URL": f"http://127.0.0.1:{port}/mcp",
        "DORIS_MCP_TOKEN_KEY": KEY,
        "DORIS_HOST": f"127.0.0.1:{engine.port}",
        "DORIS_PASSWORD": "root-password",
        "DORIS_MCP_ALLOWED_HOSTS": "mcp.example.com",
    }
    timeout = aiohttp.ClientTimeout(total=LIMIT)
    async with (
        serving(tmp_path_factory.mktemp("server"), "--port", port, **variables) as server,
        aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as http,
    ):
        await server.said("doris answers")
        yield Site(server, http)


async def test_a_login_over_http_asks_doris_as_the_user_and_leaves_no_secret_in_the_log(site: Site) -> None:
    client = await site.client()
    given = await site.tokens(client)
    status, answer = await site.call(given["access_token"], "SELECT current_user()")
    assert status == 200 and answer["rows"][0][0].startswith("'ann'")
    form, cookie = await site.page(client)
    form |= {"user": PASSWORD, "password": "guess-4711", "do": "allow"}
    assert (await site.send("POST", "/oauth/authorize", data=form, headers=cookie))[0] == 403
    await site.server.said("oauth: logged in", principal="ann@default", client="Over HTTP")
    await site.server.said("oauth: not logged in", outcome="wrong")
    log = json.dumps(site.server.lines)
    for secret in (PASSWORD, "guess-4711", given["access_token"], given["refresh_token"], "dmcp_code_"):
        assert secret not in log
    metrics = (await site.send("GET", "/metrics"))[1]
    for line in (
        'doris_mcp_oauth_logins_total{outcome="ok"} 1.0',
        'doris_mcp_oauth_logins_total{outcome="wrong"} 1.0',
        'doris_mcp_oauth_codes_total{outcome="redeemed"} 1.0',
    ):
        assert line in metrics


async def test_a_form_is_taken_from_its_own_origin_and_from_nobody_else(site: Site) -> None:
    form, cookie = await site.page(await site.client())
    form["do"] = "deny"
    own = site.server.url
    for origin, status in ((own, 303), ("null", 303), ("https://evil.example", 403)):
        headers = cookie | {"origin": origin}
        assert (await site.send("POST", "/oauth/authorize", data=form, headers=headers))[0] == status
    for path in ("/oauth/token", "/oauth/register", "/oauth/revoke"):
        assert (await site.send("POST", path, data=form, headers={"origin": "null"}))[0] == 403


async def test_another_host_name_is_refused(site: Site) -> None:
    for path in ("/oauth/authorize", "/.well-known/oauth-authorization-server"):
        assert (await site.send("GET", path, headers={"host": "evil.example"}))[0] == 421
        assert (await site.send("GET", path, headers={"host": "mcp.example.com"}))[0] in (200, 400)


async def test_a_body_without_end_is_cut(site: Site) -> None:
    assert (await site.send("POST", "/oauth/token", data=b"a" * (1 << 16)))[0] == 400
    assert (await site.send("POST", "/oauth/token", data=b"a" * ((1 << 16) + 1)))[0] == 413

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"a" * 4096

    assert (await site.send("POST", "/oauth/register", data=chunks()))[0] == 413


async def test_headers_that_come_twice_are_refused(site: Site) -> None:
    headers = [("content-type", "application/json"), ("content-type", "application/x-www-form-urlencoded")]
    assert (await site.send("POST", "/oauth/token", data=b"a=b", headers=headers))[0] == 400


async def test_a_draining_host_begins_nothing(site: Site) -> None:
    await ctl.ask(site.server.ctl, {"do": "drain", "for": 60})
    try:
        for method, path in (("GET", "/oauth/authorize"), ("POST", "/oauth/token"), ("POST", "/oauth/authorize")):
            status, _, headers = await site.send(method, path)
            assert status == 503 and "retry-after" in headers
    finally:
        await ctl.ask(site.server.ctl, {"do": "undrain"})


async def test_a_user_whom_doris_does_not_know_any_more_has_to_log_in_again(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With a Doris of its own, which comes back with another password."""
    accounts = tmp_path / "accounts.json"

    async def start(port: int, password: str) -> Sandbox:
        accounts.write_text(json.dumps([{"user": "ann", "password": password, "grants": ["internal.ssb.*"]}]))
        return await sandbox.start("127.0.0.1", port, "root", "root-password", 100, options=Options(accounts=accounts))

    doris = await start(0, PASSWORD)
    port = str(free_port())
    variables = {"DORIS_MCP_OAUTH": "true", "DORIS_MCP_PUBLIC_URL": f"http://127.0.0.1:{port}/mcp"}
    variables |= {
        "DORIS_MCP_TOKEN_KEY": KEY,
        "DORIS_HOST": f"127.0.0.1:{doris.port}",
        "DORIS_PASSWORD": "root-password",
    }
    timeout = aiohttp.ClientTimeout(total=LIMIT)
    async with (
        serving(tmp_path_factory.mktemp("own"), "--port", port, **variables) as server,
        aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as http,
    ):
        await server.said("doris answers")
        own = Site(server, http)
        client = await own.client()
        given = await own.tokens(client)
        where = doris.port
        await doris.close()
        doris = await start(where, "changed")
        async with asyncio.timeout(LIMIT):
            answer = {"error": {"kind": "doris_unavailable"}}
            while answer["error"]["kind"] == "doris_unavailable":  # until it is back
                status, answer = await own.call(given["access_token"], "SELECT 1")
                assert status == 200
        assert answer["error"]["kind"] == "doris_refused_login"
        assert answer["error"]["hint"].startswith("Log in again")
        await server.said("oauth: Doris refuses an account, its grant is ended")
        status, _ = await own.call(given["access_token"], "SELECT 1")
        assert status == 401
        form = {"grant_type": "refresh_token", "client_id": client, "refresh_token": given["refresh_token"]}
        status, text, _ = await own.send("POST", "/oauth/token", data=form)
        assert (status, json.loads(text)["error"]) == (400, "invalid_grant")
    await doris.close()
