"""One connection to a frontend: aiomysql opens it and logs in, from there on packets are read here.

Reading rows ourselves is what makes the bounds real: a packet's length is known before its bytes are taken in, a
result left early is never drained, and no cursor stands between a packet and its values. This is the only module
that touches aiomysql (untyped) and its private reader and writer.
"""

import asyncio
import math
from typing import Any, Final

import aiomysql
from pymysql.constants import CLIENT
from pymysql.err import MySQLError

from doris_mcp_server.doris.rows import Column, Convert, TruncatedBy, length_encoded, parse_column, parse_row
from doris_mcp_server.errors import DorisRefusedLogin, DorisUnavailable

COM_QUERY: Final = 3
COM_PING: Final = 14
OK, END, ERR = 0x00, 0xFE, 0xFF  # 0xFB, a request for a local file, is read as a broken result
MORE_RESULTS: Final = 0x0008
WHOLE_PACKET: Final = 0xFFFFFF
CONTROL_PACKET: Final = 1 << 20  # more than any column definition, OK or error packet
# Access denied (user, database), unknown database at login, account locked or its plugin unknown.
LOGIN_REFUSED: Final = frozenset({1044, 1045, 1049, 1130, 1227, 1251, 1698, 3118, 4151})


class Answered(Exception):
    """Doris' own error answer. The connection is in step afterwards and may be used again."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Lost(DorisUnavailable):
    """The connection broke. `answered` tells whether any byte of an answer had arrived."""

    def __init__(self, message: str, *, answered: bool) -> None:
        super().__init__(message, hint="Try again: Doris may be restarting.")
        self.answered = answered


class Wire:
    """A logged-in connection. Not safe for two tasks at once; whoever cancels a call must `abort` it."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._reader: asyncio.StreamReader = connection._reader
        self._writer: asyncio.StreamWriter = connection._writer
        self._sequence = 0
        self.connection_id: int = connection.thread_id()
        self.peer: str = self._writer.get_extra_info("peername")[0]
        self.catalog: str | None = None
        self.database: str | None = connection.db
        self.catalogs_used: set[str | None] = {None} if self.database else set()
        self.query_timeout: int | None = None
        self.parked_at = 0.0

    @classmethod
    async def open(cls, host: str, port: int, user: str, password: str, database: str | None, timeout: float) -> "Wire":
        """Connect and log in within `timeout` seconds. DorisUnavailable or DorisRefusedLogin, nothing else."""
        connection = aiomysql.Connection(
            host=host, port=port, user=user, password=password, db=database, charset="utf8mb4", autocommit=None
        )
        connection.client_flag &= ~CLIENT.MULTI_STATEMENTS
        where = f"Doris at {host}:{port}"
        opened = False
        try:
            async with asyncio.timeout(timeout):  # aiomysql's own limit ends with TCP, before the handshake
                await connection._connect()
            opened = True
            return cls(connection)
        except TimeoutError:
            raise DorisUnavailable(f"{where} did not answer within {timeout:g} s") from None
        except MySQLError as error:
            code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
            text = str(error.args[-1]) if error.args else type(error).__name__
            if code in LOGIN_REFUSED:
                hint = "Check DORIS_USER, DORIS_PASSWORD and DORIS_DATABASE."
                raise DorisRefusedLogin(f"{where} refused the login: {text}", hint=hint) from None
            raise DorisUnavailable(f"{where} cannot be reached: {text}") from None
        except Exception as error:
            # A peer that is no Doris makes aiomysql fail in any way at all (struct, index, assertion, decode).
            raise DorisUnavailable(f"{where} does not speak the MySQL protocol ({type(error).__name__})") from None
        finally:
            if not opened:
                connection.close()

    @property
    def usable(self) -> bool:
        """False once the peer hung up or sent something that nobody asked for."""
        reader: Any = self._reader
        return not (self._writer.is_closing() or reader.at_eof() or reader.exception() or reader._buffer)

    def abort(self) -> None:
        """Drop the connection now, whatever is under way."""
        self._writer.transport.abort()
        self._connection.close()

    async def ping(self) -> None:
        """COM_PING. Lost if the connection is dead; no limit of its own."""
        await self._send(COM_PING, b"")
        self._raise_for_error(await self._packet())

    async def command(self, sql: str) -> None:
        """Send a statement that answers with OK (USE, SET, KILL). Answered or Lost."""
        await self._send(COM_QUERY, sql.encode())
        first = self._raise_for_error(await self._packet())
        if first[:1] != bytes([OK]):
            raise Lost("Doris sent rows where an acknowledgement was due", answered=True)

    async def run(
        self, sql: str, *, max_rows: int, max_bytes: int
    ) -> tuple[list[Column], list[list[Any]], TruncatedBy | None]:
        """Columns, rows and what cut them short. After a cut (not None) the connection must be aborted.

        Bytes are those of the row packets, plus three for each value, about what JSON needs. One row more than
        `max_rows` is looked at, never kept, so a result of exactly `max_rows` is not called truncated.
        """
        await self._send(COM_QUERY, sql.encode())
        first = self._raise_for_error(await self._packet())
        if first[:1] == bytes([OK]):
            return [], [], None
        try:
            count, _ = length_encoded(first, 0)
            columns: list[Column] = []
            converters: list[Convert] = []
            for _ in range(count):
                column, convert = parse_column(await self._packet())
                columns.append(column)
                converters.append(convert)
            await self._packet()  # end of the column definitions
            rows, cut = await self._rows(converters, max_rows, max_bytes)
        except (ValueError, IndexError) as error:
            raise Lost(f"Doris sent a result that cannot be read ({error})", answered=True) from None
        return columns, rows, cut

    async def _rows(
        self, converters: list[Convert], max_rows: int, max_bytes: int
    ) -> tuple[list[list[Any]], TruncatedBy | None]:
        rows: list[list[Any]] = []
        left = max_bytes
        overhead = 3 * len(converters)
        while True:
            size = await self._header()
            if size > CONTROL_PACKET and size + overhead > left:
                return rows, "rows" if len(rows) >= max_rows else "bytes"
            packet = await self._body(size)
            if packet[:1] == bytes([ERR]):
                self._raise_for_error(packet)
            if packet[:1] == bytes([END]) and len(packet) < 9:
                if int.from_bytes(packet[3:5], "little") & MORE_RESULTS:
                    raise Lost("Doris sent a second result", answered=True)
                return rows, None
            if len(rows) >= max_rows:
                return rows, "rows"
            left -= len(packet) + overhead
            if left < 0 or len(packet) == WHOLE_PACKET:
                return rows, "bytes"
            rows.append(parse_row(packet, converters))

    async def _send(self, command: int, payload: bytes) -> None:
        self._sequence = 1
        try:
            self._writer.write((len(payload) + 1).to_bytes(3, "little") + bytes([0, command]) + payload)
            await self._writer.drain()
        except (OSError, RuntimeError):  # uvloop raises RuntimeError on a transport that was closed meanwhile
            raise Lost("The connection to Doris broke", answered=False) from None

    async def _header(self) -> int:
        try:
            header = await self._reader.readexactly(4)
        except (OSError, asyncio.IncompleteReadError):
            raise Lost("The connection to Doris broke", answered=self._sequence > 1) from None
        if header[3] != self._sequence & 0xFF:
            raise Lost("Doris' packets are out of step", answered=True)
        self._sequence += 1
        return int.from_bytes(header[:3], "little")

    async def _body(self, size: int) -> bytes:
        try:
            return await self._reader.readexactly(size)
        except (OSError, asyncio.IncompleteReadError):
            raise Lost("The connection to Doris broke", answered=True) from None

    async def _packet(self) -> bytes:
        size = await self._header()
        if size > CONTROL_PACKET:
            raise Lost("Doris sent a packet that cannot be read", answered=True)
        return await self._body(size)

    @staticmethod
    def _raise_for_error(packet: bytes) -> bytes:
        if packet[:1] == bytes([ERR]):
            text = packet[9:] if packet[3:4] == b"#" else packet[3:]
            raise Answered(int.from_bytes(packet[1:3], "little"), text.decode("utf-8", "replace")[:2000])
        return packet


def whole_seconds(seconds: float) -> int:
    """The next full second, at least 1: Doris reads 0 as no limit."""
    return max(1, math.ceil(seconds))
