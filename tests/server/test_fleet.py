"""`doris-mcp-server fleet` beside real servers: what an operator sees of them, from their start to their end."""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from doris_mcp_server import RELEASE, ctl
from doris_mcp_server.cli import main

from ..redis_server import PASSWORD
from .conftest import LIMIT, TOKEN, Running, serving

Hosts = dict[str, dict[str, Any]]


@pytest.fixture
def environment(redis_port: int) -> dict[str, str]:
    return {
        "REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        "REDIS_PASSWORD": PASSWORD,
        "DORIS_MCP_TOKEN": TOKEN,
        "DORIS_MCP_TOKEN_KEY": "ab" * 32,
        "DORIS_MCP_CONFIG_DIGEST": "0123456789abcdef",
    }


class Fleet:
    """`fleet`, as a person and as a script asks for it."""

    def __init__(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._file = file
        self._capsys = capsys

    async def said(self, *args: str) -> str:
        assert await asyncio.to_thread(main, ["fleet", *args, "--env-file", str(self._file)]) == 0
        return self._capsys.readouterr().out

    async def hosts(self) -> Hosts:
        return {host["node"]: host for host in json.loads(await self.said("--json"))["hosts"]}

    async def until(self, wanted: Callable[[Hosts], Any]) -> Hosts:
        async with asyncio.timeout(LIMIT):
            while not wanted(hosts := await self.hosts()):
                await asyncio.sleep(0.05)
        return hosts


@pytest.fixture
def fleet(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Fleet:
    file = tmp_path / "doris-mcp.env"
    file.write_text("".join(f"{name}={value}\n" for name, value in environment.items()))
    for name in ("REDIS_URL", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    return Fleet(file, capsys)


def folder(path: Path) -> Path:
    path.mkdir()
    return path


async def pids(server: Running) -> set[int]:
    return {worker["pid"] for worker in (await ctl.ask(server.ctl, {"do": "status"}))["workers"]}


async def test_hosts_are_in_it_from_their_first_word_to_their_last(
    fleet: Fleet, environment: dict[str, str], tmp_path: Path
) -> None:
    assert "no worker says that it serves" in await fleet.said()
    a = environment | {"DORIS_MCP_NODE_NAME": "app-1"}
    b = environment | {"DORIS_MCP_NODE_NAME": "app-2"}
    async with (
        serving(folder(tmp_path / "b"), "--sandbox", **b) as two,
        serving(folder(tmp_path / "a"), workers=2, **a) as one,
    ):
        hosts = await fleet.until(
            lambda hosts: (
                [host["state"] for host in hosts.values()] == ["not_ready", "ready"]
                and len(hosts["app-1"]["workers"]) == 2
            )
        )
        assert {worker["pid"] for worker in hosts["app-1"]["workers"]} == await pids(one)
        assert [worker["slot"] for worker in hosts["app-1"]["workers"]] == [0, 1]
        assert any(reason.startswith("doris: ") for reason in hosts["app-1"]["reasons"])
        assert (hosts["app-2"]["ready"], hosts["app-2"]["reasons"]) == (1, [])
        (worker,) = hosts["app-2"]["workers"]
        assert worker["release"] == RELEASE
        assert worker["config"] == environment["DORIS_MCP_CONFIG_DIGEST"]
        assert "http://" + worker["address"] == two.url
        heading, first, second, *reasons = (await fleet.said()).splitlines()
        assert heading.split()[:4] == ["host", "state", "release", "workers"]
        assert first.startswith("app-1  not ready  ")
        assert second.startswith("app-2  ready      ")
        assert [line.partition(":")[0] for line in reasons] == ["app-1"]

        await ctl.ask(two.ctl, {"do": "drain", "for": 120})
        await fleet.until(lambda hosts: hosts["app-2"]["state"] == "draining")
        two.signal(signal.SIGTERM)
        await two.process.wait()
        assert list(await fleet.hosts()) == ["app-1"]  # it took itself out
        (killed, _) = sorted(await pids(one))
        os.kill(killed, signal.SIGKILL)
        await fleet.until(
            lambda hosts: (
                len(workers := hosts["app-1"]["workers"]) == 2 and killed not in {worker["pid"] for worker in workers}
            )
        )


async def test_a_reloaded_worker_takes_its_place_and_the_old_one_leaves(
    fleet: Fleet, environment: dict[str, str], tmp_path: Path
) -> None:
    async with serving(folder(tmp_path / "a"), **environment) as server:
        (before,) = (await fleet.until(lambda hosts: hosts))["node-a"]["workers"]
        server.signal(signal.SIGHUP)
        await server.said("worker retired")
        (after,) = (await fleet.until(lambda hosts: len(hosts["node-a"]["workers"]) == 1))["node-a"]["workers"]
        assert (after["slot"], after["pid"] != before["pid"]) == (0, True)


async def test_a_lone_host_without_redis_sees_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("REDIS_URL", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "doris-mcp.env"
    state = folder(tmp_path / "state")
    file.write_text(f"DORIS_MCP_STATE_DIR={state}\n")
    async with serving(folder(tmp_path / "a"), workers=2, DORIS_MCP_STATE_DIR=str(state)):
        hosts = await Fleet(file, capsys).until(lambda hosts: hosts and len(hosts["node-a"]["workers"]) == 2)
        assert {worker["slot"] for worker in hosts["node-a"]["workers"]} == {0, 1}
