"""Two frontends that die, hang and come back while the server is asked: how long nobody gets a right answer."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from doris_mcp_server.doris.driver import Name

from ..bench.databases import listens, running
from ..conftest import TOKEN, serving
from ..fleet.load import SHORT, Load, Report
from ..ports import free_port
from .asking import Told, ask
from .house import Server, until

CALLERS = 8
RATE = 50.0  # requests a second: those that wait for a frontend that hangs find room in the queue
BEFORE, AFTER = 50, 200  # answers before and after the fault
RETRYABLE = "tool error doris_unavailable"
WHO = "SELECT count(*) FROM ssb.lineorder"


class Engine:
    """A demo engine that can die and come back on the same port. Which one answers is seen by its `rows`."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.rows = rows
        self.port = free_port()
        self._log = folder / f"engine-{rows}.log"
        self._stack = contextlib.ExitStack()
        self._process: Popen[bytes] | None = None

    async def start(self) -> None:
        options = ["--port", str(self.port), "--rows", str(self.rows)]
        command = [sys.executable, "-m", "doris_mcp_server", "sandbox", *options]
        self._process = self._stack.enter_context(running(command, self._log))
        await asyncio.to_thread(listens, self.port, self._process)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def hang(self) -> None:
        self._signal(signal.SIGSTOP)

    async def come_back(self) -> None:
        """Go on, or start anew."""
        self._signal(signal.SIGCONT)
        if self._process is None or self._process.poll() is not None:
            await self.start()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def close(self) -> None:
        self._signal(signal.SIGCONT)  # one that hangs would not hear that it is to end
        self._stack.close()


@dataclass(frozen=True)
class Pair(Server):
    """A server with two frontends, the first of which is preferred."""

    engines: tuple[Engine, Engine]

    async def who_answers(self) -> int | None:
        """The rows of the engine that does; None: none."""
        told = await ask(self.port, WHO)
        return told.result and int(told.result["rows"][0][0])

    async def checks(self) -> tuple[int, int, str]:
        """The status of /livez, and that of /readyz with its reason."""
        alive, _ = await self.page("/livez")
        ready, text = await self.page("/readyz")
        return alive, ready, str(json.loads(text)["checks"]["doris"]["reason"])

    async def back(self) -> None:
        """Wait until both are in use again, and the first one answers."""
        await until(lambda: self.figure("doris_mcp_frontend_up"), lambda up: up == len(self.engines))
        await until(self.who_answers, lambda rows: rows == self.engines[0].rows)


@contextlib.asynccontextmanager
async def pair(folder: Path, driver: Name) -> AsyncIterator[Pair]:
    async with contextlib.AsyncExitStack() as stack:
        engines = Engine(folder, 500), Engine(folder, 600)
        for engine in engines:
            stack.callback(engine.close)
        await asyncio.gather(*(engine.start() for engine in engines))
        where = ",".join(f"127.0.0.1:{engine.port}" for engine in engines)
        settings = {"DORIS_MCP_TOKEN": TOKEN, "DORIS_HOST": where, "DORIS_MCP_DRIVER": driver}
        server = await stack.enter_async_context(serving(folder, **settings))
        it = Pair(server, engines)
        await server.said("doris answers")
        await it.back()
        yield it


async def lose_first(it: Pair, how: Callable[[Engine], None]) -> Report:
    """Under load, the first frontend is lost; what the clients saw until the second had given many answers."""
    async with Load(f"{it.running.url}/mcp", TOKEN, RATE, mix=SHORT) as load:
        await load.answers(BEFORE)
        how(it.engines[0])
        await load.answers(AFTER)
    return load.report


def wrong(report: Report) -> list[str]:
    """What was neither a right answer nor an error that says to try again."""
    wrong = [reason for reason in report.reasons if reason != RETRYABLE]
    return wrong + ["an answer that is somebody else's"] * (report.foreign + report.duplicated)


async def lose_all(it: Pair) -> list[Told]:
    """Both frontends are killed under the callers' hands; what each of CALLERS callers is told."""
    for engine in it.engines:
        engine.kill()
    return await asyncio.gather(*(ask(it.port, WHO) for _ in range(CALLERS)))
