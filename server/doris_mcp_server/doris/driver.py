"""The seam to the MySQL drivers: they connect, upgrade to TLS and log in; from there on the packets are `wire`'s.

asyncmy where it is installed, aiomysql otherwise. A driver also brings its way to cut a buffer into rows: asyncmy's
compiled one, or ours. This is the only module that touches the drivers (untyped) and what is private in them.
"""

import asyncio
import importlib.util
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal, Protocol

from pymysql.constants import CLIENT

from doris_mcp_server.doris import rows

Name = Literal["auto", "asyncmy", "aiomysql"]
ParseRows = Callable[[bytearray, int, int, tuple[rows.Convert, ...], int, list[tuple[Any, ...]]], tuple[int, int]]

LARGEST: Final = 1 << 16  # bytes of a packet while logging in


class NoTLS(Exception):
    """The frontend does not offer TLS, and nothing may be sent to it in the clear."""


class LoginFailed(Exception):
    """The server's, or the driver's, words about a connection that could not be made; `code` is 0 where it has none."""

    def __init__(self, error: Exception) -> None:
        args = error.args
        self.code = args[0] if args and isinstance(args[0], int) else 0
        # Drivers wrap what the socket or TLS said in words that say less.
        said = error.__cause__ if isinstance(error.__cause__, OSError) else None
        super().__init__(str(said or (args[-1] if args else type(error).__name__)))


@dataclass(frozen=True, slots=True)
class Login:
    """As whom and how: `database` is chosen at once, `tls` None sends everything in the clear."""

    user: str
    password: str
    database: str | None
    tls: ssl.SSLContext | None


@dataclass(frozen=True, slots=True)
class Session:
    """A logged-in connection, nothing in flight. `connection` must live as long as `transport` is used."""

    transport: asyncio.Transport
    connection_id: int
    database: str | None
    connection: Any


class Driver(Protocol):
    name: str

    @property
    def parse_rows(self) -> ParseRows:
        """As `rows.parse_rows`."""

    async def login(self, address: str, port: int, login: Login, host: str) -> Session:
        """Connect to `address`, whose certificate must name `host`. LoginFailed, NoTLS; no limit of its own."""


class _Handshake:
    """What both drivers get wrong for us while they log in, put right."""

    async def _read_bytes(self, size: int) -> Any:  # how aiomysql takes a packet in
        return await super()._read_bytes(_bounded(size))  # type: ignore[misc]

    async def _fill_buffer(self, size: int) -> None:  # and asyncmy
        await super()._fill_buffer(_bounded(size))  # type: ignore[misc]

    def _request_authentication(self) -> Any:
        driver: Any = self
        if driver._ssl_context and not driver.server_capabilities & CLIENT.SSL:
            raise NoTLS  # aiomysql would go on in the clear
        driver.server_capabilities &= ~CLIENT.DEPRECATE_EOF  # one way to end a result is enough
        driver._host = driver.tls_host  # connected to an address, but the certificate bears the name
        return super()._request_authentication()  # type: ignore[misc]


def _bounded(size: int) -> int:
    if size > LARGEST:  # a peer that goes on with such packets would fill the memory before the time is up
        raise ValueError(f"{size} bytes in a login")
    return size


def _options(address: str, port: int, login: Login) -> dict[str, Any]:
    return {
        "host": address,
        "port": port,
        "user": login.user,
        "password": login.password,
        "db": login.database,
        "charset": "utf8mb4",
        "autocommit": None,
        "ssl": login.tls,
    }


class Aiomysql:
    """The driver that is always there."""

    name = "aiomysql"
    parse_rows = staticmethod(rows.parse_rows)

    def __init__(self) -> None:
        import aiomysql

        self._error = aiomysql.MySQLError
        self._connection = type("Connection", (_Handshake, aiomysql.Connection), {})

    async def login(self, address: str, port: int, login: Login, host: str) -> Session:
        connection = self._connection(**_options(address, port, login))
        connection.client_flag &= ~CLIENT.MULTI_STATEMENTS
        connection.tls_host = host
        try:
            await connection._connect()
        except self._error as error:
            raise LoginFailed(error) from None
        except BaseException:
            connection.close()
            raise
        transport = connection._writer.transport
        connection._reader._transport = None  # it must not pause what is no longer its
        return Session(transport, connection.thread_id(), connection.db, _Kept(connection))


class Asyncmy:
    """The quick one: half of it is compiled."""

    name = "asyncmy"

    def __init__(self) -> None:
        from asyncmy import connection, errors, protocol

        self._parse_rows: ParseRows = protocol.parse_rows_from_buffer
        self._error = errors.MySQLError
        self._connection = type("Connection", (_Handshake, connection.Connection), {})

    async def login(self, address: str, port: int, login: Login, host: str) -> Session:
        connection = self._connection(**_options(address, port, login))
        connection._client_flag &= ~CLIENT.MULTI_STATEMENTS
        # The caller has a limit; and under one of its own, asyncio.wait_for (3.11) may keep a cancellation to itself.
        connection._connect_timeout = None
        connection.tls_host = host
        try:
            await connection.connect()
        except self._error as error:
            raise LoginFailed(error) from None
        return Session(connection._transport, connection.thread_id(), login.database, connection)

    def parse_rows(
        self,
        buffer: bytearray,
        at: int,
        end: int,
        converts: tuple[rows.Convert, ...],
        sequence: int,
        into: list[tuple[Any, ...]],
    ) -> tuple[int, int]:
        """As `rows.parse_rows`."""
        try:
            return self._parse_rows(buffer, at, end, converts, sequence, into)
        except self._error as error:
            raise ValueError(str(error)) from None


class _Kept:
    """Holds aiomysql's connection, which would warn of itself when it is collected, without ever being open for it."""

    def __init__(self, connection: Any) -> None:
        self._stream = connection._writer  # collected, a StreamWriter closes the transport
        connection._writer = connection._reader = None


@cache
def choose(name: Name = "auto") -> Driver:
    """The driver of that name; "auto": the quickest that is installed."""
    if name == "asyncmy" or (name == "auto" and importlib.util.find_spec("asyncmy") is not None):
        return Asyncmy()
    return Aiomysql()
