"""Rate limits over HTTP: two hosts with one count, in both eras, on the lean path and through the SDK, and guessers."""

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from doris_mcp_server.answers import OVERLOADED
from doris_mcp_server.auth.opaque import Tokens
from doris_mcp_server.config import Settings
from doris_mcp_server.state import open_store
from doris_mcp_server.state.bus import Bus

from ..echoes import ECHO, messages, wait
from ..ports import free_port
from ..redis_server import PASSWORD, answers, daemon
from .conftest import LIMIT, Running, legacy, modern, serving

TOKEN_KEY = "ab" * 32
SMOKE = "smoke-token-0123456789"


class Fleet:
    """Two hosts on one Redis."""

    def __init__(self, hosts: list[Running], redis: Any, settings: Settings, http: aiohttp.ClientSession) -> None:
        self.hosts = hosts
        self.redis = redis
        self._settings = settings
        self._http = http

    async def token(self, name: str) -> str:
        store = open_store(self._settings)
        text, _ = await Tokens(store, Bus(), TOKEN_KEY).issue(name, ("catalog:read",), None)
        await store.close()
        return text

    async def ask(
        self, request: dict[str, Any], token: str, host: int = 0, address: str = ""
    ) -> tuple[int, Mapping[str, str], Any]:
        headers = request["headers"] | {"authorization": f"Bearer {token}"}
        if address:
            headers |= {"x-forwarded-for": address}
        async with self._http.post(f"{self.hosts[host].url}/mcp", json=request["json"], headers=headers) as response:
            text = await response.text()
            return response.status, response.headers, messages(text)[-1] if text else None

    async def statuses(self, times: int, request: dict[str, Any], token: str, **where: Any) -> Counter[int]:
        """What so many requests are answered, in turn on one host and on the other."""
        asked = [self.ask(request, token, n % len(self.hosts), **where) for n in range(times)]
        return Counter([status for status, *_ in await asyncio.gather(*asked)])

    async def until(self, name: str, value: float, host: int = 0) -> None:
        async with asyncio.timeout(LIMIT):
            while await self.metric(name, host) != value:
                await asyncio.sleep(0.1)

    async def metric(self, name: str, host: int = 0) -> float:
        async with self._http.get(f"{self.hosts[host].url}/metrics") as response:
            lines = (await response.text()).splitlines()
        return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name)), 0.0)


@contextlib.asynccontextmanager
async def fleet(tmp_path: Path, limits: str, **more: str) -> AsyncIterator[Fleet]:
    port = free_port()
    variables = {
        "REDIS_URL": f"redis://127.0.0.1:{port}/0",
        "REDIS_PASSWORD": PASSWORD,
        "DORIS_MCP_TOKEN_KEY": TOKEN_KEY,
        "DORIS_MCP_SMOKE_TOKEN": SMOKE,
        "DORIS_MCP_RATE_LIMITS": limits,
        **ECHO,
        **more,
    }
    settings = Settings(redis_url=variables["REDIS_URL"], redis_password=PASSWORD)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with daemon(tmp_path, "redis", f"port {port}\nrequirepass {PASSWORD}") as redis:
        await answers(port)
        async with (
            serving(tmp_path / "a", DORIS_MCP_NODE_NAME="a", **variables) as one,
            serving(tmp_path / "b", DORIS_MCP_NODE_NAME="b", **variables) as two,
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIMIT)) as http,
        ):
            yield Fleet([one, two], redis, settings, http)


def call(era: Any, **members: Any) -> dict[str, Any]:
    """A call of `echo`; with a member `task` it is not ordinary, and the SDK's to serve."""
    request: dict[str, Any] = era("tools/call", {"name": "echo", "arguments": {"text": "hello"}, **members})
    return request


