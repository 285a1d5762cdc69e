"""Users of the fleet log in with their own Doris accounts, through the balancer, whichever host has which step."""

import asyncio
import json
from pathlib import Path

import aiohttp
import yaml

from ..browser import browsing
from ..certificate import make_certificate
from ..conftest import LIMIT
from ..login import Pkce, allow, asking, redeeming, waiting
from .fleet import APP, CONFIGURE, Fleet
from .load.calls import execute

PORT = 3000  # of the app hosts


async def test_a_code_of_one_host_is_redeemed_at_another(fleet: Fleet, tmp_path: Path) -> None:
    balancer = fleet.address("lb-1")
    mcp = f"https://{balancer}/mcp"
    certificate = make_certificate(tmp_path, balancer)
    given = tmp_path / "given.json"
    variables = {
        "nginx_tls_certificate": certificate.cert.read_text(),
        "nginx_tls_key": certificate.key.read_text(),
        "doris_mcp_environment": {"DORIS_MCP_OAUTH": "true", "DORIS_MCP_PUBLIC_URL": mcp},
    }
    given.write_text(json.dumps(variables))
    connector = aiohttp.TCPConnector(ssl=certificate.client())
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIMIT), connector=connector) as http:
        await fleet.playing(CONFIGURE, "-e", f"@{given}")
        try:
            token = await log_in(fleet, mcp, http, tmp_path)
            for url in (mcp, *(direct(fleet, host, "/mcp") for host in sorted(APP))):
                for modern in (True, False):
                    assert await query(http, url, balancer, token, modern) == (200, True), url
        finally:
            await fleet.playing(CONFIGURE)
    assert await query_by_operator(fleet) == (200, True)


async def log_in(fleet: Fleet, mcp: str, http: aiohttp.ClientSession, folder: Path) -> str:
    """An access token: the browser goes through the balancer, the code to another host than the one that gave it."""
    origin = mcp.removesuffix("/mcp")
    secrets = yaml.safe_load((fleet.dir / "secrets.yml").read_text())
    before = {host: await logins(fleet, host) for host in APP}
    proof = Pkce()
    async with waiting() as callback, browsing(folder) as page:
        body = {"client_name": "A client of the lab", "redirect_uris": ["http://127.0.0.1/callback"]}
        async with http.post(f"{origin}/oauth/register", json=body) as answer:
            client = (await answer.json())["client_id"]
        await page.go(asking(mcp, client, callback.uri, proof))
        await allow(page, "root", secrets["vault_doris_mcp_doris_password"])
        heard = await callback.answer()
    issued = [host for host in APP if await logins(fleet, host) > before[host]]
    assert len(issued) == 1, (before, issued)
    other = next(host for host in sorted(APP) if host not in issued)
    form = redeeming(mcp, client, callback.uri, proof, heard["code"])
    headers = {"host": fleet.address("lb-1")}
    async with http.post(direct(fleet, other, "/oauth/token"), data=form, headers=headers) as answer:
        tokens = await answer.json()
        assert answer.status == 200, tokens
    fleet.figures.append(f"login through the balancer: code of {issued[0]}, redeemed at {other}")
    return str(tokens["access_token"])


def direct(fleet: Fleet, host: str, path: str) -> str:
    """Past the balancer."""
    return f"http://{fleet.address(host)}:{PORT}{path}"


async def logins(fleet: Fleet, host: str) -> int:
    """How many users have logged in there."""
    said = await asyncio.to_thread(fleet.on, host, "sudo journalctl --output=cat -u doris-mcp.service")
    return said.count('"oauth: logged in"')


async def query(http: aiohttp.ClientSession, url: str, host: str, token: str, modern: bool) -> tuple[int, bool]:
    """The status, and whether there was a result."""
    method, body, headers = execute("login", "SELECT 1", modern=modern)
    headers |= {"authorization": f"Bearer {token}", "host": host}
    async with http.request(method, url, json=body, headers=headers) as answer:
        return answer.status, b"rows" in await answer.read()


async def query_by_operator(fleet: Fleet) -> tuple[int, bool]:
    """The same as before, without TLS and with the token of an operator."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIMIT)) as http:
        return await query(http, f"{fleet.url}/mcp", fleet.address("lb-1"), fleet.token, True)
