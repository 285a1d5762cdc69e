"""One connection to a frontend: a driver opens it and logs in, from there on packets are read here.

Reading rows ourselves is what makes the bounds real: a packet's length is known before its bytes are taken in, a
result left early is never drained, and no cursor stands between a packet and its values. Bytes land in one buffer
that grows only for a packet that may be kept; while nobody reads it, the frontend is held back.
"""

import asyncio
import math
from typing import Any, Final

from doris_mcp_server.doris.driver import Driver, Login, LoginFailed, NoTLS, Session
from doris_mcp_server.doris.frontends import LATER, Frontend
from doris_mcp_server.doris.rows import (
    END,
    ERR,
    WHOLE_PACKET,
    Column,
    Convert,
    TruncatedBy,
    careful,
    length_encoded,
    parse_column,
)
from doris_mcp_server.errors import DorisRefusedLogin, DorisUnavailable, QueryFailed

COM_QUERY: Final = 3
COM_PING: Final = 14
OK: Final = 0x00  # 0xFB, a request for a local file, is read as a broken result
MORE_RESULTS: Final = 0x0008
LARGEST_SENT: Final = WHOLE_PACKET - 1
CONTROL_PACKET: Final = 1 << 20  # more than any column definition, OK or error packet
BUFFER: Final = 1 << 16
MOST_COLUMNS: Final = 1 << 14  # four times what MySQL allows
MOST_OF_COLUMNS: Final = 1 << 22  # bytes of all column definitions of a result
# Access denied (user, database), unknown database at login, account locked or its plugin unknown.
LOGIN_REFUSED: Final = frozenset({1044, 1045, 1049, 1130, 1227, 1251, 1698, 3118, 4151})


