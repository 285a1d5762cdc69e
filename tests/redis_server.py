"""Real redis-server and Sentinel processes, ended by the test that started them."""

import asyncio
import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import redis.asyncio as aioredis

from .conftest import LIMIT

PASSWORD = "store-password"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


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


async def answers(port: int, password: str | None = PASSWORD) -> None:
    client = aioredis.Redis(port=port, password=password)
    try:
        async with asyncio.timeout(LIMIT):
            while True:
                with contextlib.suppress(aioredis.ConnectionError):
                    if await client.ping():
                        return
                await asyncio.sleep(0.02)
    finally:
        await client.aclose()
