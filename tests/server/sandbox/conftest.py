"""Demo engines for all the tests here, and real connections to them."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiomysql
import pytest
import uvloop

from doris_mcp_server import sandbox
from doris_mcp_server.sandbox.endpoint import Sandbox
from doris_mcp_server.sandbox.options import Options

PASSWORD = "demo-password"
ROWS = 2000
ACCOUNTS = [
    {"user": "weak", "password": "weak-password", "grants": ["internal.ssb.customer"]},
    {"user": "ops", "password": "ops-password", "grants": ["internal.ops.*", "lake.raw.clicks"]},
    {"user": "viewer", "password": "", "grants": ["internal.ssb.revenue_by_year"]},
    {"user": "busy", "password": "", "grants": ["*"], "max_user_connections": 2},
]

Start = Callable[..., Sandbox]
Connect = Callable[..., AbstractAsyncContextManager[aiomysql.Connection]]
Ask = Callable[..., Awaitable[tuple[list[str], list[tuple[Any, ...]]]]]


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self, make: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self._loop = make()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=60)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="session")
def start() -> Iterator[Start]:
    """Give the engine of these options, started when it is first asked for; it outlives the loop of each test."""
    loops: dict[Any, Loop] = {}
    engines: dict[Any, Sandbox] = {}

    def started(options: Options | None = None, make: Any = asyncio.new_event_loop) -> Sandbox:
        options = options or Options(http_port=0)
        loop = loops[make] = loops.get(make) or Loop(make)
        if (make, options) not in engines:
            made = sandbox.start("127.0.0.1", 0, "root", PASSWORD, ROWS, options=options)
            engines[make, options] = loop.wait(made)
        return engines[make, options]

    try:
        yield started
    finally:
        for (make, _), engine in engines.items():
            loops[make].wait(engine.close())
        for loop in loops.values():
            loop.close()


@pytest.fixture(scope="session")
def engine(start: Start) -> Sandbox:
    return start()


@pytest.fixture(scope="session")
def guarded(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """An engine with ACCOUNTS beside root."""
    file = tmp_path_factory.mktemp("accounts") / "accounts.json"
    file.write_text(json.dumps(ACCOUNTS))
    return start(Options(accounts=file))


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def make_loop(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def connect(engine: Sandbox) -> Connect:
    @contextlib.asynccontextmanager
    async def open_one(**options: Any) -> AsyncIterator[aiomysql.Connection]:
        given = {"port": engine.port, "user": "root", "password": PASSWORD, "db": "ssb", "autocommit": True, **options}
        connection = await aiomysql.connect(host="127.0.0.1", **given)
        try:
            yield connection
        finally:
            await connection.ensure_closed()

    return open_one


async def close_secured(connection: Any) -> None:
    """Close a connection of either driver that uses TLS; aiomysql does not wait for the end of it, as asyncmy does."""
    writer = getattr(connection, "_writer", None)
    await connection.ensure_closed()
    if writer:
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def query(connection: aiomysql.Connection, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of one statement."""
    async with connection.cursor() as cursor:
        await cursor.execute(sql)
        rows = await cursor.fetchall()
        return [d[0] for d in cursor.description or ()], list(rows)


async def until_running(connection: aiomysql.Connection, marker: str, *, running: bool = True) -> dict[str, Any] | None:
    """Wait until the process list shows (or no longer shows) a statement with `marker`; gives its row."""
    async with asyncio.timeout(30):
        while True:
            names, rows = await query(connection, "SHOW PROCESSLIST")
            found = [dict(zip(names, row, strict=True)) for row in rows]
            found = [row for row in found if marker in row["Info"] and row["CurrentConnected"] == "No"]
            if bool(found) is running:
                return found[0] if found else None


@pytest.fixture
async def ask(connect: Connect) -> AsyncIterator[Ask]:
    """Ask over one connection that stays for the test."""
    async with connect() as connection:

        async def one(sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
            return await query(connection, sql)

        yield one