class Answered(Exception):
    """Doris' own error answer. The connection is in step afterwards and may be used again."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Lost(DorisUnavailable):
    """The connection is of no use any more. `broken`: it ended, rather than that something unreadable came."""

    def __init__(self, message: str, *, broken: bool) -> None:
        super().__init__(message, hint=LATER)
        self.broken = broken


class Wire(asyncio.BufferedProtocol):
    """A logged-in connection. Not safe for two tasks at once; whoever cancels a call must `abort` it."""

    def __init__(self, session: Session, frontend: Frontend, driver: Driver) -> None:
        self.frontend = frontend
        self.connection_id = session.connection_id
        self.address: str = session.transport.get_extra_info("peername")[0]
        self.catalog: str | None = None
        self.database = session.database
        self.catalogs_used: set[str | None] = {None} if self.database else set()
        self.query_timeout: int | None = None
        self.parked_at = 0.0
        self._session = session
        self._transport = session.transport
        self._parse_rows = driver.parse_rows
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray(BUFFER)
        self._at = self._end = 0  # what has come and was not read yet
        self._sequence = 0
        self._ended = self._held_back = False
        self._more: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._transport.set_protocol(self)

    @classmethod
    async def open(cls, frontend: Frontend, login: Login, driver: Driver, address: str | None = None) -> "Wire":
        """Connect and log in. DorisUnavailable or DorisRefusedLogin, nothing else; no limit of its own.

        `address`: one of those that the frontend's name stands for.
        """
        where = f"Doris at {frontend}"
        try:
            session = await driver.login(address or frontend.host, frontend.port, login, frontend.host)
            return cls(session, frontend, driver)
        except NoTLS:
            raise DorisUnavailable(
                f"{where} does not offer TLS, which this server asks for",
                hint="Set up TLS in Doris (enable_ssl), or set DORIS_MCP_DORIS_TLS=disabled.",
            ) from None
        except LoginFailed as failed:
            if failed.code in LOGIN_REFUSED:
                hint = "Check DORIS_USER, DORIS_PASSWORD and DORIS_DATABASE."
                raise DorisRefusedLogin(f"{where} refused the login: {failed}", hint=hint) from None
            raise DorisUnavailable(f"{where} cannot be reached: {failed}") from None
        except Exception as error:
            # A peer that is no Doris makes drivers fail in any way at all (struct, index, assertion, decode).
            raise DorisUnavailable(f"{where} does not speak the MySQL protocol ({type(error).__name__})") from None

    # -- the transport's side

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._at == self._end:
            self._at = self._end = 0
        elif self._end == len(self._buffer):
            self._move(len(self._buffer) if self._at else 2 * len(self._buffer))
        return memoryview(self._buffer)[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        self._end += nbytes
        if self._end - self._at == len(self._buffer):
            self._transport.pause_reading()
            self._held_back = True
        self._wake()

    def eof_received(self) -> bool:
        self._ended = True
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._wake()
        self.resume_writing()

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    def _move(self, size: int) -> None:
        """Bring what is unread to the start of a buffer of that size. Never resize one: the loop may hold a view."""
        unread = self._buffer[self._at : self._end]
        self._buffer = bytearray(size)
        self._buffer[: len(unread)] = unread
        self._at, self._end = 0, len(unread)

    # -- the pool's side

    @property
    def usable(self) -> bool:
        """False once the peer hung up or sent something that nobody asked for."""
        return not (self._ended or self._transport.is_closing() or self._end > self._at)

    def abort(self) -> None:
        """Drop the connection now, whatever is under way; who waits for it is told."""
        self._transport.abort()
        self._ended = True
        self._wake()

    async def ping(self) -> None:
        """COM_PING. Lost if the connection is dead; no limit of its own."""
        await self._send(COM_PING, b"")
        self._raise_for_error(await self._packet())

    async def command(self, sql: str) -> None:
        """Send a statement that answers with OK (USE, SET, KILL). Answered or Lost."""
        await self._send(COM_QUERY, sql.encode())
        first = self._raise_for_error(await self._packet())
        if first[:1] != bytes([OK]):
            raise Lost("Doris sent rows where an acknowledgement was due", broken=False)

    async def run(
        self, sql: str, *, max_rows: int, max_bytes: int
    ) -> tuple[list[Column], list[tuple[Any, ...]], TruncatedBy | None]:
        """Columns, rows and what cut them short. After a cut (not None) the connection must be aborted.

        Bytes are those of the row packets, plus three for each value, about what JSON needs. A result of exactly
        `max_rows` is not called truncated.
        """
        await self._send(COM_QUERY, sql.encode())
        first = self._raise_for_error(await self._packet())
        if first[:1] == bytes([OK]):
            raise Lost("Doris sent an acknowledgement where rows were due", broken=False)
        try:
            columns, converts = await self._columns(length_encoded(first, 0)[0])
            rows, cut = await self._rows(converts, max_rows, max_bytes)
        except (ValueError, IndexError) as error:
            raise Lost(f"Doris sent a result that cannot be read ({error})", broken=False) from None
        finally:
            if len(self._buffer) > BUFFER and self._at == self._end:
                self._move(BUFFER)
            self._read_on()  # also while it is idle: its end must be seen
        return columns, rows, cut

    async def _columns(self, count: int) -> tuple[list[Column], tuple[Convert, ...]]:
        """The columns of a result and how to read them. QueryFailed where they are more than anybody can use."""
        columns: list[Column] = []
        converts: list[Convert] = []
        size = 0
        while len(columns) < count <= MOST_COLUMNS and size <= MOST_OF_COLUMNS:
            packet = await self._packet()
            size += len(packet)
            column, convert = parse_column(packet)
            columns.append(column)
            converts.append(convert)
        if len(columns) < count:
            words = f"The result has {count:,} columns, more than this server takes in"
            raise QueryFailed(words, hint="Name the columns you need.")
        await self._packet()  # end of the column definitions
        return columns, tuple(converts)

    async def _rows(
        self, converts: tuple[Convert, ...], max_rows: int, max_bytes: int
    ) -> tuple[list[tuple[Any, ...]], TruncatedBy | None]:
        rows: list[tuple[Any, ...]] = []
        overhead = 3 * len(converts)
        left = max_bytes
        while True:
            start, before = self._at, len(rows)
            converts = self._parse(converts, rows)
            read = len(rows) - before
            left -= self._at - start + read * (overhead - 4)  # without the packets' own heads
            if len(rows) > max_rows or left < 0:
                return rows, self._cut(rows, start, read, overhead, max_rows, left)
            await self._have(4)
            size = int.from_bytes(self._buffer[self._at : self._at + 3], "little")
            if size > CONTROL_PACKET and size + overhead > left:
                return rows, "rows" if len(rows) >= max_rows else "bytes"
            await self._have(4 + size)
            first = self._buffer[self._at + 4] if size else OK
            if first == ERR or (first == END and size < 9):
                end = self._raise_for_error(await self._packet())
                if int.from_bytes(end[3:5], "little") & MORE_RESULTS:
                    raise Lost("Doris sent a second result", broken=False)
                return rows, None
            if size == WHOLE_PACKET:
                return rows, "bytes"
            if not size or self._buffer[self._at + 3] != self._sequence & 0xFF:
                raise Lost("Doris' packets are out of step", broken=False)

    def _parse(self, converts: tuple[Convert, ...], rows: list[tuple[Any, ...]]) -> tuple[Convert, ...]:
        """Read the rows that have come in whole; the way to read the ones that follow."""
        before = len(rows)
        number = self._sequence & 0xFF
        try:
            self._at, self._sequence = self._parse_rows(self._buffer, self._at, self._end, converts, number, rows)
        except UnicodeDecodeError:
            del rows[before:]
            converts = careful(converts)
            self._at, self._sequence = self._parse_rows(self._buffer, self._at, self._end, converts, number, rows)
        return converts

    def _cut(
        self, rows: list[tuple[Any, ...]], at: int, read: int, overhead: int, max_rows: int, left: int
    ) -> TruncatedBy:
        """Take away the rows beyond a limit. The last `read` begin at `at` and brought `left` to where it is."""
        sizes = []
        for _ in range(read):
            size = int.from_bytes(self._buffer[at : at + 3], "little")
            sizes.append(size + overhead)
            at += 4 + size
        left += sum(sizes)
        kept = len(rows) - read
        for size in sizes:
            if kept == max_rows:
                break
            left -= size
            if left < 0:
                break
            kept += 1
        del rows[kept:]
        return "rows" if kept == max_rows else "bytes"

    async def _send(self, command: int, payload: bytes) -> None:
        self._sequence = 1
        if self._ended or self._transport.is_closing():
            raise Lost("The connection to Doris broke", broken=True)
        if len(payload) >= LARGEST_SENT:
            raise Lost("The statement does not fit into one packet", broken=False)
        try:
            self._transport.write((len(payload) + 1).to_bytes(3, "little") + bytes([0, command]) + payload)
        except (OSError, RuntimeError):  # uvloop raises RuntimeError on a transport that was closed meanwhile
            raise Lost("The connection to Doris broke", broken=True) from None
        if self._writable is not None:
            await self._writable

    async def _have(self, size: int) -> None:
        """Wait until that many unread bytes are in the buffer. Lost when they cannot come any more."""
        while self._end - self._at < size:
            if self._ended:
                raise Lost("The connection to Doris broke", broken=True)
            if size > len(self._buffer):
                self._move(size)
            self._read_on()
            self._more = self._loop.create_future()
            try:
                await self._more
            finally:
                self._more = None

    def _read_on(self) -> None:
        if self._held_back:
            self._held_back = False
            self._transport.resume_reading()

    async def _packet(self) -> bytes:
        await self._have(4)
        at = self._at
        size = int.from_bytes(self._buffer[at : at + 3], "little")
        if size > CONTROL_PACKET:
            raise Lost("Doris sent a packet that cannot be read", broken=False)
        if self._buffer[at + 3] != self._sequence & 0xFF:
            raise Lost("Doris' packets are out of step", broken=False)
        await self._have(4 + size)
        at = self._at
        self._at = at + 4 + size
        self._sequence += 1
        return bytes(self._buffer[at + 4 : self._at])

    @staticmethod
    def _raise_for_error(packet: bytes) -> bytes:
        if packet[:1] == bytes([ERR]):
            text = packet[9:] if packet[3:4] == b"#" else packet[3:]
            raise Answered(int.from_bytes(packet[1:3], "little"), text.decode("utf-8", "replace")[:2000])
        return packet


def whole_seconds(seconds: float) -> int:
    """The next full second, at least 1: Doris reads 0 as no limit."""
    return max(1, math.ceil(seconds))
