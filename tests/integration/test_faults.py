"""A worker blocked, stopped or killed, and the supervisor killed, behind the balancer: replaced, and no client notices.

How long that took is printed (`pytest -rP`), not judged.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from doris_mcp_server import ctl

from ..activation import Activation, activation
from ..balancer import balancing
from ..conftest import LIMIT, Running
from ..echoes import ECHO, Echoes, echoing
from ..server.conftest import modern

WORKERS = 2


@dataclass
class Fleet:
    """Two hosts behind a balancer, and clients of it that never pause."""

    host: Activation  # the one things happen to
    server: Running
    echoes: Echoes
    _life: AsyncExitStack = field(repr=False)

    async def workers(self) -> set[int]:
        return {worker["pid"] for worker in (await ctl.ask(self.server.ctl, {"do": "status"}))["workers"]}

    async def start_again(self) -> None:
        """What systemd does when the main process has ended."""
        self.server = await self._life.enter_async_context(self.host.start(workers=WORKERS, **ECHO))

    async def goes_on(self) -> None:
        """Wait for many more answers."""
        right = self.echoes.right
        await self.echoes.until(lambda seen: seen.right > right + 200)


@asynccontextmanager
async def fleet(directory: Path) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as life:
        hosts = []
        for name in ("edge", "one", "two"):
            (directory / name).mkdir()
        for name in ("one", "two"):
            host = await life.enter_async_context(activation(directory / name, WORKERS))
            hosts.append((host, await life.enter_async_context(host.start(workers=WORKERS, **ECHO))))
        port = await life.enter_async_context(balancing(directory / "edge", [host.port for host, _ in hosts]))
        async with AsyncExitStack() as clients:
            load = echoing(f"http://127.0.0.1:{port}", clients=4, seconds=(0.3,))
            found = Fleet(*hosts[0], await clients.enter_async_context(load), life)
            await found.goes_on()
            yield found
            await found.goes_on()


async def blocked(fleet: Fleet) -> None:
    """Past the balancer, which would bring the same to the other host; returns when the worker is gone."""
    block = modern("tools/call", {"name": "test_block", "arguments": {"text": "", "seconds": 600}})
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIMIT)) as http:
        with pytest.raises(aiohttp.ClientError):
            async with http.post(f"{fleet.host.url}/mcp", **block):
                pass


async def stopped(fleet: Fleet) -> None:
    os.kill(min(await fleet.workers()), signal.SIGSTOP)


async def killed(fleet: Fleet) -> None:
    os.kill(min(await fleet.workers()), signal.SIGKILL)


@pytest.mark.parametrize("fault", [blocked, stopped, killed])
async def test_a_lost_worker_is_replaced_and_no_client_notices(
    fault: Callable[[Fleet], Awaitable[None]], tmp_path: Path
) -> None:
    async with fleet(tmp_path) as found:
        before = await found.workers()
        began = datetime.now(UTC)
        await fault(found)
        await found.server.said("worker ended")
        listens = await found.server.said("worker listens", WORKERS + 1)
        assert len(before & await found.workers()) == WORKERS - 1
    print(f"replaced after {datetime.fromisoformat(listens['time']) - began}, {found.echoes.right} right answers")
    assert not (found.echoes.wrong or found.echoes.again), found.echoes


async def test_a_killed_supervisor_leaves_no_worker_and_no_client_notices(tmp_path: Path) -> None:
    async with fleet(tmp_path) as found:
        before = await found.workers()
        began = datetime.now(UTC)
        found.server.signal(signal.SIGKILL)
        await found.server.process.wait()
        await found.start_again()
        listens = await found.server.said("worker listens", WORKERS)
        async with asyncio.timeout(LIMIT):
            while any(Path(f"/proc/{pid}").exists() for pid in before):
                await asyncio.sleep(0.02)
        assert not before & await found.workers()
    print(f"started anew after {datetime.fromisoformat(listens['time']) - began}, {found.echoes.right} right answers")
    assert not (found.echoes.wrong or found.echoes.again), found.echoes