async def test_both_eras_and_both_ways_count_as_one_and_each_caller_for_itself(tmp_path: Path) -> None:
    async with fleet(tmp_path, "principal=12/h, tool:test_wait=2/h") as it:
        ann, bob = await it.token("ann"), await it.token("bob")
        # The SDK is loaded on first need, by bob.
        assert await it.statuses(2, call(modern, task={}), bob) == {200: 2}
        seen: Counter[int] = Counter()
        for request in (call(modern), call(legacy), call(modern, task={}), call(legacy, task={})):
            seen += await it.statuses(10, request, ann)
        assert seen == {200: 12, 429: 28}
        for era in (modern, legacy):
            for members in ({}, {"task": {}}):
                status, headers, said = await it.ask(call(era, **members), ann)
                assert status == 429
                assert 0 < int(headers["retry-after"]) <= 300
                assert said["error"]["code"] == OVERLOADED
                assert "this caller may send 12 requests a hour" in said["error"]["message"]
        assert await it.statuses(2, call(modern), bob) == {200: 2}
        assert await it.statuses(30, call(modern), SMOKE) == {200: 30}  # a roll must be able to prove a host
        told = await it.hosts[0].said("rate limit reached")
        assert (told["limit"], told["of"], told["number"]) == ("principal", "ann", 12)
        counted = [await it.metric('doris_mcp_rate_limited_total{limit="principal"}', host) for host in (0, 1)]
        assert sum(counted) == 32


async def test_a_tool_is_limited_for_all_callers_together_and_the_answer_is_to_the_call(tmp_path: Path) -> None:
    async with fleet(tmp_path, "tool:echo=8/h") as it:
        callers = [await it.token(name) for name in ("ann", "bob")]
        seen: Counter[int] = Counter()
        for token in callers:
            for request in (call(modern), call(legacy), call(modern, task={}), call(legacy, task={})):
                seen += await it.statuses(2, request, token)
        assert seen == {200: 8, 429: 8}
        for era in (modern, legacy):
            for members in ({}, {"task": {}}):
                request = call(era, **members)
                request["json"]["id"] = 77
                status, headers, said = await it.ask(request, callers[0])
                assert (status, said["id"], said["error"]["code"]) == (429, 77, OVERLOADED)
                assert 0 < int(headers["retry-after"]) <= 450
        assert (await it.ask(modern("tools/list"), callers[0]))[0] == 200
        assert (await it.ask(call(modern), SMOKE))[0] == 200


async def test_addresses_are_those_a_trusted_proxy_names_and_guessers_lock_out_nobody_who_is_known(
    tmp_path: Path,
) -> None:
    proxies = {"DORIS_MCP_TRUSTED_PROXIES": "127.0.0.0/8"}
    async with fleet(tmp_path, "address=20/h, failure=4/h", **proxies) as it:
        ann = await it.token("ann")
        guess = "dmcp_" + "0" * 12 + "_" + "a" * 43
        for host in (0, 1):
            assert (await it.ask(call(modern), ann, host, address="203.0.113.9"))[0] == 200
        assert await it.statuses(10, call(modern), guess, address="203.0.113.9") == {401: 4, 429: 6}
        assert await it.statuses(4, call(modern), ann, address="203.0.113.9") == {200: 4}
        assert await it.statuses(6, call(modern), ann, address="203.0.113.9") == {200: 4, 429: 2}  # 20 from there
        for host in (0, 1):
            seen = [(await it.ask(call(modern), guess, host, address="203.0.113.10"))[0] for _ in range(5)]
            assert (seen.count(401), seen[-1]) == (4 - 4 * host, 429)
        late = await it.token("late")
        assert await it.statuses(2, call(modern), late, address="203.0.113.10") == {429: 2}  # a guess may be right
        assert await it.statuses(2, call(modern), late, address="203.0.113.11") == {200: 2}


async def test_without_trusted_proxies_nobody_chooses_his_address(tmp_path: Path) -> None:
    async with fleet(tmp_path, "address=5/h") as it:
        ann = await it.token("ann")
        asked = [it.ask(call(modern), ann, n % 2, address=f"203.0.113.{n}") for n in range(10)]
        assert Counter([status for status, *_ in await asyncio.gather(*asked)]) == {200: 5, 429: 5}


CAPS = {
    "principal": ("principal=3", "this caller may run 3 calls at once"),
    "tool": ("tool:test_wait=3", "3 calls of the tool test_wait may run at once"),
    "address": ("address=3", "3 calls from this address may run at once"),
}


