"""One demo engine for all the tests here, and real aiomysql connections to it."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiomysql
import pytest

from doris_mcp_server import sandbox
from doris_mcp_server.sandbox.endpoint import Sandbox

PASSWORD = "demo-password"
ROWS = 2000

Connect = Callable[..., AbstractAsyncContextManager[aiomysql.Connection]]
Ask = Callable[..., Awaitable[tuple[list[str], list[tuple[Any, ...]]]]]


@pytest.fixture(scope="session")
def engine() -> Iterator[Sandbox]:
    """In a thread with a loop of its own: it outlives the loop of each test."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def wait(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(timeout=60)

    running = wait(sandbox.start("127.0.0.1", 0, "root", PASSWORD, ROWS, http_port=0))
    try:
        yield running
    finally:
        wait(running.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def connect(engine: Sandbox) -> Connect:
    @contextlib.asynccontextmanager
    async def open_one(**options: Any) -> AsyncIterator[aiomysql.Connection]:
        given = {"user": "root", "password": PASSWORD, "db": "ssb", "autocommit": True, **options}
        connection = await aiomysql.connect(host="127.0.0.1", port=engine.port, **given)
        try:
            yield connection
        finally:
            await connection.ensure_closed()

    return open_one


async def query(connection: aiomysql.Connection, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of one statement."""
    async with connection.cursor() as cursor:
        await cursor.execute(sql)
        rows = await cursor.fetchall()
        return [d[0] for d in cursor.description or ()], list(rows)


@pytest.fixture
async def ask(connect: Connect) -> AsyncIterator[Ask]:
    """Ask over one connection that stays for the test."""
    async with connect() as connection:

        async def one(sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
            return await query(connection, sql)

        yield one
