"""Results larger than anybody wants: ten million rows, rows without end, a cell of a gigabyte."""

import contextlib
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from doris_mcp_server.doris.driver import Name

from ..bench.databases import mariadb
from ..conftest import TOKEN, serving
from ..fleet.load import SHORT, Load, Report
from ..server.doris.conftest import END, OK, Frontend, Packet, column, number, result, row
from .asking import Told, ask
from .house import House, Server, look_into

TEN_MILLION_ROWS: Final = "SELECT 1 AS n FROM " + ", ".join(
    f"(SELECT 1{' UNION ALL SELECT 1' * 9}) AS t{place}" for place in range(7)
)
ENDLESS_ROWS: Final = "SELECT n FROM endless"
CELL: Final = 1 << 30  # bytes
SCRIPTED_CELL: Final = "SELECT cell FROM large"
MARIADB_CELL: Final = f"SELECT repeat('x', {CELL - 1024}) AS cell"  # with its row no larger than MariaDB allows
WHOLE: Final = b"x" * 0xFFFFFF  # the payload of a packet that another one continues
BYTES: Final = {"default": {}, "64 MB": {"DORIS_MCP_MAX_RESULT_BYTES": str(64 << 20)}}
"""Settings by what they allow of a result."""


@dataclass(frozen=True)
class Taken:
    """What the caller was told, the worker's largest memory so far in MB, and how its other callers fared meanwhile."""

    told: Told
    peak: float
    others: Report


@dataclass(frozen=True)
class Scripted(Server):
    """A server and the frontend that follows our script."""

    frontend: Frontend


def script(sql: str) -> Iterable[Packet]:
    """What is asked decides what is large; a nonce is given back."""
    if sql == SCRIPTED_CELL:
        return _cell()
    if sql == ENDLESS_ROWS:
        return _rows()
    if nonce := re.match("SELECT '(.*)' AS nonce", sql):
        return result([("nonce", 253)], [[nonce[1].encode()]])
    return [OK]


def _cell() -> Iterator[Packet]:
    yield from (number(1), column("cell", 252), END)
    yield number(CELL) + WHOLE[: -len(number(CELL))]
    for _ in range(CELL // len(WHOLE) - 1):
        yield WHOLE
    yield WHOLE[: CELL % len(WHOLE) + len(number(CELL))]
    yield END


def _rows() -> Iterator[Packet]:
    yield from (number(1), column("n", 3), END)
    while True:
        yield row([b"1"])


@contextlib.asynccontextmanager
async def scripted(folder: Path, driver: Name, **settings: str) -> AsyncIterator[Scripted]:
    frontend = Frontend()
    frontend.script = script
    await frontend.start()
    where = {"DORIS_HOST": f"127.0.0.1:{frontend.port}", "DORIS_MCP_DRIVER": driver}
    try:
        async with serving(folder, DORIS_MCP_TOKEN=TOKEN, **where, **settings) as server:
            await server.said("doris answers")
            yield Scripted(server, frontend)
    finally:
        await frontend.stop()


@contextlib.asynccontextmanager
async def stored(folder: Path, driver: Name, **settings: str) -> AsyncIterator[House]:
    """A server on a MariaDB that gives away a whole gigabyte."""
    with mariadb(folder, "--max-allowed-packet=1G") as where:
        async with serving(folder, DORIS_MCP_TOKEN=TOKEN, DORIS_MCP_DRIVER=driver, **where, **settings) as server:
            await server.said("doris answers")
            port = int(where["DORIS_PORT"])
            database = await look_into(port)
            try:
                yield House(server, database, port)
            finally:
                database.abort()


async def take(it: Server, sql: str) -> Taken:
    """Ask for something large while others ask for little."""
    async with Load(f"{it.running.url}/mcp", TOKEN, mix=SHORT) as load:
        await load.answers(10)
        told = await ask(it.port, sql)
        await load.answers(10)
    return Taken(told, await it.memory(), load.report)
