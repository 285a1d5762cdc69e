"""`doris-mcp-server config …` on one host's file and on a real Redis: what an operator sees, and what servers do."""

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis.asyncio as aioredis

from doris_mcp_server import ctl
from doris_mcp_server.centre import Centre, place
from doris_mcp_server.cli import main
from doris_mcp_server.config import Settings
from doris_mcp_server.registry import Member
from doris_mcp_server.state import open_store

from ..redis_server import PASSWORD
from .conftest import LIMIT, TOKEN, Running, legacy, modern, serving
from .test_http import answer

KEY = "ab" * 32
WHY = ("--comment", "why not")
BEARER = {"authorization": f"Bearer {TOKEN}"}
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}

Config = Callable[..., Any]


@pytest.fixture(params=["file", "redis"])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The store of a lone host, or that of a fleet."""
    ours = {"DORIS_MCP_TOKEN_KEY": KEY, "DORIS_MCP_TOKEN": TOKEN}
    if request.param == "file":
        (tmp_path / "a").mkdir()
        return ours | {"DORIS_MCP_STATE_DIR": str(tmp_path / "a"), "DORIS_MCP_CTL_SOCKET": str(tmp_path / "a/ctl.sock")}
    port = request.getfixturevalue("redis_port")
    return ours | {"REDIS_URL": f"redis://127.0.0.1:{port}/0", "REDIS_PASSWORD": PASSWORD}


@pytest.fixture
def env_file(environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("REDIS_URL", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "doris-mcp.env"
    file.write_text("".join(f"{name}={value}\n" for name, value in environment.items()))
    return file


@pytest.fixture
def config(env_file: Path, capsys: pytest.CaptureFixture[str]) -> Config:
    """Run `config …`: its exit code and the JSON it shows, or what it says on stderr."""

    async def run(*args: str) -> tuple[int, Any]:
        code = await asyncio.to_thread(main, ["config", *args, "--json", "--env-file", str(env_file)])
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out else said.err

    return run


async def test_a_change_is_written_shown_and_taken_back(config: Config) -> None:
    assert await config("history") == (0, {"versions": []})
    code, first = await config("set", "DORIS_MCP_MAX_ROWS=5", "UVICORN_KEEPALIVE=60", *WHY, "--author", "ann")
    assert (code, first["version"], first["author"], first["comment"], first["written"]) == (
        0,
        1,
        "ann",
        "why not",
        True,
    )
    assert first["values"] == {"DORIS_MCP_KEEP_ALIVE_SECONDS": "60", "DORIS_MCP_MAX_ROWS": "5"}
    assert first["needs_restart"] == ["DORIS_MCP_KEEP_ALIVE_SECONDS"]
    code, second = await config("set", "DORIS_MCP_MAX_ROWS=6", "--unset", "DORIS_MCP_KEEP_ALIVE_SECONDS", *WHY)
    assert second["changes"] == {"DORIS_MCP_KEEP_ALIVE_SECONDS": ["60", None], "DORIS_MCP_MAX_ROWS": ["5", "6"]}
    assert second["author"].partition("@")[0] in (os.environ.get("SUDO_USER"), "root", os.environ.get("USER"))
    assert (await config("diff"))[1] == {"from": 1, "to": 2, "changes": second["changes"]}
    assert (await config("diff", "0", "1"))[1]["changes"]["DORIS_MCP_MAX_ROWS"] == [None, "5"]
    code, third = await config("rollback", "1", *WHY)
    assert (code, third["version"], third["values"]) == (0, 3, first["values"])
    assert [version["version"] for version in (await config("history"))[1]["versions"]] == [1, 2, 3]
    code, same = await config("set", "DORIS_MCP_MAX_ROWS=5", *WHY)
    assert (code, same["version"], same["written"], same["changes"]) == (0, 3, False, {})


async def test_nothing_is_written_by_a_dry_run_or_when_somebody_else_was_first(config: Config) -> None:
    await config("set", "DORIS_MCP_MAX_ROWS=5", *WHY, "--author", "ann")
    code, tried = await config("set", "DORIS_MCP_MAX_ROWS=6", *WHY, "--dry-run")
    assert (code, tried["version"], tried["written"]) == (0, 2, False)
    code, said = await config("set", "DORIS_MCP_MAX_ROWS=6", *WHY, "--if-version", "0")
    assert code == 1
    assert "ann wrote version 1: why not" in said and "config diff 0 1" in said
    assert (await config("set", "DORIS_MCP_MAX_ROWS=6", *WHY, "--if-version", "7"))[0] == 1
    assert [version["values"] for version in (await config("history"))[1]["versions"]] == [{"DORIS_MCP_MAX_ROWS": "5"}]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["set", "DORIS_MCP_MAX_ROWS=many"], "DORIS_MCP_MAX_ROWS: "),
        (["set", "DORIS_MCP_MAXROWS=5"], "did you mean DORIS_MCP_MAX_ROWS?"),
        (["set", "DORIS_PASSWORD=x"], "DORIS_PASSWORD is a secret"),
        (["set", "REDIS_URL=redis://elsewhere"], "REDIS_URL is a secret"),
        (["set", "DORIS_MCP_NODE_NAME=x"], "DORIS_MCP_NODE_NAME is each host's own"),
        (["set", "DORIS_MCP_DISABLED_TOOLS=execute_querry"], "did you mean execute_query?"),
        (["set", "DORIS_MCP_MAX_ROWS"], "not NAME=VALUE"),
        (["set", "--unset", "NO_SETTING"], "not a setting"),
        (["rollback", "9"], "no version 9"),
    ],
)
async def test_what_is_invalid_is_refused_with_the_field_and_changes_nothing(
    config: Config, args: list[str], words: str
) -> None:
    code, said = await config(*args, *WHY)
    assert (code, words in said, "fix: " in said) == (2, True, True), said
    assert await config("history") == (0, {"versions": []})


async def test_each_setting_is_shown_with_its_source_and_no_secret_with_its_value(
    config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], env_file: Path
) -> None:
    monkeypatch.setenv("DORIS_MCP_QUERY_TIMEOUT", "7")
    await config("set", "DORIS_MCP_MAX_ROWS=5", *WHY)
    _, shown = await config("get")
    found = {each["name"]: (each["value"], each["source"], each["reach"]) for each in shown["settings"]}
    assert found["DORIS_MCP_MAX_ROWS"] == ("5", "version 1", "hot")
    assert found["DORIS_MCP_QUERY_TIMEOUT"] == ("7", "DORIS_MCP_QUERY_TIMEOUT", "hot")
    assert found["DORIS_PORT"] == ("9030", "default", "restart")
    assert found["SERVER_PORT"] == ("3000", "default", "host")
    assert found["DORIS_MCP_TOKEN_KEY"] == ("(set)", "DORIS_MCP_TOKEN_KEY", "secret")
    assert KEY not in json.dumps(shown) and TOKEN not in json.dumps(shown)
    _, one = await config("get", "UVICORN_KEEPALIVE")
    assert [each["name"] for each in one["settings"]] == ["DORIS_MCP_KEEP_ALIVE_SECONDS"]
    assert (await config("get", "NO_SETTING"))[0] == 2
    for verb in (["get"], ["history"], ["diff"], ["status"], ["set", "DORIS_MCP_MAX_ROWS=6", *WHY]):
        await asyncio.to_thread(main, ["config", *verb, "--env-file", str(env_file)])
        told = capsys.readouterr().out
        assert "DORIS_MCP_MAX_ROWS" in told or verb == ["status"]
        assert KEY not in told


async def test_after_a_change_of_the_token_key_one_begins_anew(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    await config("set", "DORIS_MCP_MAX_ROWS=5", *WHY)
    monkeypatch.setenv("DORIS_MCP_TOKEN_KEY", "cd" * 32)
    code, said = await config("set", "LOG_LEVEL=DEBUG", *WHY)
    assert (code, "--anew" in said) == (1, True)
    code, written = await config("set", "LOG_LEVEL=DEBUG", "--anew", *WHY)
    assert (code, written["version"], written["values"]) == (0, 2, {"LOG_LEVEL": "DEBUG"})


async def test_hosts_that_say_who_they_are_show_what_waits_for_a_restart(
    config: Config, environment: dict[str, str]
) -> None:
    for rows in range(1, 4):
        await config("set", f"DORIS_MCP_MAX_ROWS={rows}", f"DORIS_PORT={9030 + rows}", *WHY)
    store = open_store(
        Settings(
            redis_url=environment.get("REDIS_URL", ""),
            redis_password=PASSWORD,
            token_key=KEY,
            state_dir=environment.get("DORIS_MCP_STATE_DIR", ""),
        )
    )
    said = {"b:1": (3, 2), "b:2": (2, 3), "c:1": (3, 3), "d:1": (3, 0), "e:1": (3, 1)}
    for name, (applied, began) in said.items():
        member = Member(name[0], int(name[2]), 0, "r", "ready", 0.0, settings=applied, settings_started=began)
        await store.put(member.name, json.dumps(asdict(member)), 60)
    other = {"node": "f", "pid": 1, "slot": 0, "release": "another", "state": "ready", "started": 0.0}
    await store.put("member:v1/f:1", json.dumps(other), 60)
    await store.take(place(1))
    assert await Centre(store, KEY).get(1) is None
    await store.close()
    _, shown = await config("status")
    assert {host["node"]: (host["version"], host["needs_restart"]) for host in shown["hosts"]} == {
        "b": (2, ["DORIS_PORT"]),
        "c": (3, []),
        "d": (3, ["DORIS_PORT"]),
        "e": (3, None),
    }


async def test_watching_prints_each_version_as_it_comes(config: Config, env_file: Path) -> None:
    watching = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "doris_mcp_server", "config", "watch", "--json", "--env-file", str(env_file)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert watching.stdout is not None
    try:
        async with asyncio.timeout(LIMIT):
            assert json.loads(await watching.stdout.readline())["version"] == 0
            await config("set", "DORIS_MCP_MAX_ROWS=5", *WHY)
            told = json.loads(await watching.stdout.readline())
            assert (told["version"], told["changes"]) == (1, {"DORIS_MCP_MAX_ROWS": [None, "5"]})
            await config("rollback", "0", *WHY)
            assert json.loads(await watching.stdout.readline())["changes"] == {"DORIS_MCP_MAX_ROWS": ["5", None]}
    finally:
        watching.kill()
        await watching.wait()


# --- running servers: two hosts of a fleet, or one alone, with two workers each ---


@pytest.fixture
async def fleet(environment: dict[str, str], tmp_path: Path, env_file: Path) -> AsyncIterator[list[Running]]:
    async with AsyncExitStack() as stack:
        servers = []
        for name in ("a", "b") if "REDIS_URL" in environment else ("a",):
            (tmp_path / name).mkdir(exist_ok=True)
            variables = environment | {"DORIS_MCP_NODE_NAME": f"host-{name}"}
            servers.append(
                await stack.enter_async_context(serving(tmp_path / name, "--sandbox", workers=2, **variables))
            )
        for server in servers:
            await server.said("doris answers", 2)
        yield servers


async def reached(fleet: list[Running], version: int, since: float) -> None:
    """Wait until every worker of every host has it; say how long after `since` (Unix time)."""
    for server in fleet:
        await server.said("settings applied", 2, version=version)
    times = [
        datetime.fromisoformat(line["time"].replace("Z", "+00:00")).timestamp()
        for server in fleet
        for line in server.lines
        if line["message"] == "settings applied" and line["version"] == version
    ]
    words = "version %s: on %d workers within %.3f s of the command's start"
    logging.getLogger(__name__).warning(words, version, len(times), max(times) - since)
    for server in fleet:
        status = await ctl.ask(server.ctl, {"do": "status"})
        async with asyncio.timeout(LIMIT):
            while status["settings"]["version"] != version:
                await asyncio.sleep(0.02)
                status = await ctl.ask(server.ctl, {"do": "status"})
        assert [worker["settings"]["version"] for worker in status["workers"]] == [version, version]


async def on_each_worker(fleet: list[Running], request: dict[str, Any]) -> list[Any]:
    """The answers to one request over many fresh connections: no worker is left out, or one is very lucky."""
    answers = []
    for server in fleet:
        for _ in range(16):
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIMIT)) as client,
                client.post(server.url + "/mcp", json=request["json"], headers=request["headers"] | BEARER) as response,
            ):
                answers.append(await answer(response))
    return answers


def query(sql: str) -> dict[str, Any]:
    return modern("tools/call", {"name": "execute_query", "arguments": {"sql": sql}})


async def test_a_change_reaches_every_worker_of_every_host_and_no_request_notices(
    fleet: list[Running], config: Config, http: aiohttp.ClientSession
) -> None:
    hello = legacy("initialize", HELLO)
    async with http.post(fleet[-1].url + "/mcp", json=hello["json"], headers=hello["headers"] | BEARER) as begun:
        session = begun.headers["mcp-session-id"]
    headers = {"accept": "text/event-stream", "mcp-protocol-version": "2025-11-25", "mcp-session-id": session}
    async with http.get(fleet[-1].url + "/mcp", headers=headers | BEARER) as stream:
        assert await stream.content.readline() == b": open\r\n"
        running = asyncio.create_task(on_each_worker(fleet[:1], query("SELECT sleep(0.1)")))
        change = (
            "DORIS_MCP_MAX_ROWS=3",
            "DORIS_MCP_DISABLED_TOOLS=list_clusters",
            "DORIS_MCP_MASKED_COLUMNS=customer.c_phone",
            "DORIS_MCP_ALLOWED_TABLES=internal.ssb.*",
            "LOG_LEVEL=DEBUG",
        )
        began = time.time()
        assert (await config("set", *change, *WHY, "--author", "ann"))[0] == 0
        await reached(fleet, 1, began)
        async with asyncio.timeout(LIMIT):
            while b"notifications/tools/list_changed" not in (line := await stream.content.readline()):
                assert line, "the stream ended"
        assert {each["result"]["structuredContent"]["row_count"] for each in await running} == {1}
    applied = await fleet[0].said("settings applied", version=1)
    assert (applied["author"], applied["needs_restart"], applied["names"]) == (
        "ann",
        [],
        sorted(part.partition("=")[0] for part in change),
    )
    for era in (modern, legacy):
        for each in await on_each_worker(fleet, era("tools/list")):
            names = {tool["name"] for tool in each["result"]["tools"]}
            assert "list_clusters" not in names and "execute_query" in names
        for each in await on_each_worker(fleet, era("tools/call", {"name": "list_clusters", "arguments": {}})):
            assert each["error"]["message"] == "Unknown tool: list_clusters"
    for each in await on_each_worker(fleet, query("SELECT c_custkey, c_phone FROM customer ORDER BY c_custkey")):
        got = each["result"]["structuredContent"]
        assert (got["row_count"], got["truncated"], {row[1] for row in got["rows"]}) == (3, True, {"***"})
    for each in await on_each_worker(fleet, query("SELECT 1 FROM ops.orders")):
        assert "internal.ssb.*" in each["result"]["content"][0]["text"]
    code, said = await config("set", "DORIS_MCP_MAX_ROWS=0", "LOG_LEVEL=INFO", *WHY)
    assert (code, "DORIS_MCP_MAX_ROWS" in said) == (2, True)
    began = time.time()
    assert (await config("rollback", "0", *WHY))[0] == 0
    await reached(fleet, 2, began)
    for each in await on_each_worker(fleet, query("SELECT c_custkey, c_phone FROM customer LIMIT 5")):
        got = each["result"]["structuredContent"]
        assert got["row_count"] == 5
        assert "***" not in {row[1] for row in got["rows"]}
    assert {version["version"] for version in (await config("history"))[1]["versions"]} == {1, 2}


async def test_of_two_writers_at_once_one_wins_and_one_is_told(
    fleet: list[Running], config: Config, env_file: Path
) -> None:
    async def write(who: str) -> tuple[int | None, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "doris_mcp_server", "config", "set", f"DORIS_MCP_MAX_ROWS={len(who)}"),
            *("--author", who, "--if-version", "0", "--env-file", str(env_file), *WHY),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
        return process.returncode, said.decode(), who

    began = time.time()
    won, lost = sorted(await asyncio.gather(write("ann"), write("bob-and-all")))
    assert (won[0], lost[0]) == (0, 1)
    assert f"{won[2]} wrote version 1" in lost[1]
    await reached(fleet, 1, began)
    assert (await config("history"))[1]["versions"][0]["author"] == won[2]


async def test_cold_settings_wait_for_a_reload_and_are_shown_until_then(fleet: list[Running], config: Config) -> None:
    began = time.time()
    await config("set", "DORIS_MCP_MAX_ROWS=5", "DORIS_MCP_MAX_BODY_BYTES=2048", *WHY)
    await reached(fleet, 1, began)
    large = query("SELECT 1 " + "-" * 3000)
    assert {"error" in each for each in await on_each_worker(fleet, large)} == {False}
    pending = {"version": 1, "started": 0, "refused": []}
    for server in fleet:
        assert (await ctl.ask(server.ctl, {"do": "status"}))["settings"] == pending
    await ctl.ask(fleet[0].ctl, {"do": "reload"})
    async with asyncio.timeout(LIMIT):  # until the old ones, which may still take a connection, have gone
        while len((told := await ctl.ask(fleet[0].ctl, {"do": "status"}))["workers"]) > 2:
            await asyncio.sleep(0.05)
    assert told["settings"] == pending | {"started": 1}
    assert {each["error"]["message"] for each in await on_each_worker(fleet[:1], large)} == {
        "the body is larger than 2048 bytes"
    }


@pytest.mark.parametrize("environment", ["redis"], indirect=True)  # the store of a lone host is always there
async def test_a_server_that_starts_without_the_store_knows_what_is_set(
    config: Config, environment: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    await config("set", "DORIS_MCP_MAX_ROWS=5", "DORIS_MCP_MAX_BODY_BYTES=2048", *WHY)
    ours = environment | {"DORIS_MCP_STATE_DIR": str(tmp_path)}
    async with serving(tmp_path, **ours) as server:
        assert (await server.said("settings applied", version=1))["names"] == [
            "DORIS_MCP_MAX_BODY_BYTES",
            "DORIS_MCP_MAX_ROWS",
        ]
    admin = aioredis.Redis(port=request.getfixturevalue("redis_port"), password=PASSWORD)
    with pytest.raises(aioredis.ConnectionError):
        await admin.execute_command("SHUTDOWN", "NOSAVE")
    await admin.aclose()
    async with serving(tmp_path, **ours) as server:
        await server.said("settings applied", version=1)
        (refused,) = {each["error"]["message"] for each in await on_each_worker([server], query("-" * 3000))}
        assert refused == "the body is larger than 2048 bytes"
        (failed,) = {each["result"]["isError"] for each in await on_each_worker([server], query("SELECT 1"))}
        assert failed
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    async with serving(fresh, "--sandbox", **environment) as server:
        for each in await on_each_worker([server], query("SELECT 1")):
            error = json.loads(each["result"]["content"][0]["text"])["error"]
            assert (error["kind"], error["retryable"]) == ("store_unavailable", True)
            assert "does not know the fleet's settings" in error["message"]
