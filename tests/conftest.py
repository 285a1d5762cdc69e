"""Servers the tests talk to: real processes on ports of their own, ended by the test that started them."""

import asyncio
import contextlib
import functools
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .certificate import Certificate, make_certificate

LIMIT = 60.0  # seconds: generous, the machine may be busy
TOKEN = "test-token-0123456789abcdef"


@dataclass
class Running:
    """A server process and what it said on stderr."""

    process: asyncio.subprocess.Process
    runtime: Path
    lines: list[dict[str, Any]] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def read(self) -> None:
        assert self.process.stderr is not None
        async for raw in self.process.stderr:
            try:
                line = json.loads(raw)
            except ValueError:
                line = {"message": raw.decode().strip(), "plain": True}
            async with self._news:
                self.lines.append(line)
                self._news.notify_all()

    async def said(self, message: str, times: int = 1, **fields: object) -> dict[str, Any]:
        """Wait until the server logged `message` with these fields that many times; the last of these lines.

        A line may come a moment later than the answer it is about.
        """
        wanted = {"message": message, **fields}.items()
        async with asyncio.timeout(LIMIT), self._news:
            while len(found := [line for line in self.lines if wanted <= line.items()]) < times:
                assert self.process.returncode is None, f"the server ended: {self.lines}"
                await self._news.wait()
            return found[times - 1]

    @property
    def url(self) -> str:
        return "http://" + str(next(line["address"] for line in self.lines if line["message"] == "listening"))

    @property
    def ctl(self) -> str:
        return str(self.runtime / "ctl.sock")

    def signal(self, sig: signal.Signals) -> None:
        os.kill(self.process.pid, sig)


@contextlib.asynccontextmanager
async def serving(
    runtime: Path,
    *args: str,
    workers: int = 1,
    wait: bool = True,
    program: tuple[str, str] = ("-m", "doris_mcp_server"),
    fds: Sequence[int] = (),
    **variables: str,
) -> AsyncIterator[Running]:
    """Run `python -m doris_mcp_server --transport http` with these variables; ready when every worker listens.

    It inherits the descriptors `fds`.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("DORIS_", "REDIS_"))}
    env = inherited | {"DORIS_MCP_RUNTIME_DIR": str(runtime), "DORIS_MCP_NODE_NAME": "node-a"} | variables
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *program, "--transport", "http", "--port", "0"),
        *("--workers", str(workers), *args),
        env=env,
        pass_fds=fds,
        stderr=asyncio.subprocess.PIPE,
    )
    server = Running(process, runtime)
    reading = asyncio.create_task(server.read())
    try:
        if wait:
            await server.said("worker listens", workers)
        yield server
    finally:
        await end(process)
        await reading


async def end(process: asyncio.subprocess.Process) -> None:
    """Have it end by itself; one that does not within LIMIT is killed."""
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(LIMIT):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


Launch = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    """`serving`, with a runtime directory of this test's own."""
    return functools.partial(serving, tmp_path)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))
