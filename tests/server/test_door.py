"""Who answers on a host that was taken out while its workers end, and until new ones listen."""

import asyncio
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from doris_mcp_server import RELEASE, door

from ..activation import activation
from ..echoes import ECHO, wait
from .conftest import LIMIT, modern, status

# Workers that wait for somebody at the other end of a pipe with a name before they begin.
HELD = """
from doris_mcp_server import worker
begin = worker.main

def main(*args):
    open(os.path.join(os.environ["DORIS_MCP_RUNTIME_DIR"], "go"), "rb").close()
    return begin(*args)

worker.main = main
"""
# A server that never gets to its workers.
STUCK = """
import signal
from doris_mcp_server import worker
worker.preload = lambda settings: signal.pause()
"""
# Workers that crash, and are started again in the far future.
CRASHING = """
from doris_mcp_server import slot, worker
slot.BACKOFF = (3600.0, 3600.0)
worker.main = lambda *args: 3
"""
ONE_CRASHING = """
from doris_mcp_server import slot, worker
slot.BACKOFF = (3600.0, 3600.0)
begin = worker.main
worker.main = lambda *args: begin(*args) if args[4] else 3
"""
# Time for clients to leave.
LINGERING = """
from doris_mcp_server import server
server.LINGER = 600.0
server.CONNECTIONS_LIMIT = 600.0
"""
# None at all.
HASTY = """
from doris_mcp_server import server
server.LINGER = server.LOOK = 0.001
"""
LISTING = modern("tools/list")


def fresh() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIMIT))


def drained(runtime: Path) -> None:
    """The host as a play leaves it that is about to restart it."""
    (runtime / "drain").write_text(f"{time.time() + 600:.3f} play:7 ann\n")


