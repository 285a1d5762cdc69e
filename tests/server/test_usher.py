"""`doris-mcp-server session …` beside real servers: a lone host with two workers, and two hosts with one Redis."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from doris_mcp_server.cli import main
from doris_mcp_server.config import Settings
from doris_mcp_server.sessions.records import Records
from doris_mcp_server.state import open_store

from ..ports import free_port
from ..redis_server import PASSWORD, answers, daemon
from .conftest import LIMIT, Running, legacy, serving

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
# Every session gets a record as soon as another worker checks it, and no stream looks by itself.
AT_ONCE = """
import sys
from doris_mcp_server import cli, sessions
from doris_mcp_server.protocol import streams
sessions.FIRST = 0.0
streams.SILENCE = 600
sys.exit(cli.main(sys.argv[1:]))
"""
UNKNOWN = "0" * 32

Command = Callable[..., Awaitable[tuple[int, Any]]]


class Fleet:
    def __init__(self, variables: dict[str, str], hosts: list[Running], command: Command) -> None:
        self.variables = variables
        self.hosts = hosts
        self.command = command

    async def client(self, stack: contextlib.AsyncExitStack, name: str) -> "Client":
        _, issued = await self.command("token", "issue", "--name", name)
        headers = {"authorization": f"Bearer {issued['token']}", **legacy("")["headers"]}
        # A connection each time: both workers of a lone host get their share.
        http = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=LIMIT),
            connector=aiohttp.TCPConnector(force_close=True),
        )
        return Client(await stack.enter_async_context(http), self, issued["id"])

    async def listed(self, *args: str) -> list[str]:
        _, found = await self.command("session", "list", *args)
        return [record["id"] for record in found]

    async def until_listed(self, client: "Client", session: str) -> str:
        """Use a session until it is listed; its id."""
        before = await self.listed()
        async with asyncio.timeout(LIMIT):
            while not (new := set(await self.listed()) - set(before)):
                assert await client.use(session) == {200}
        (id,) = new
        return id


class Client:
    def __init__(self, http: aiohttp.ClientSession, fleet: Fleet, token: str) -> None:
        self.http = http
        self.token = token
        self._urls = [f"{host.url}/mcp" for host in fleet.hosts]

    async def begin(self) -> str:
        async with self.http.post(self._urls[0], json=legacy("initialize", HELLO)["json"]) as response:
            await response.read()
            return response.headers["mcp-session-id"]

    async def use(self, session: str) -> set[int]:
        """What every host says to it."""
        statuses = set()
        for url in self._urls:
            ping = legacy("ping")["json"]
            async with self.http.post(url, json=ping, headers={"mcp-session-id": session}) as response:
                statuses.add(response.status)
        return statuses

    async def until(self, session: str, status: int) -> None:
        async with asyncio.timeout(LIMIT):
            while await self.use(session) != {status}:
                await asyncio.sleep(0.05)

    @contextlib.asynccontextmanager
    async def stream(self, session: str) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"mcp-session-id": session, "accept": "text/event-stream"}
        async with self.http.get(self._urls[-1], headers=headers) as response:
            await response.content.readuntil(b"\r\n\r\n")
            yield response


@pytest.fixture(params=["a lone host", "two hosts"])
async def fleet(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> AsyncIterator[Fleet]:
    file = tmp_path / "doris-mcp.env"
    variables = {"DORIS_MCP_TOKEN_KEY": "ab" * 32}
    for name in ("REDIS_URL", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("a", "b", "state"):
        (tmp_path / name).mkdir()

    async def command(*args: str) -> tuple[int, Any]:
        code = await asyncio.to_thread(main, [*args, "--json", "--env-file", str(file)])
        return code, json.loads(capsys.readouterr().out)

    def serve(name: str, workers: int) -> contextlib.AbstractAsyncContextManager[Running]:
        return serving(
            tmp_path / name,
            workers=workers,
            program=("-c", AT_ONCE),
            **variables | {"DORIS_MCP_NODE_NAME": name},
        )

    async with contextlib.AsyncExitStack() as stack:
        if request.param == "two hosts":
            port = free_port()
            stack.enter_context(daemon(tmp_path, "redis", f"port {port}\nrequirepass {PASSWORD}"))
            await answers(port)
            variables |= {"REDIS_URL": f"redis://127.0.0.1:{port}/0", "REDIS_PASSWORD": PASSWORD}
            hosts = [await stack.enter_async_context(serve(name, 1)) for name in ("a", "b")]
        else:
            variables |= {"DORIS_MCP_STATE_DIR": str(tmp_path / "state")}
            hosts = [await stack.enter_async_context(serve("a", 2))]
            variables |= {"DORIS_MCP_CTL_SOCKET": hosts[0].ctl}
        file.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
        yield Fleet(variables, hosts, command)


async def test_one_is_listed_and_ended_everywhere_and_no_other(fleet: Fleet) -> None:
    async with contextlib.AsyncExitStack() as stack:
        ann, bob = await fleet.client(stack, "ann"), await fleet.client(stack, "bob")
        first, other, of_bob = await ann.begin(), await ann.begin(), await bob.begin()
        id = await fleet.until_listed(ann, first)
        await fleet.until_listed(ann, other)
        await fleet.until_listed(bob, of_bob)
        assert len(await fleet.listed()) == 3
        assert len(await fleet.listed("--principal", "ann")) == 2
        _, (record, *_) = await fleet.command("session", "list", "--principal", "ann")
        assert (record["id"], record["principal"], record["version"]) == (id, "ann", "2025-11-25")
        assert record["node"] in ("a", "b")
        assert first not in str(record)  # what the client holds is nobody else's to see
        async with ann.stream(first) as stream, ann.stream(other) as beside:
            assert await fleet.command("session", "end", id) == (0, {"ended": [id]})
            assert await stream.content.read() == b""
            assert not beside.content.is_eof()
        await ann.until(first, 404)
        assert await ann.use(other) == await bob.use(of_bob) == {200}
        assert len(await fleet.listed()) == 2
        for gone in (id, UNKNOWN):
            assert await fleet.command("session", "end", gone) == (1, {"ended": []})


async def test_all_of_a_caller_end_the_young_ones_too_and_he_may_begin_anew(fleet: Fleet) -> None:
    async with contextlib.AsyncExitStack() as stack:
        ann, bob = await fleet.client(stack, "ann"), await fleet.client(stack, "bob")
        old, young, of_bob = await ann.begin(), await ann.begin(), await bob.begin()
        id = await fleet.until_listed(ann, old)
        async with ann.stream(old) as stream, bob.stream(of_bob) as beside:
            code, said = await fleet.command("session", "end", "--principal", "ann")
            assert (code, id in said["ended"]) == (0, True)
            assert await stream.content.read() == b""
            assert not beside.content.is_eof()
        for session in (old, young):
            await ann.until(session, 404)
        assert await bob.use(of_bob) == await ann.use(await ann.begin()) == {200}


async def test_it_ends_on_hosts_that_heard_nothing_of_it(fleet: Fleet) -> None:
    names = {"REDIS_URL": "redis_url", "REDIS_PASSWORD": "redis_password", "DORIS_MCP_STATE_DIR": "state_dir"}
    store = open_store(Settings(**{names[k]: v for k, v in fleet.variables.items() if k in names}))
    async with contextlib.AsyncExitStack() as stack:
        ann = await fleet.client(stack, "ann")
        session = await ann.begin()
        await Records(store, idle_seconds=1800, max_seconds=86_400).end(await fleet.until_listed(ann, session))
        await ann.until(session, 404)
    await store.close()


async def test_a_revoked_token_ends_no_session_and_opens_none(fleet: Fleet) -> None:
    async with contextlib.AsyncExitStack() as stack:
        ann, again = await fleet.client(stack, "ann"), await fleet.client(stack, "ann")
        session = await ann.begin()
        assert await ann.use(session) == {200}
        await fleet.command("token", "revoke", ann.token)
        await ann.until(session, 401)
        assert await again.use(session) == {200}
