"""`doris-mcp-server keys …` against a real Redis: what an operator sees, and what two servers on one store do then."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from doris_mcp_server import ctl
from doris_mcp_server.auth import jwks
from doris_mcp_server.cli import main
from doris_mcp_server.keys import derived_key, key_id

from ..redis_server import PASSWORD
from .conftest import LIMIT, TOKEN, Running, legacy, serving

TOKEN_KEY = "ab" * 32
VAULT = ("11" * 32, "22" * 32)
AUTHORIZATION = {"authorization": f"Bearer {TOKEN}"}
HELLO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}

Keys = Callable[..., Any]


@pytest.fixture
def environment(redis_port: int) -> dict[str, str]:
    return {
        "REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        "REDIS_PASSWORD": PASSWORD,
        "DORIS_MCP_TOKEN_KEY": TOKEN_KEY,
        "DORIS_MCP_PUBLIC_URL": "https://mcp.example.com/mcp",
    }


@pytest.fixture
def keys(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Keys:
    """Run `keys …`, or another `command`: its exit code and the JSON it shows, or what it says on stderr."""
    file = tmp_path / "doris-mcp.env"
    file.write_text("".join(f"{name}={value}\n" for name, value in environment.items()))
    for name in ("REDIS_URL", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)

    async def run(*args: str, command: str = "keys") -> tuple[int, Any]:
        code = await asyncio.to_thread(main, [command, *args, "--json", "--env-file", str(file)])
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out else said.err

    return run


@pytest.fixture
def shift(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Put the clock of this process, which is that of the commands, so many seconds ahead of the machine's."""

    def to(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: real() + seconds)

    real = time.time
    return to


def states(ring: dict[str, Any], purpose: str = "seal") -> dict[str, str]:
    return {key["id"]: key["state"] for key in ring["keys"] if key["purpose"] == purpose}


