"""Callers who go away while their statements run: how long these live on in the database."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from doris_mcp_server.doris.driver import Name

from ..bench.databases import mariadb
from ..conftest import TOKEN, serving
from .house import House, look_into, until
from .storm import Call, Line
from .wire import Connection

CALLS = 200
SETTINGS = {
    "DORIS_MCP_TOKEN": TOKEN,
    "CONNECTION_POOL_SIZE": str(CALLS),
    "MAX_CONNECTIONS": str(2 * CALLS),
    "DORIS_MCP_MAX_CONCURRENT": str(CALLS),
    "DORIS_MCP_MAX_CONCURRENT_PER_PRINCIPAL": str(CALLS),
    "DORIS_MCP_QUERY_TIMEOUT": "600",
    "DORIS_MCP_CONNECT_TIMEOUT": "30",
}


@dataclass(frozen=True)
class Gone:
    """`seconds` from the first caller that left to the end of the last statement; `wrong` of the answers after it."""

    seconds: float
    wrong: list[str]


LOCK = (
    "CREATE DATABASE slow",
    "CREATE TABLE slow.locked (n INT) ENGINE=MEMORY",
    "LOCK TABLES slow.locked WRITE",
)
"""Reading it takes for ever. Once a second MariaDB looks by itself whether a client that waits is still there, so the
kills must be counted as well. Not sleep(): whoever looks at the process list then holds up a KILL for two seconds."""


@contextlib.asynccontextmanager
async def house(folder: Path, driver: Name) -> AsyncIterator[House]:
    """A server whose pool has room for CALLS statements, on a MariaDB of its own."""
    with mariadb(folder) as where:
        async with serving(folder, DORIS_MCP_DRIVER=driver, **SETTINGS, **where) as server:
            await server.said("doris answers")
            port = int(where["DORIS_PORT"])
            database, locker = await look_into(port), await look_into(port)
            for sql in LOCK:
                await locker.command(sql)
            try:
                yield House(server, database, port)
            finally:
                locker.abort()
                database.abort()


async def leave(it: House) -> Gone:
    """CALLS callers of both eras ask for what takes long, and go: every second one with a reset."""
    lines = [Line(it.port) for _ in range(CALLS)]
    async with contextlib.AsyncExitStack() as stack:
        for number, line in enumerate(lines):
            stack.push_async_callback(line.drop)
            _send(await line.open(), number, "n FROM slow.locked")
        await until(it.statements, lambda running: len(running) == CALLS)
        began = time.monotonic()
        await asyncio.gather(*(line.drop(reset=number % 2 == 0) for number, line in enumerate(lines)))
        await until(it.statements, lambda running: not running, every=0.01)
        seconds = time.monotonic() - began
        asked = [(line, _send(await line.open(), number, "1")) for number, line in enumerate(lines)]
        verdicts = [call.verdict(await (await line.open()).answer()) for line, call in asked]
    return Gone(seconds, [verdict for verdict in verdicts if verdict != "ok"])


def _send(connection: Connection, number: int, column: str) -> Call:
    nonce = secrets.token_hex(8)
    session = None if number % 4 < 2 else ""
    call = Call(nonce, nonce, f"SELECT '{nonce}' AS nonce, {column}", 0, session, odd=number % 8 == 0, progress=False)
    connection.send(b"".join(call.request()))
    return call
