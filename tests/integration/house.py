"""A server, the database behind it, and a look into both."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp

from doris_mcp_server import ctl
from doris_mcp_server.doris.driver import Login, Name, choose
from doris_mcp_server.doris.frontends import Frontend
from doris_mcp_server.doris.wire import Wire

from ..conftest import LIMIT, Running

T = TypeVar("T")

DRIVERS: Final[tuple[Name, ...]] = ("asyncmy", "aiomysql")


@dataclass(frozen=True)
class Left:
    """What a worker holds: asyncio tasks and file descriptors."""

    tasks: int
    descriptors: int


@dataclass(frozen=True)
class Server:
    """A running server, seen from outside."""

    running: Running

    @property
    def port(self) -> int:
        return int(self.running.url.rpartition(":")[2])

    async def workers(self) -> dict[int, dict[str, Any]]:
        """What `ctl status` says of each worker, by pid."""
        status = await ctl.ask(self.running.ctl, {"do": "status"})
        return {worker["pid"]: worker for worker in status["workers"]}

    async def left(self) -> dict[int, Left]:
        """What each worker holds; empty as long as a call is in flight."""
        workers = await self.workers()
        if any(worker["inflight"] for worker in workers.values()):
            return {}
        return {
            pid: Left(each["tasks"], sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())) for pid, each in workers.items()
        }

    async def page(self, path: str) -> tuple[int, str]:
        """Status and text of one of its pages."""
        async with aiohttp.ClientSession() as client, client.get(f"{self.running.url}{path}") as response:
            return response.status, await response.text()

    async def figure(self, name: str, **labels: str) -> float:
        """A metric, summed over the series that have these labels."""
        _, text = await self.page("/metrics")
        wanted = {f'{label}="{value}"' for label, value in labels.items()}
        series = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
        return sum(float(value) for shown, value in series if wanted <= set(shown.split(",")))

    async def memory(self, what: str = "VmHWM") -> float:
        """MB of the largest worker: at its peak (VmHWM), or now (VmRSS)."""
        seen = [Path(f"/proc/{pid}/status").read_text(encoding="ascii") for pid in await self.workers()]
        return max(int(text.partition(f"{what}:")[2].split()[0]) / 1024 for text in seen)

    def complaints(self) -> list[str]:
        """What the server logged that it should not have had to."""
        bad = [line for line in self.running.lines if line.get("plain") or line["level"] in ("ERROR", "CRITICAL")]
        kills = [line for line in self.running.lines if line["message"].startswith("kill failed")]
        return [str(line.get("exception", line)) for line in bad + kills]


@dataclass(frozen=True)
class House(Server):
    """A server and its one database."""

    database: Wire
    database_port: int

    async def sessions(self) -> list[str | None]:
        """The statement, or None, of each connection to the database, without ours."""
        columns, rows, _ = await self.database.run("SHOW FULL PROCESSLIST", max_rows=10_000, max_bytes=1 << 24)
        at = {column.name: index for index, column in enumerate(columns)}
        others = (row for row in rows if str(row[at["Id"]]) != str(self.database.connection_id))
        return [str(row[at["Info"]]) if row[at["Command"]] == "Query" else None for row in others]

    async def statements(self) -> list[str]:
        """What runs in the database now."""
        return [statement for statement in await self.sessions() if statement is not None]

    async def connections_made(self) -> int:
        """How many connections the database has taken since it began: they are numbered."""
        wire = await look_into(self.database_port)
        wire.abort()
        return wire.connection_id


async def look_into(port: int) -> Wire:
    """A connection of our own to a database on loopback, past the server."""
    async with asyncio.timeout(LIMIT):
        return await Wire.open(Frontend("127.0.0.1", port), Login("root", "", None, None), choose())


async def until(look: Callable[[], Awaitable[T]], holds: Callable[[T], Any], every: float = 0.1) -> T:
    """Look, `every` so many seconds, until what is seen `holds`; that. AssertionError with what was seen last."""
    try:
        async with asyncio.timeout(LIMIT):
            while not holds(seen := await look()):
                await asyncio.sleep(every)
            return seen
    except TimeoutError:
        raise AssertionError(f"still so after {LIMIT:g} s: {seen}") from None
