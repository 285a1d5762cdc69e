"""How a server starts: what it says where it cannot, and what systemd hands it and hears."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import aiohttp
import pytest

from doris_mcp_server import RELEASE, ctl
from doris_mcp_server.errors import ServerError

from ..activation import activation
from .conftest import LIMIT, Launch, modern, status


async def test_a_port_in_use_is_one_line_with_the_fix(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "doris_mcp_server", "--transport", "http", "--port", str(port)),
            stderr=asyncio.subprocess.PIPE,
        )
        _, stderr = await process.communicate()
    assert process.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in stderr.decode()
    assert "fix: " in stderr.decode()
    assert "Traceback" not in stderr.decode()


async def test_a_state_directory_that_cannot_be_used_is_one_line_with_the_fix(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "doris_mcp_server", "--transport", "http", "--port", "0"),
        env=os.environ | {"DORIS_MCP_STATE_DIR": str(tmp_path / "missing")},
        stderr=asyncio.subprocess.PIPE,
    )
    _, stderr = await process.communicate()
    assert process.returncode == 2
    assert f"cannot be kept in {tmp_path}/missing" in stderr.decode() and "fix: " in stderr.decode()
    assert "Traceback" not in stderr.decode()


async def test_workers_that_cannot_open_the_state_say_why_and_start_once_they_can(
    launch: Launch, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    async with launch(DORIS_MCP_STATE_DIR=str(state)) as server:
        away = state.rename(tmp_path / "away")
        server.signal(signal.SIGHUP)
        line = await server.said("this worker cannot start")
        assert f"cannot be kept in {state}" in line["reason"] and "exception" not in line
        await server.said("reload failed")
        away.rename(state)
        server.signal(signal.SIGHUP)
        await server.said("reloaded")


# -- under systemd -------------------------------------------------------------------------------------------


async def test_systemd_is_told_what_goes_on(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    async with activation(tmp_path, 2) as host:
        async with host.start(workers=2) as server:
            await host.heard("READY=1")
            await host.heard(f"STATUS=running, 2 of 2 workers listen, release {RELEASE}")
            await host.heard("WATCHDOG=1")
            await ctl.ask(server.ctl, {"do": "drain", "for": 60})
            await host.heard(f"STATUS=draining, 0 in flight, release {RELEASE}")
            server.signal(signal.SIGTERM)
            await host.heard("STOPPING=1")
            assert await server.process.wait() == 0
        assert host.notified.index("READY=1") < host.notified.index("WATCHDOG=1") < host.notified.index("STOPPING=1")


@pytest.mark.parametrize(("queues", "workers"), [(1, 2), (2, 3), (3, 2)])
async def test_every_worker_serves_and_every_socket_is_served_whatever_systemd_hands_over(
    queues: int, workers: int, tmp_path: Path
) -> None:
    listing = modern("tools/list")
    async with activation(tmp_path, queues) as host, host.start(workers=workers) as server:
        assert (await server.said("sockets and workers differ in number"))["sockets"] == queues
        async with asyncio.timeout(LIMIT):
            while not all(worker["served"] for worker in (await status(server))["workers"]):
                # With an unserved socket some of these would wait for ever.
                async with aiohttp.ClientSession() as fresh, fresh.post(f"{host.url}/mcp", **listing) as response:
                    assert response.status == 200
        assert len((await status(server))["workers"]) == workers


FIRST_ONLY = """
from doris_mcp_server import report, worker
report.PATIENCE = 0.1
serve = worker.main

def main(*args):
    marker = os.path.join(os.environ["DORIS_MCP_RUNTIME_DIR"], "first")
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        raise RuntimeError("not today")
    return serve(*args)

worker.main = main
"""


async def test_a_reload_whose_new_worker_does_not_start_leaves_the_old_one_serving(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    async with activation(tmp_path, 1) as host, host.start(patch=FIRST_ONLY) as server:
        before = (await status(server))["workers"][0]["pid"]
        with pytest.raises(ServerError, match="the old ones go on serving"):
            await ctl.ask(server.ctl, {"do": "reload"})
        server.signal(signal.SIGHUP)
        await server.said("reload failed")
        async with http.get(f"{host.url}/livez") as response:
            assert response.status == 200
        (worker,) = (await status(server))["workers"]
        assert (worker["pid"], worker["replaced"]) == (before, 0)


async def test_a_worker_that_never_starts_does_not_keep_the_others_from_serving(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    async with activation(tmp_path, 2) as host, host.start(workers=2, wait=False, patch=FIRST_ONLY) as server:
        await host.heard("READY=1")
        await server.said("worker ended", 3)
        await host.heard("WATCHDOG=1")
        now = await status(server)
        assert (now["state"], now["ready"]) == ("starting", False)
        assert "serving" in {worker["state"] for worker in now["workers"]}
