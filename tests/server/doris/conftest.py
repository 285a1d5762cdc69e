"""A frontend that misbehaves on order: it speaks just enough of the protocol to log in and then follows a script."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

import pytest

from doris_mcp_server.doris.driver import Driver, Login, Name, choose
from doris_mcp_server.doris.frontends import Frontends
from doris_mcp_server.doris.pool import Limits, Pool, Route

LIMIT = 20.0  # seconds: generous, the machine may be busy
LIMITS = Limits(timeout_s=LIMIT, max_rows=100, max_bytes=1 << 20)
Packet = bytes
OK = b"\x00\x00\x00\x02\x00\x00\x00"
END = b"\xfe\x00\x00\x02\x00"


class HangUp(Exception):
    """Raised by a script: close the connection instead of answering."""


class Silence(Exception):
    """Raised by a script: never answer."""


class Misplaced(bytes):
    """A packet that bears the number of another one."""


class Begun(bytes):
    """A packet of which the length and the first bytes are sent, and no more: nobody may wait for the rest."""

    announced = 5_000_000


def error(code: int, text: str) -> Packet:
    return b"\xff" + code.to_bytes(2, "little") + b"#HY000" + text.encode()


def number(value: int) -> bytes:
    """A length-encoded integer."""
    if value < 251:
        return bytes([value])
    return b"\xfd" + value.to_bytes(3, "little") if value < 1 << 24 else b"\xfe" + value.to_bytes(8, "little")


def text(value: bytes) -> bytes:
    return number(len(value)) + value


def column(name: str, kind: int, charset: int = 33) -> Packet:
    head = b"".join(text(part) for part in (b"def", b"", b"t", b"t", name.encode(), name.encode()))
    return head + b"\x0c" + charset.to_bytes(2, "little") + b"\xff\0\0\0" + bytes([kind]) + b"\0\0\0\0\0"


def row(values: Sequence[bytes | None]) -> Packet:
    return b"".join(b"\xfb" if value is None else text(value) for value in values)


def result(columns: Sequence[tuple[str, int]], rows: Sequence[Sequence[bytes | None]]) -> list[Packet]:
    heads = [column(name, kind) for name, kind in columns]
    return [number(len(columns)), *heads, END, *(row(values) for values in rows), END]


def rows_of(count: int, size: int = 1) -> list[Packet]:
    """A result of so many rows, each of one value."""
    return result([("a", 253)], [[b"x" * size]] * count)


async def ask(pool: Pool, sql: str = "SELECT 1", limits: Limits = LIMITS, **place: str | None) -> Any:
    return await pool.query(sql, catalog=place.get("catalog"), database=place.get("database"), limits=limits)


Script = Callable[[str], Iterable[Packet]]


class Frontend:
    """`script` answers each statement; `statements` are (connection id, text) as they came.

    `greeting` is sent, byte for byte, instead of a right one; after it nothing is said any more.
    """

    def __init__(self) -> None:
        self.behave()
        self.variables: dict[str, bytes | None] = {
            "sql_mode": b"ONLY_FULL_GROUP_BY",
            "enable_nereids_planner": b"1",
            "enable_fallback_to_original_planner": b"0",
        }
        self.statements: list[tuple[int, str]] = []
        self.connections = 0
        self.closed: set[int] = set()
        self.news = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    def behave(self) -> None:
        """From here on, do as a frontend should."""
        self.script: Script = self.plain
        self.greeting: Iterable[bytes] | None = None
        self.login: Packet | None = OK

    def hang_up(self) -> None:
        """Close every connection."""
        for task in self._tasks:
            task.cancel()

    async def stop(self) -> None:
        """Close the port and every connection, as a frontend that is killed does."""
        assert self._server is not None
        self._server.close()
        self.hang_up()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(LIMIT), self.news:
            await self.news.wait_for(condition)

    def sent(self, *, quiet: bool = True) -> list[str]:
        """The statements in order, without those that every new connection sends."""
        unseen = ("SELECT @@sql_mode", "SET query_timeout") if quiet else ()
        return [sql for _, sql in self.statements if not sql.startswith(unseen)]

    def plain(self, sql: str) -> list[Packet]:
        return result([("one", 3)], [[b"1"]]) if sql.startswith(("SELECT", "SHOW")) else [OK]

    def keep_silent(self, word: str = "SELECT slow") -> None:
        """Never answer statements that begin so."""

        def script(sql: str) -> list[Packet]:
            if sql.startswith(word):
                raise Silence
            return self.plain(sql)

        self.script = script

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        number = self.connections
        try:
            await self._talk(number, reader, writer)
        except (HangUp, OSError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()  # `stop` cancelled us
        finally:
            writer.close()
            self._tasks.discard(task)
            async with self.news:
                self.closed.add(number)
                self.news.notify_all()

    async def _talk(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.greeting is not None:
            for part in self.greeting:
                writer.write(part)
                await writer.drain()
            await reader.read()
            return
        greeting = b"\x0a5.7.99\0" + number.to_bytes(4, "little") + b"12345678\0" + b"\xff\xf7\x21\x02\x00\xff\x81\x15"
        send(writer, greeting + b"\0" * 10 + b"123456789012\0mysql_native_password\0", 0)
        await packet(reader)
        if self.login is None:
            await reader.read()
            return
        send(writer, self.login, 2)
        while True:
            command = await packet(reader)
            sql = command[1:].decode() if command[:1] == b"\x03" else "PING"
            async with self.news:
                self.statements.append((number, sql))
                self.news.notify_all()
            try:
                for sequence, answer in enumerate(self._answer(sql), 1):
                    send(writer, answer, sequence + isinstance(answer, Misplaced))
                    await writer.drain()
            except Silence:
                await reader.read()
                return

    def _answer(self, sql: str) -> Iterable[Packet]:
        if sql.startswith("SELECT @@sql_mode"):
            names = sql.removeprefix("SELECT ").replace("@@", "").split(", ")
            if missing := [name for name in names if name not in self.variables]:
                return [error(1193, f"Unknown system variable '{missing[0]}'")]
            return result([(f"@@{name}", 253) for name in names], [[self.variables[name] for name in names]])
        return [OK] if sql == "PING" and self.script == self.plain else self.script(sql)


def send(writer: asyncio.StreamWriter, payload: bytes, sequence: int) -> None:
    size = payload.announced if isinstance(payload, Begun) else len(payload)
    writer.write(size.to_bytes(3, "little") + bytes([sequence & 0xFF]) + payload)


async def packet(reader: asyncio.StreamReader) -> bytes:
    header = await reader.readexactly(4)
    return await reader.readexactly(int.from_bytes(header[:3], "little"))


@pytest.fixture
async def frontend() -> AsyncIterator[Frontend]:
    fake = Frontend()
    await fake.start()
    yield fake
    await fake.stop()


DRIVERS: tuple[Name, ...] = ("asyncmy", "aiomysql")
MakeRoute = Callable[..., Route]


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> Driver:
    """Each driver in turn: whatever a test of this folder says of the pool must be true with both."""
    return choose(request.param)


@pytest.fixture
def route(driver: Driver) -> MakeRoute:
    """Make a route to frontends on these loopback ports."""

    def make(*ports: int, user: str = "u", password: str = "secret", database: str | None = None) -> Route:
        addresses = [("127.0.0.1", port) for port in ports]
        return Route(Frontends(addresses), Login(user, password, database, None), driver)

    return make


@pytest.fixture
async def pool(frontend: Frontend, route: MakeRoute) -> AsyncIterator[Pool]:
    """A pool of two to the misbehaving frontend, with room for a slow machine."""
    made = Pool(route(frontend.port), size=2, connect_timeout=LIMIT)
    yield made
    await made.close(LIMIT)


@pytest.fixture
def fake() -> Any:
    """This module: the packets and orders of the misbehaving frontend."""
    return sys.modules[__name__]
