"""What a request costs the store: nothing, once its token and its session are known. Every command Redis gets is read.

What runs beside the requests is told by the names it asks for, and looked at by no request.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis.asyncio as aioredis

from doris_mcp_server.auth.opaque import Tokens
from doris_mcp_server.config import Settings
from doris_mcp_server.state import open_store
from doris_mcp_server.state.bus import Bus

from ..echoes import ECHO
from ..redis_server import PASSWORD
from .conftest import LIMIT, Launch, Running, legacy, modern

CALLS = 1_000
TOKEN_KEY = "ab" * 32
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
# What was verified stays so for the whole test: no call of it is the first in two seconds.
KNOWN = """
import sys
from doris_mcp_server import auth, cli, sessions
auth.POSITIVE_CACHE = sessions.WARM = 600
sys.exit(cli.main(sys.argv[1:]))
"""
BESIDE = {"denied:v1", "keys", "config:v1", "member:v1", "events", "PING", "HELLO", "AUTH", "CLIENT"}
"""Families of what is looked at or told every few seconds, and what a connection begins with."""


def families(command: str) -> set[str]:
    """What a command of Redis is about."""
    return {part.split("/")[0].split(":", 1)[1] for part in command.split() if part.startswith("doris-mcp:")}


@pytest.fixture
def variables(redis_port: int) -> dict[str, str]:
    return {
        "REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        "REDIS_PASSWORD": PASSWORD,
        "DORIS_MCP_TOKEN_KEY": TOKEN_KEY,
        **ECHO,
    }


@pytest.fixture
async def token(variables: dict[str, str]) -> str:
    store = open_store(Settings(redis_url=variables["REDIS_URL"], redis_password=PASSWORD))
    text, _ = await Tokens(store, Bus(), TOKEN_KEY).issue("ann", ("catalog:read",), None)
    await store.close()
    return text


@pytest.fixture
async def client(token: str) -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=LIMIT)
    async with aiohttp.ClientSession(timeout=timeout, headers={"authorization": f"Bearer {token}"}) as session:
        yield session


class Caller:
    """Calls a tool, in turn in one era and in the other."""

    def __init__(self, client: aiohttp.ClientSession, server: Running) -> None:
        self._client = client
        self._url = f"{server.url}/mcp"
        self._session: dict[str, str] = {}

    async def begin(self) -> None:
        async with self._client.post(self._url, **legacy("initialize", HELLO)) as response:
            await response.read()
            self._session = {"mcp-session-id": response.headers["mcp-session-id"]}

    async def call(self, times: int) -> None:
        params = {"name": "echo", "arguments": {"text": "hello"}}
        old = legacy("tools/call", params)
        requests: list[dict[str, Any]] = [
            modern("tools/call", params),
            old | {"headers": old["headers"] | self._session},
        ]
        for n in range(times):
            async with self._client.post(self._url, **requests[n % 2]) as response:
                assert response.status == 200, await response.text()
                await response.read()


async def watched(redis_port: int, what: Any) -> Counter[str]:
    """What the servers asked Redis for meanwhile: how often each family, and each command that has none."""
    admin = aioredis.Redis(port=redis_port, password=PASSWORD)
    seen: Counter[str] = Counter()
    async with admin.monitor() as monitor:
        await what
        await admin.echo("over")
        async with asyncio.timeout(LIMIT):
            while (told := await monitor.next_command())["command"] != "ECHO over":
                if told["client_type"] != "lua":  # a part of a script, which has been told already
                    seen.update(families(told["command"]) or {told["command"].split()[0]})
    await admin.aclose()
    return seen


@pytest.mark.parametrize("limits", ["", "principal=600000/m, tool=600000/m, address=600000/m"])
async def test_a_thousand_warm_calls_ask_the_store_for_nothing(
    limits: str, launch: Launch, variables: dict[str, str], client: aiohttp.ClientSession, redis_port: int
) -> None:
    async with launch(program=("-c", KNOWN), **variables, DORIS_MCP_RATE_LIMITS=limits) as server:
        caller = Caller(client, server)
        await caller.begin()
        cold = await watched(redis_port, caller.call(2))
        assert cold["token:v1"] == 0  # `begin` was the first
        seen = await watched(redis_port, caller.call(CALLS))
        permits = seen.pop("permits:v1", 0)  # taken beside the calls, more each time
        assert bool(limits) == bool(permits) and permits < CALLS / 10
        assert set(seen) <= BESIDE, seen
        unknown = await watched(redis_port, _shown(client, server, "Bearer dmcp_" + "0" * 12 + "_" + "a" * 43))
        assert unknown["token:v1"] == 1  # which this would have seen


async def _shown(client: aiohttp.ClientSession, server: Running, authorization: str) -> None:
    request = modern("tools/list")
    headers = request["headers"] | {"authorization": authorization}
    async with client.post(f"{server.url}/mcp", json=request["json"], headers=headers) as response:
        assert response.status == 401


async def test_metrics_say_how_the_store_does(
    launch: Launch, variables: dict[str, str], client: aiohttp.ClientSession, token: str
) -> None:
    async def shown(server: Running) -> dict[str, float]:
        async with client.get(f"{server.url}/metrics") as response:
            lines = [line.rsplit(" ", 1) for line in (await response.text()).splitlines() if line[0] != "#"]
        return {name: float(value) for name, value in lines}

    async def until(server: Running, name: str, value: float) -> dict[str, float]:
        async with asyncio.timeout(LIMIT):
            while (metrics := await shown(server)).get(name) != value:
                await asyncio.sleep(0.1)
        return metrics

    async with launch(**variables) as server:
        await until(server, "doris_mcp_store_up", 1)
        await Caller(client, server).begin()
        metrics = await shown(server)
        assert metrics['doris_mcp_store_operations_total{op="get",outcome="ok"}'] >= 1
        assert metrics["doris_mcp_revoked_tokens"] == 0
        store = open_store(Settings(redis_url=variables["REDIS_URL"], redis_password=PASSWORD))
        tokens = Tokens(store, Bus(), TOKEN_KEY)
        await tokens.revoke([record.id for record in await tokens.all()])
        await store.close()
        await until(server, "doris_mcp_revoked_tokens", 1)


async def test_metrics_say_when_the_store_is_away(launch: Launch, tmp_path: Path) -> None:
    away = {"REDIS_URL": f"unix://{tmp_path}/nobody", "DORIS_MCP_TOKEN_KEY": TOKEN_KEY}
    async with launch(**away) as server, aiohttp.ClientSession() as http:
        async with asyncio.timeout(LIMIT):
            while True:
                async with http.get(f"{server.url}/metrics") as response:
                    text = await response.text()
                if 'doris_mcp_store_operations_total{op="ping",outcome="unavailable"}' in text:
                    break
                await asyncio.sleep(0.1)
        assert "doris_mcp_store_up 0.0" in text