def sealing(ring: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The key before and the new one."""
    before, after = (key for key in ring["keys"] if key["purpose"] == "seal")
    return before, after


async def test_a_rotation_begins_with_the_key_that_was_used_and_is_one_at_a_time(keys: Keys) -> None:
    assert await keys("list") == (0, {"ring": 0, "changed": False, "keys": []})
    code, ring = await keys("rotate")
    assert (code, ring["ring"], ring["changed"]) == (0, 3, True)
    old, new = (key["id"] for key in sealing(ring))
    assert old == key_id(derived_key(TOKEN_KEY))
    assert states(ring) == {old: "current", new: "next"}
    assert list(states(ring, "issuer").values()) == ["current"]  # nobody signed before, so there is nothing to wait for
    again = await keys("rotate")
    assert again == (3, {**ring, "changed": False})
    assert await keys("list") == (0, {**ring, "changed": False})


async def test_times_are_those_asked_for_or_safe_ones(keys: Keys) -> None:
    _, ring = await keys("rotate")
    created, used, until = (
        datetime.fromisoformat(moment).timestamp()
        for before, after in [sealing(ring)]
        for moment in (after["created"], after["used"], before["until"])
    )
    assert (used - created, until - used) == (90, 86_400 + 60)
    code, words = await keys("rotate", "--delay", "3s")
    assert (code, ring) == (3, ring), words


@pytest.mark.parametrize(
    ("args", "variables", "code", "words"),
    [
        (["rotate", "--delay", "3s"], {}, 1, "4 seconds"),
        (["rotate"], {"DORIS_MCP_KEYS": VAULT[0]}, 1, "keys adopt"),
        (["adopt"], {}, 1, "DORIS_MCP_KEYS is not set"),
        (["retire", "00000000"], {}, 1, "no key 00000000"),
        (["list"], {"REDIS_URL": ""}, 2, "--env-file"),
    ],
)
async def test_what_makes_no_sense_changes_nothing_and_names_the_fix(
    keys: Keys,
    args: list[str],
    variables: dict[str, str],
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    if variables.get("REDIS_URL") == "":
        (tmp_path / "doris-mcp.env").write_text("")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    got, said = await keys(*args)
    assert (got, words in said, "fix: " in said) == (code, True, True), said


async def test_keys_of_the_vault_are_adopted_once_beside_what_was_used_without_them(
    keys: Keys, shift: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DORIS_MCP_KEYS", ",".join(VAULT))
    code, ring = await keys("adopt", "--delay", "4s")
    first, second = (key_id(bytes.fromhex(key)) for key in VAULT)
    assert code == 0
    assert states(ring) == {key_id(derived_key(TOKEN_KEY)): "current", first: "next", second: "previous"}
    assert (await keys("adopt"))[0] == 3
    shift(4)
    assert states((await keys("list"))[1])[first] == "current"
    code, again = await keys("adopt")
    assert (code, again["changed"], again["ring"]) == (0, False, ring["ring"])


async def test_a_previous_key_is_retired(keys: Keys, shift: Callable[[float], None]) -> None:
    _, ring = await keys("rotate", "--delay", "4s")
    old, new = (key["id"] for key in sealing(ring))
    assert (await keys("retire", old))[0] == 1
    shift(4)
    assert states((await keys("list"))[1])[old] == "previous"
    code, left = await keys("retire", old)
    assert (code, left["ring"], states(left)) == (0, 4, {new: "current"})


async def test_a_ring_of_another_token_key_is_replaced_only_when_told_so(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keys("rotate")
    monkeypatch.setenv("DORIS_MCP_TOKEN_KEY", "cd" * 32)
    for action in (["list"], ["rotate"]):
        code, said = await keys(*action)
        assert (code, "--anew" in said) == (1, True)
    code, ring = await keys("rotate", "--anew")
    assert code == 0
    assert ring["keys"][0]["id"] == key_id(derived_key("cd" * 32))


async def test_people_get_lines_and_no_secret(
    keys: Keys, environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def say(*args: str) -> str:
        main(["keys", *args, "--env-file", str(tmp_path / "doris-mcp.env")])
        return capsys.readouterr().out

    assert "no keys in the store" in await asyncio.to_thread(say, "list")
    assert "next" in await asyncio.to_thread(say, "rotate")
    said = await asyncio.to_thread(say, "rotate")
    assert "nothing was changed" in said
    assert derived_key(TOKEN_KEY).hex() not in said


# --- two servers on one store ---


@dataclass
class Load:
    """Clients of the handshake era that go from server to server: each begins a session on one and uses it on all."""

    http: aiohttp.ClientSession
    urls: list[str]
    answered: int = 0
    failed: list[str] = field(default_factory=list)
    old: list[tuple[float, int]] = field(default_factory=list)  # of the session from before: when answered, status

    async def begin(self, url: str) -> str:
        hello = legacy("initialize", HELLO)
        async with self.http.post(
            url + "/mcp", json=hello["json"], headers=hello["headers"] | AUTHORIZATION
        ) as response:
            await response.read()
            return response.headers["mcp-session-id"]

    async def use(self, url: str, session: str) -> int:
        ping = legacy("ping")
        headers = ping["headers"] | AUTHORIZATION | {"mcp-session-id": session}
        async with self.http.post(url + "/mcp", json=ping["json"], headers=headers) as response:
            await response.read()
            return response.status

    async def go_on(self) -> None:
        while True:
            session = await self.begin(self.urls[self.answered % len(self.urls)])
            for url in self.urls * 3:
                if (status := await self.use(url, session)) != 200:
                    self.failed.append(f"{status} of {url}")
                self.answered += 1

    async def go_on_with(self, session: str) -> None:
        while True:
            for url in self.urls:
                status = await self.use(url, session)
                self.old.append((time.time(), status))


@pytest.fixture
async def fleet(environment: dict[str, str], tmp_path: Path) -> AsyncIterator[list[Running]]:
    variables = environment | {"DORIS_MCP_TOKEN": TOKEN}
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    async with serving(tmp_path / "a", **variables) as one, serving(tmp_path / "b", **variables) as two:
        yield [one, two]


@contextlib.asynccontextmanager
async def going_on(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Work that has no end of its own goes on meanwhile, and must not end before."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends


async def seals(fleet: list[Running], key: str) -> None:
    async with asyncio.timeout(LIMIT):
        for server in fleet:
            while (await ctl.ask(server.ctl, {"do": "status"}))["keys"]["seals"] != key:
                await asyncio.sleep(0.05)


async def test_a_rotation_under_load_fails_no_request_and_ends_the_old_key_with_the_overlap(
    fleet: list[Running], keys: Keys, http: aiohttp.ClientSession
) -> None:
    load = Load(http, [server.url for server in fleet])
    old = await load.begin(load.urls[0])
    async with going_on(*(load.go_on() for _ in range(3)), load.go_on_with(old)):
        _, ring = await keys("rotate", "--delay", "4s", "--overlap", "4s")
        before, after = sealing(ring)
        await seals(fleet, before["id"])
        between = await load.begin(load.urls[1])
        await seals(fleet, after["id"])
        assert [await load.use(url, between) for url in load.urls] == [200, 200]
        async with asyncio.timeout(LIMIT):
            while [status for _, status in load.old[-2:]] != [404, 404]:
                await asyncio.sleep(0.05)
        assert [await load.use(url, between) for url in load.urls] == [404, 404]
        done = load.answered
        async with asyncio.timeout(LIMIT):
            while load.answered < done + 50:
                await asyncio.sleep(0.05)
    print(f"{load.answered} requests of sessions during the rotation, {len(load.failed)} failed")
    assert not load.failed
    until = datetime.fromisoformat(before["until"]).timestamp()
    assert {status for moment, status in load.old if moment < until} == {200}
    for server in fleet:
        changed = [line for line in server.lines if line["message"] == "keys changed"]
        assert [line["seals"] for line in changed] == [before["id"], after["id"], after["id"]]
        assert [len(line["opens"]) for line in changed] == [2, 2, 1]


async def test_a_server_that_starts_without_the_store_knows_the_ring_of_its_host(
    environment: dict[str, str],
    keys: Keys,
    shift: Callable[[float], None],
    redis_port: int,
    http: aiohttp.ClientSession,
    tmp_path: Path,
) -> None:
    shift(-5)  # so that the new key has taken over by now
    _, ring = await keys("rotate", "--delay", "4s")
    variables = environment | {"DORIS_MCP_TOKEN": TOKEN}
    async with serving(tmp_path, **variables) as server:
        await seals([server], sealing(ring)[1]["id"])
        load = Load(http, [server.url])
        session = await load.begin(server.url)
    admin = aioredis.Redis(port=redis_port, password=PASSWORD, retry=Retry(NoBackoff(), 0))
    with pytest.raises(aioredis.ConnectionError):
        await admin.execute_command("SHUTDOWN", "NOSAVE")
    await admin.aclose()
    async with serving(tmp_path, **variables) as server:
        await seals([server], sealing(ring)[1]["id"])
        assert await load.use(server.url, session) == 200


async def test_a_signed_token_is_good_on_every_server_and_checked_by_what_they_publish(
    fleet: list[Running], keys: Keys, http: aiohttp.ClientSession
) -> None:
    issue = ("issue", "--name", "ann", "--jwt", "--scopes", "catalog:read")
    code, said = await keys(*issue, command="token")
    assert (code, "keys rotate" in said) == (2, True)
    await keys("rotate")
    code, said = await keys(*issue, "--ttl", "30d", command="token")
    assert (code, "86400" in said) == (1, True)
    code, issued = await keys(*issue, command="token")
    assert code == 0
    for server in fleet:
        async with asyncio.timeout(LIMIT):
            while True:  # until it has read the ring
                async with http.get(server.url + "/.well-known/jwks.json") as response:
                    assert (response.status, response.headers["cache-control"]) == (200, "max-age=60")
                    published = jwks.read(await response.read())
                if published:
                    break
                await asyncio.sleep(0.05)
        check = published[jwt.get_unverified_header(issued["token"])["kid"]]
        audience = "https://mcp.example.com/mcp"
        claims = jwt.decode(issued["token"], check.key, [check.algorithm], audience=audience)
        assert (claims["sub"], claims["scope"], claims["exp"] - claims["iat"]) == ("ann", "catalog:read", 3600)
        assert await let_in(http, server, issued["token"]) == 200
    (listed,) = (await keys("list", command="token"))[1]
    assert (listed["id"], listed["kind"]) == (issued["id"], "signed")
    assert (await keys("revoke", issued["id"], command="token"))[0] == 0
    for server in fleet:
        async with asyncio.timeout(LIMIT):
            while await let_in(http, server, issued["token"]) != 401:
                await asyncio.sleep(0.01)


async def test_a_signed_token_is_good_through_the_overlap_of_its_key_and_not_after(
    fleet: list[Running], keys: Keys, http: aiohttp.ClientSession
) -> None:
    async def issue() -> str:
        code, issued = await keys("issue", "--name", "ann", "--jwt", "--scopes", "catalog:read", command="token")
        assert code == 0, issued
        return str(issued["token"])

    seen: dict[str, list[tuple[float, float, int]]] = {"old": [], "new": []}  # when asked, when answered, status

    async def go_on(name: str, token: str) -> None:
        while True:
            for server in fleet:
                began = time.time()
                status = await let_in(http, server, token)
                seen[name].append((began, time.time(), status))

    await keys("rotate", "--delay", "4s")  # the first key that signs counts at once
    old = await issue()
    for server in fleet:
        async with asyncio.timeout(LIMIT):
            while await let_in(http, server, old) != 200:  # until it has read the ring
                await asyncio.sleep(0.05)
    async with asyncio.timeout(LIMIT):
        while (rotated := await keys("rotate", "--delay", "4s", "--overlap", "5s"))[0]:  # the first one is under way
            await asyncio.sleep(0.1)
    before, after = (key for key in rotated[1]["keys"] if key["purpose"] == "issuer")
    async with going_on(*(go_on("old", old) for _ in range(3))), asyncio.timeout(LIMIT):
        while jwt.get_unverified_header(new := await issue())["kid"] != after["id"]:
            await asyncio.sleep(0.05)
        async with going_on(*(go_on("new", new) for _ in range(3))):
            while [status for _, _, status in seen["old"][-10:]] != [401] * 10:
                await asyncio.sleep(0.05)
    until = datetime.fromisoformat(before["until"]).timestamp()  # in whole seconds: up to one before its end
    through = [status for _, answered, status in seen["old"] if answered < until]
    new_ones = [status for _, _, status in seen["new"]]
    last = max(began for began, _, status in seen["old"] if status == 200)
    print(f"{len(through)} + {len(new_ones)} requests; the old key's last one {last - until:+.2f} s after its end")
    assert set(through) == set(new_ones) == {200}
    assert last < until + 1


async def let_in(http: aiohttp.ClientSession, server: Running, token: str) -> int:
    """The status that a server gives to a token."""
    ask, bearer = legacy("ping"), {"authorization": f"Bearer {token}"}
    async with http.post(server.url + "/mcp", json=ask["json"], headers=ask["headers"] | bearer) as response:
        await response.read()
        return response.status