async def test_a_host_that_was_taken_out_turns_requests_away_while_it_starts(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    drained(tmp_path)
    os.mkfifo(tmp_path / "go")
    async with activation(tmp_path, 2) as host, host.start(workers=2, wait=False, patch=HELD) as server:
        for _ in range(8):  # some to each queue
            async with http.post(f"{host.url}/mcp", **LISTING) as response:
                assert (response.status, response.headers["retry-after"]) == (503, "1")
                assert response.headers["connection"] == "close" and "x-served-by" not in response.headers
                assert (await response.json())["error"]["message"] == door.AWAY
        await host.heard(f"STATUS=starting, 0 of 2 workers listen, release {RELEASE}")
        assert (await status(server))["state"] == "starting" and "READY=1" not in host.notified
        with (tmp_path / "go").open("r+b", buffering=0):
            await host.heard("READY=1")
        assert (await server.said("turned away until the workers listened"))["requests"] == 8
        async with http.post(f"{host.url}/mcp", **LISTING) as response:
            assert (response.status, response.headers["x-served-by"]) == (503, "node-a")
        assert (await status(server))["state"] == "draining"


async def test_without_a_drain_whoever_comes_while_it_starts_is_served_by_a_worker(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    os.mkfifo(tmp_path / "go")
    async with activation(tmp_path, 1) as host, host.start(wait=False, patch=HELD):
        waiting = asyncio.create_task(http.post(f"{host.url}/mcp", **LISTING))
        await host.heard(f"STATUS=starting, 0 of 1 workers listen, release {RELEASE}")
        assert not waiting.done()
        with (tmp_path / "go").open("r+b", buffering=0):
            async with await waiting as response:
                assert response.status == 200


async def test_until_a_worker_that_keeps_crashing_is_started_again_its_queue_is_attended(tmp_path: Path) -> None:
    async with activation(tmp_path, 1) as host, host.start(wait=False, patch=CRASHING) as server:
        async with fresh() as client, client.post(f"{host.url}/mcp", **LISTING) as response:
            assert (response.status, response.headers["retry-after"]) == (503, "1")
        server.signal(signal.SIGTERM)
        await server.process.wait()
        assert not living(tmp_path)


async def test_a_queue_that_another_worker_looks_at_as_well_is_left_to_it(tmp_path: Path) -> None:
    async with activation(tmp_path, 1) as host, host.start(workers=2, wait=False, patch=ONE_CRASHING) as server:
        await server.said("worker ended")
        for _ in range(50):
            async with fresh() as client, client.post(f"{host.url}/mcp", **LISTING) as response:
                assert response.status == 200


async def test_as_long_as_a_server_that_stops_has_connections_it_turns_new_ones_away(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    async with activation(tmp_path, 1) as host, host.start(patch=LINGERING) as server:
        async with http.get(f"{host.url}/livez") as response:
            await response.read()  # else the client closes this connection
        server.signal(signal.SIGTERM)
        await server.said("shutdown step", step="streams")
        async with fresh() as client, client.post(f"{host.url}/mcp", **LISTING) as response:
            assert response.status == 503
        await http.close()
        assert await server.process.wait() == 0


async def test_a_worker_without_calls_turns_requests_away_until_the_others_have_none(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    async with (
        activation(tmp_path, 2) as host,
        host.start(workers=2, patch=HASTY, DORIS_MCP_DRAIN_SECONDS="300", **ECHO) as server,
        asyncio.TaskGroup() as calls,
    ):
        running = calls.create_task(answered(http, f"{host.url}/mcp", wait(modern, 200.0)))
        async with asyncio.timeout(LIMIT):
            while not (await status(server))["inflight"]:
                await asyncio.sleep(0.02)
        server.signal(signal.SIGTERM)
        await server.said("shutdown step", step="streams")
        for _ in range(200):  # some to each queue, and some after uvicorn would have noticed that it should end
            async with fresh() as client, client.post(f"{host.url}/mcp", **LISTING) as response:
                assert (response.status, response.headers["retry-after"]) == (503, "1")
        running.cancel()
        assert await server.process.wait() == 0
        assert [line["result"] for line in server.lines if line.get("step") == "others"] == ["ok", "ok"]


async def answered(http: aiohttp.ClientSession, url: str, request: dict[str, Any]) -> None:
    """Return when the whole answer is there."""
    async with http.post(url, **request) as response:
        await response.read()


async def test_nobody_is_left_at_the_door_of_a_server_that_is_killed(tmp_path: Path) -> None:
    drained(tmp_path)
    async with activation(tmp_path, 1) as host, host.start(wait=False, patch=STUCK) as server:
        async with fresh() as client, client.post(f"{host.url}/mcp", **LISTING) as response:
            assert response.status == 503
        server.process.kill()
        await server.process.wait()
        async with asyncio.timeout(LIMIT):
            while living(tmp_path):
                await asyncio.sleep(0.02)


def living(runtime: Path) -> list[str]:
    """The processes of the server with this runtime directory."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(runtime).encode() in environ.read_bytes():
                found.append(environ.parent.name)
        except OSError:  # it ended meanwhile
            continue
    return found


@pytest.fixture
def at_door() -> Iterator[tuple[int, int]]:
    """Somebody at the door of a port; closed by the descriptor beside it."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        end, hold = os.pipe()
        thread = threading.Thread(target=door._keep, args=([sock], end))
        thread.start()
        yield sock.getsockname()[1], hold
        os.close(hold)
        thread.join(LIMIT)
        assert not thread.is_alive()
        os.close(end)


def ask(port: int, request: bytes) -> bytes:
    """All that comes back until the other side has no more to say."""
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(1 << 16), b""))


@pytest.mark.parametrize("size", [0, 10, 10_000_000])
def test_the_answer_is_whole_however_much_a_client_sends(size: int, at_door: tuple[int, int]) -> None:
    request = b"POST /mcp HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size
    head, _, body = ask(at_door[0], request).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ") and f"content-length: {len(body)}".encode() in head
    assert json.loads(body)["error"]["message"] == door.AWAY


@pytest.mark.parametrize("sent", [b"", b"POST /mcp HT", b"\x16\x03\x01\x02\x00"])
def test_a_client_that_does_not_finish_is_shown_out_and_keeps_nobody_waiting(
    sent: bytes, at_door: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "PATIENCE", 0.1)
    with socket.create_connection(("127.0.0.1", at_door[0]), timeout=LIMIT) as slow:
        slow.sendall(sent)
        assert ask(at_door[0], b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").startswith(b"HTTP/1.1 503 ")
        assert slow.recv(100) == b""


def test_a_head_without_end_is_answered_and_not_kept(at_door: tuple[int, int]) -> None:
    assert ask(at_door[0], b"GET / HTTP/1.1\r\nx: " + b"a" * 100_000).startswith(b"HTTP/1.1 503 ")


def test_who_was_let_in_is_answered_after_the_door_was_closed(at_door: tuple[int, int]) -> None:
    port, hold = at_door
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as client:
        client.sendall(b"GET / HTTP/1.1\r\n")
        ask(port, b"GET / HTTP/1.1\r\n\r\n")  # let in after that one
        with Path(os.devnull).open("wb") as other:
            os.dup2(other.fileno(), hold)
        client.sendall(b"\r\n")
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 503 ")