@pytest.mark.parametrize("kind", CAPS)
async def test_calls_that_run_at_once_count_as_one_on_both_hosts_and_a_client_that_leaves_makes_room(
    tmp_path: Path, kind: str
) -> None:
    text, words = CAPS[kind]
    more = {"DORIS_MCP_CONCURRENCY_LIMITS": text, "DORIS_MCP_TRUSTED_PROXIES": "127.0.0.0/8"}
    here, there = "203.0.113.1", "203.0.113.2"
    quick = wait(modern, 0)
    async with fleet(tmp_path, "", **more) as it:
        ann, bob = await it.token("ann"), await it.token("bob")
        assert (await it.ask(wait(modern, 0, task={}), bob))[0] == 200  # the SDK is loaded on first need

        async def sit(host: int) -> None:
            while (await it.ask(wait(modern, 2 * LIMIT), ann, host, here))[0] == 429:  # one that looks was there first
                await asyncio.sleep(0.05)

        running = [asyncio.create_task(sit(n % 2)) for n in range(3)]
        async with asyncio.timeout(LIMIT):
            for host in (0, 1):
                while (await it.ask(quick, ann, host, here))[0] != 429:
                    await asyncio.sleep(0.05)
        for era in (modern, legacy):
            for members in ({}, {"task": {}}):
                request = wait(era, 0, **members)
                request["json"]["id"] = 77
                status, headers, said = await it.ask(request, ann, 1, here)
                assert (status, said["id"], said["error"]["code"]) == (429, 77, OVERLOADED)
                assert headers["retry-after"] == "1" and words in said["error"]["message"]
        assert await it.statuses(2, modern("tools/list"), ann, address=here) == {200: 2}, "which is no call"
        assert await it.statuses(2, quick, SMOKE, address=here) == {200: 2}
        assert await it.statuses(2, quick, bob, address=there) == {429 if kind == "tool" else 200: 2}
        counted = [await it.metric(f'doris_mcp_concurrency_limited_total{{limit="{kind}"}}', n) for n in (0, 1)]
        assert sum(counted) >= 4
        assert (await it.hosts[1].said("concurrency limit reached"))["limit"] == kind
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        async with asyncio.timeout(LIMIT):
            while (await it.ask(quick, ann, 0, here))[0] != 200:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("how", ["gone", "silent"])
async def test_with_the_store_away_each_host_lets_its_share_through(tmp_path: Path, how: str) -> None:
    async with fleet(tmp_path, "tool:echo=20/h") as it:
        token = await it.token("ann")
        for n in (0, 1):
            await it.until("doris_mcp_fleet_workers", 2, n)
            assert (await it.ask(modern("tools/list"), token, n))[0] == 200  # whose token each knows from now on
        if how == "gone":
            it.redis.kill()
        else:
            it.redis.send_signal(signal.SIGSTOP)
        assert await it.statuses(30, call(modern), token) == {200: 20, 429: 10}
        for n, host in enumerate(it.hosts):
            assert (await host.said("rate limits: store away, each worker keeps to its share"))["workers"] == 2
            await it.until("doris_mcp_rate_limit_fallback", 1, n)
        if how == "silent":
            it.redis.send_signal(signal.SIGCONT)
            for n in (0, 1):
                async with asyncio.timeout(LIMIT):
                    while await it.metric("doris_mcp_rate_limit_fallback", n):
                        await it.ask(call(modern), token, n)
                        await asyncio.sleep(0.1)


async def test_streams_and_sessions_count_as_well(tmp_path: Path) -> None:
    async with fleet(tmp_path, "principal=3/h") as it:
        token = await it.token("ann")
        assert await it.statuses(3, legacy("ping"), token) == {200: 3}
        headers = {"authorization": f"Bearer {token}", "mcp-session-id": "none"}
        async with aiohttp.ClientSession(headers=headers) as http:
            for method in ("GET", "DELETE"):
                async with http.request(method, f"{it.hosts[0].url}/mcp") as response:
                    assert response.status == 429
                    assert int(response.headers["retry-after"]) > 0
