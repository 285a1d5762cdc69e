"""`doris-mcp-server token …` and servers that heed it: a lone host with a file, two hosts with one Redis."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from doris_mcp_server.cli import main
from doris_mcp_server.keys.ring import PLACE
from doris_mcp_server.state.local import FILE

from ..redis_server import PASSWORD
from .conftest import LIMIT, Running, legacy, serving

TOKEN_KEY = "ab" * 32
Run = Callable[..., Awaitable[tuple[int, Any]]]


@dataclass
class Fleet:
    servers: list[Running]
    token: Run
    """Runs `token …`: its exit code and the JSON it shows, or what it says on stderr."""
    http: aiohttp.ClientSession

    async def say(self, token: str) -> set[int]:
        """What the servers say to a token, asked over and over so that every worker is met."""
        ask = legacy("tools/list")
        headers = ask["headers"] | {"authorization": f"Bearer {token}", "connection": "close"}

        async def one(server: Running) -> int:
            async with self.http.post(server.url + "/mcp", json=ask["json"], headers=headers) as response:
                await response.read()
                return response.status

        return set(await asyncio.gather(*(one(server) for server in self.servers * 12)))

    async def until(self, token: str, wanted: int) -> None:
        async with asyncio.timeout(LIMIT):
            while await self.say(token) != {wanted}:
                await asyncio.sleep(0.02)


@pytest.fixture(params=["lone host", "fleet"])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    own = {"DORIS_MCP_TOKEN_KEY": TOKEN_KEY, "DORIS_HOST": "127.0.0.1", "DORIS_PORT": "1"}
    if request.param == "lone host":
        (tmp_path / "state").mkdir()
        return own | {
            "DORIS_MCP_STATE_DIR": str(tmp_path / "state"),
            "DORIS_MCP_CTL_SOCKET": str(tmp_path / "a/ctl.sock"),
        }
    port = request.getfixturevalue("redis_port")
    return own | {"REDIS_URL": f"redis://127.0.0.1:{port}/0", "REDIS_PASSWORD": PASSWORD}


@pytest.fixture
def token(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    file = tmp_path / "doris-mcp.env"
    file.write_text("".join(f"{name}={value}\n" for name, value in environment.items()))
    for name in ("REDIS_URL", "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)

    async def run(*args: str, shown: bool = True) -> tuple[int, Any]:
        code = await asyncio.to_thread(main, ["token", *args, *(["--json"] if shown else []), "--env-file", str(file)])
        said = capsys.readouterr()
        return code, (json.loads(said.out) if shown else said.out) if said.out else said.err

    return run


@pytest_asyncio.fixture
async def fleet(
    environment: dict[str, str], token: Run, tmp_path: Path, http: aiohttp.ClientSession
) -> AsyncIterator[Fleet]:
    names = ("a",) if "DORIS_MCP_STATE_DIR" in environment else ("a", "b")
    async with AsyncExitStack() as stack:
        servers = []
        for name in names:
            (tmp_path / name).mkdir()
            variables = environment | {"DORIS_MCP_NODE_NAME": name}
            servers.append(await stack.enter_async_context(serving(tmp_path / name, workers=2, **variables)))
        yield Fleet(servers, token, http)


async def test_an_issued_token_is_good_everywhere_at_once_and_a_revoked_one_nowhere(fleet: Fleet) -> None:
    code, issued = await fleet.token("issue", "--name", "ann", "--scopes", "catalog:read", "--ttl", "1h")
    assert code == 0
    token = issued.pop("token")
    assert await fleet.say(token) == {200}
    code, (listed,) = await fleet.token("list")
    assert (listed["id"], listed["scopes"], listed["kind"]) == (issued["id"], ["catalog:read"], "opaque")
    async with asyncio.timeout(LIMIT):
        while (await fleet.token("show", issued["id"]))[1]["used"] is None:
            await asyncio.sleep(0.05)
    _, shown = await fleet.token("show", issued["id"], shown=False)
    assert "ann" in shown and token not in shown
    assert await fleet.token("revoke", issued["id"]) == (0, {"id": issued["id"], "revoked": True})
    await fleet.until(token, 401)
    assert await fleet.token("revoke", issued["id"]) == (1, {"id": issued["id"], "revoked": False})
    assert (await fleet.token("show", issued["id"]))[0] == 1
    assert (await fleet.token("list"))[1] == []


async def test_workers_are_told_of_a_revocation_and_need_not_look(fleet: Fleet) -> None:
    """Once each worker has found a token good it believes it for two seconds."""
    issued = [(await fleet.token("issue", "--name", "ann"))[1] for _ in range(3)]
    for one in issued:
        assert await fleet.say(one["token"]) == {200}
        await fleet.token("revoke", one["id"])
        await fleet.until(one["token"], 401)
    assert [line for server in fleet.servers for line in server.lines if "Traceback" in str(line)] == []


async def test_a_rotated_token_has_the_same_rights_and_the_old_one_ends(fleet: Fleet) -> None:
    _, old = await fleet.token("issue", "--name", "ann", "--scopes", "catalog:read")
    code, new = await fleet.token("rotate", old["id"], "--overlap", "1h")
    assert code == 0
    assert (new["name"], new["scopes"]) == ("ann", ["catalog:read"])
    assert await fleet.say(old["token"]) == await fleet.say(new["token"]) == {200}
    _, last = await fleet.token("rotate", new["id"], "--overlap", "0")
    await fleet.until(new["token"], 401)
    assert await fleet.say(old["token"]) == await fleet.say(last["token"]) == {200}
    assert (await fleet.token("rotate", new["id"]))[0] == 1


async def test_a_restart_forgets_no_token_and_no_revocation(
    environment: dict[str, str], token: Run, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    (tmp_path / "a").mkdir()
    _, good = await token("issue", "--name", "ann")  # before there is a server
    _, bad = await token("issue", "--name", "bob")
    for _ in range(2):
        async with serving(tmp_path / "a", **environment) as server:
            fleet = Fleet([server], token, http)
            assert await fleet.say(good["token"]) == {200}
            await token("revoke", bad["id"])
            await fleet.until(bad["token"], 401)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--name", "ann", "--scopes", "catalog:write"), "scopes are catalog:read"),
        (("--name", "smoke"), "the server's own"),
        (("--name", "ann", "--doris-database", "x"), "--doris-user"),
        (("--name", "ann", "--doris-user", "x", "--cluster", "nowhere"), "clusters are default"),
        (("--name", "ann", "--doris-user", "x", "--doris-password-file", "/nowhere"), "cannot be read"),
        (("--name", "ann", "--doris-user", "x", "--jwt"), "leave --jwt out"),
        (("--name", "ann", "--jwt"), "DORIS_MCP_PUBLIC_URL"),
    ],
)
async def test_what_cannot_be_issued_is_named_with_its_fix(args: tuple[str, ...], words: str, token: Run) -> None:
    code, said = await token("issue", *args)
    assert code in (1, 2)
    assert words in said
    assert (await token("list"))[1] == []


async def test_the_account_of_a_token_is_shown_and_its_password_is_not(
    token: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("very-secret\n")
    _, issued = await token(
        "issue", "--name", "ann", "--doris-user", "ann_ro", "--doris-password-file", str(tmp_path / "password")
    )
    assert issued["account"] == {"cluster": "default", "user": "ann_ro"}
    code, said = await token("show", issued["id"], shown=False)
    assert code == 0 and "ann_ro" in said and "very-secret" not in said
    if "DORIS_MCP_STATE_DIR" in environment:
        kept = b"".join(file.read_bytes() for file in (tmp_path / "state").glob(f"{FILE}*"))
        assert issued["id"].encode() in kept
        assert b"very-secret" not in kept and issued["token"].encode() not in kept and PLACE.encode() not in kept


async def test_without_a_store_or_a_key_the_command_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("REDIS_URL", "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY", "DORIS_MCP_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert await asyncio.to_thread(main, ["token", "list"]) == 2
    assert "DORIS_MCP_STATE_DIR" in capsys.readouterr().err
    monkeypatch.setenv("DORIS_MCP_STATE_DIR", str(tmp_path))
    assert await asyncio.to_thread(main, ["token", "list"]) == 2
    assert "DORIS_MCP_TOKEN_KEY" in capsys.readouterr().err
