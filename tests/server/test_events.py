"""Two hosts on one Redis: what a client does on one reaches its calls, streams and sessions on the other."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import redis.asyncio as aioredis

from doris_mcp_server import ctl
from doris_mcp_server.answers import CANCELLED

from ..echoes import messages, wait
from ..ports import free_port
from ..redis_server import PASSWORD, answers, daemon
from .conftest import LIMIT, TOKEN, Running, legacy, modern, serving

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
CHANGED = "notifications/tools/list_changed"
END = b"\r\n\r\n"
# Streams that do not look by themselves whether their session has ended: only a word of another host ends them.
PATIENT = """
import sys
from doris_mcp_server import cli
from doris_mcp_server.protocol import streams
streams.SILENCE = 600
sys.exit(cli.main(sys.argv[1:]))
"""


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def redis_port(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[int]:
    chosen = free_port()
    with daemon(tmp_path_factory.mktemp("redis"), "redis", f"port {chosen}\nrequirepass {PASSWORD}"):
        await answers(chosen)
        yield chosen


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hosts(redis_port: int, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Running, Running]]:
    """Two hosts that hear each other."""
    variables = {
        "REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        "REDIS_PASSWORD": PASSWORD,
        "DORIS_MCP_TOKEN_KEY": "ab" * 32,
        "DORIS_MCP_TOKEN": TOKEN,
        "DORIS_MCP_TEST_FIXTURES": "conformance",
    }
    async with (
        serving(tmp_path_factory.mktemp("a"), program=("-c", PATIENT), DORIS_MCP_NODE_NAME="a", **variables) as one,
        serving(tmp_path_factory.mktemp("b"), program=("-c", PATIENT), DORIS_MCP_NODE_NAME="b", **variables) as two,
    ):
        await listening(redis_port, 2)
        yield one, two


async def listening(redis_port: int, count: int) -> None:
    admin = aioredis.Redis(port=redis_port, password=PASSWORD)
    async with asyncio.timeout(LIMIT):
        while dict(await admin.pubsub_numsub("doris-mcp:events")) != {b"doris-mcp:events": count}:
            await asyncio.sleep(0.02)
    await admin.aclose()


@pytest_asyncio.fixture(loop_scope="module")
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """One caller, who goes to both hosts."""
    timeout = aiohttp.ClientTimeout(total=LIMIT)
    async with aiohttp.ClientSession(timeout=timeout, headers={"authorization": f"Bearer {TOKEN}"}) as session:
        yield session


async def begin(client: aiohttp.ClientSession, host: Running) -> dict[str, str]:
    """A session of the handshake era, as the header that names it."""
    async with client.post(f"{host.url}/mcp", **legacy("initialize", HELLO)) as response:
        await response.read()
        return {"mcp-session-id": response.headers["mcp-session-id"]}


def within(session: dict[str, str], request: dict[str, Any]) -> dict[str, Any]:
    return request | {"headers": request["headers"] | session}


def opening(client: aiohttp.ClientSession, host: Running, session: dict[str, str]) -> Any:
    """The event stream of a session."""
    headers = session | {"mcp-protocol-version": "2025-11-25", "accept": "text/event-stream"}
    return client.get(f"{host.url}/mcp", headers=headers)


def subscribing(client: aiohttp.ClientSession, host: Running) -> Any:
    return client.post(
        f"{host.url}/mcp", **modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    )


async def next_method(response: aiohttp.ClientResponse) -> str:
    """What the next frame that says something is about."""
    while True:
        frame = await response.content.readuntil(END)
        if said := messages(frame.decode()):
            return str(said[0]["method"])


async def in_flight(host: Running, count: int) -> None:
    async with asyncio.timeout(LIMIT):
        while (await ctl.ask(host.ctl, {"do": "status"}))["inflight"] != count:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("members", [{}, {"task": {}}], ids=["lean", "sdk"])
async def test_a_call_is_cancelled_by_a_word_to_the_other_host(
    hosts: tuple[Running, Running], client: aiohttp.ClientSession, members: dict[str, Any]
) -> None:
    one, two = hosts
    session = await begin(client, one)
    other = await begin(client, two)  # of the same caller, with the same request ids

    async def call(host: Running, session: dict[str, str], seconds: float) -> dict[str, Any]:
        request = wait(legacy, seconds, **members)
        async with client.post(f"{host.url}/mcp", **within(session, request)) as response:
            return messages(await response.text())[-1]

    running = asyncio.create_task(call(one, session, 600))
    await in_flight(one, 1)
    beside = asyncio.create_task(call(one, other, 1))
    await in_flight(one, 2)
    note = legacy("notifications/cancelled", {"requestId": 1})
    del note["json"]["id"]
    async with client.post(f"{two.url}/mcp", **within(session, note)) as response:
        assert response.status == 202
    assert (await running)["error"]["code"] == CANCELLED
    assert (await beside)["result"]["structuredContent"] == {"text": "done"}


async def test_streams_of_both_eras_hear_of_a_change_on_the_other_host(
    hosts: tuple[Running, Running], client: aiohttp.ClientSession
) -> None:
    one, two = hosts
    async with opening(client, one, await begin(client, one)) as old, subscribing(client, one) as new:
        await old.content.readuntil(END)
        assert await next_method(new) == "notifications/subscriptions/acknowledged"
        trigger = modern("tools/call", {"name": "test_trigger_tool_change", "arguments": {}})
        async with client.post(f"{two.url}/mcp", **trigger) as response:
            assert response.status == 200, await response.text()
        assert [await next_method(old), await next_method(new)] == [CHANGED, CHANGED]


async def test_a_session_that_ends_on_one_host_ends_its_stream_on_the_other(
    hosts: tuple[Running, Running], client: aiohttp.ClientSession
) -> None:
    one, two = hosts
    session, other = await begin(client, one), await begin(client, one)
    async with opening(client, one, session) as stream, opening(client, one, other) as beside:
        for opened in (stream, beside):
            await opened.content.readuntil(END)
        async with client.delete(f"{two.url}/mcp", headers=legacy("")["headers"] | session) as response:
            assert response.status == 200
        assert await stream.content.read() == b""
        assert not beside.content.is_eof()
        for host in hosts:
            async with client.post(f"{host.url}/mcp", **within(session, legacy("ping"))) as response:
                assert response.status == 404


async def test_who_may_have_missed_a_change_is_told_to_look_again_and_nobody_else(
    hosts: tuple[Running, Running], client: aiohttp.ClientSession, redis_port: int
) -> None:
    one, _ = hosts
    async with opening(client, one, await begin(client, one)) as old, subscribing(client, one) as new:
        await old.content.readuntil(END)
        assert await next_method(new) == "notifications/subscriptions/acknowledged"
        admin = aioredis.Redis(port=redis_port, password=PASSWORD)
        async with asyncio.timeout(LIMIT):
            while await admin.client_kill_filter(_type="pubsub") != 2:
                await asyncio.sleep(0.02)
        await admin.aclose()
        assert [await next_method(old), await next_method(new)] == [CHANGED, CHANGED]
        await listening(redis_port, 2)
        # Of that once, and of the beginning never: the next word is of the change that is made now.
        trigger = modern("tools/call", {"name": "test_trigger_prompt_change", "arguments": {}})
        async with client.post(f"{one.url}/mcp", **trigger) as response:
            assert response.status == 200, await response.text()
        assert await next_method(old) == "notifications/prompts/list_changed"
