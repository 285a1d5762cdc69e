"""The limits of the login pages go by the same address as all others: a caller's own header does not choose it."""

from pathlib import Path

import aiohttp

from doris_mcp_server import sandbox

from ..conftest import serving

REGISTRATIONS = 40  # more than one address may ask for at once
CLIENT = {"client_name": "A client", "redirect_uris": ["http://127.0.0.1:1/callback"]}


async def registered(folder: Path, **settings: str) -> list[int]:
    """The status of each registration, every one with another address in its header."""
    engine = await sandbox.start("127.0.0.1", 0, "root", "root", 10)
    oauth = {
        "DORIS_MCP_OAUTH": "true",
        "DORIS_MCP_PUBLIC_URL": "http://127.0.0.1:3000/mcp",
        "DORIS_MCP_TOKEN_KEY": "ef" * 32,
        "DORIS_HOST": "127.0.0.1",
        "DORIS_PORT": str(engine.port),
        "DORIS_USER": "root",
        "DORIS_PASSWORD": "root",
    }
    try:
        async with serving(folder, **oauth, **settings) as server, aiohttp.ClientSession() as http:
            await server.said("doris answers")
            return [await register(http, server.url, number) for number in range(REGISTRATIONS)]
    finally:
        await engine.close()


async def register(http: aiohttp.ClientSession, url: str, number: int) -> int:
    headers = {"x-real-ip": f"192.0.2.{number}"}
    async with http.post(f"{url}/oauth/register", json=CLIENT, headers=headers) as answer:
        return answer.status


async def test_a_header_of_the_caller_is_not_believed(tmp_path: Path) -> None:
    statuses = await registered(tmp_path)
    assert statuses[0] == 201
    assert statuses[-1] == 429


async def test_the_header_of_a_trusted_balancer_is(tmp_path: Path) -> None:
    assert await registered(tmp_path, DORIS_MCP_TRUSTED_PROXIES="127.0.0.1") == [201] * REGISTRATIONS
