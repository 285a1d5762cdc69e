"""Real redis-server and Sentinel processes, ended by the test that started them."""

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import redis.asyncio as aioredis

from .conftest import LIMIT
from .ports import free_port

PASSWORD = "store-password"


@contextlib.contextmanager
def daemon(directory: Path, name: str, config: str, *args: str) -> Iterator[subprocess.Popen[bytes]]:
    # Debian's redis-tools has the server's binary under this name; the package redis-server would start a daemon.
    tool = shutil.which("redis-check-rdb")
    assert tool, "redis-tools is missing: make deps"
    binary = directory / "redis-server"
    if not binary.is_symlink():
        binary.symlink_to(tool)
    file = directory / f"{name}.conf"
    file.write_text(f'dir {directory}\nbind 127.0.0.1\ndaemonize no\nsave ""\n{config}\n')
    process = subprocess.Popen([str(binary), str(file), *args], stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Watched:
    """A primary, its replica and the Sentinel that watches them as `fleet`, half a second of silence long."""

    primary: subprocess.Popen[bytes]
    replica: subprocess.Popen[bytes]
    primary_port: int
    replica_port: int
    sentinel_port: int

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel_port}/fleet"


@contextlib.asynccontextmanager
async def watched(directory: Path) -> AsyncIterator[Watched]:
    """Redis behind Sentinel; when it is there, the Sentinel knows the replica."""
    first, second, sentinel = free_port(), free_port(), free_port()
    common = f"requirepass {PASSWORD}\nmasterauth {PASSWORD}\nrepl-diskless-sync-delay 0"
    for name in ("a", "b"):
        (directory / name).mkdir()
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(daemon(directory / "a", "redis", f"port {first}\n{common}"))
        await answers(first)
        follow = f"port {second}\n{common}\nreplicaof 127.0.0.1 {first}"
        replica = stack.enter_context(daemon(directory / "b", "redis", follow))
        await answers(second)
        watch = (
            f"port {sentinel}\nsentinel monitor fleet 127.0.0.1 {first} 1\nsentinel auth-pass fleet {PASSWORD}\n"
            "sentinel down-after-milliseconds fleet 500\nsentinel failover-timeout fleet 5000"
        )
        stack.enter_context(daemon(directory, "sentinel", watch, "--sentinel"))
        await answers(sentinel, None)
        asker = aioredis.Redis(port=sentinel, decode_responses=True)
        try:
            async with asyncio.timeout(LIMIT):
                while (await asker.sentinel_master("fleet"))["num-slaves"] < 1:
                    await asyncio.sleep(0.05)
        finally:
            await asker.aclose()
        yield Watched(primary, replica, first, second, sentinel)


async def answers(port: int, password: str | None = PASSWORD, user: str | None = None) -> None:
    client = aioredis.Redis(port=port, username=user, password=password)
    try:
        async with asyncio.timeout(LIMIT):
            while True:
                with contextlib.suppress(aioredis.ConnectionError):
                    if await client.ping():
                        return
                await asyncio.sleep(0.02)
    finally:
        await client.aclose()
