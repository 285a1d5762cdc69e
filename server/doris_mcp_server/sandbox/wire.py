"""The MySQL protocol of one connection: commands in, results out.

mysql-mimic reads and writes the packets. Its own Connection is not used: after a refused login it goes on and
takes commands, it cancels a killed query in the middle of a packet, and it does not escape prepared parameters.
"""

import asyncio
import logging
import struct

from mysql_mimic import packets
from mysql_mimic.charset import CharacterSet
from mysql_mimic.constants import DEFAULT_SERVER_CAPABILITIES
from mysql_mimic.errors import ErrorCode, MysqlError
from mysql_mimic.stream import ConnectionClosed, MysqlStream
from mysql_mimic.types import Capabilities, Commands, ServerStatus

from doris_mcp_server.sandbox import dialect
from doris_mcp_server.sandbox.engine import Engine
from doris_mcp_server.sandbox.faults import NO_PREPARED_STATEMENTS, fault
from doris_mcp_server.sandbox.login import Door, check_limit, login
from doris_mcp_server.sandbox.query import BATCH
from doris_mcp_server.sandbox.reader import Reader
from doris_mcp_server.sandbox.results import Result
from doris_mcp_server.sandbox.session import Session

log = logging.getLogger(__name__)

_LOGIN_SECONDS = 10.0


class Wire:
    """One client. `run` serves it until it leaves, is killed, or is refused."""

    def __init__(self, engine: Engine, door: Door, reader: Reader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername") or ("unknown", 0)
        self.writer = writer
        self._host, self._peer = str(peer[0]), f"{peer[0]}:{peer[1]}"
        self._engine = engine
        self._door = door
        self._stream = MysqlStream(reader, writer)
        self._capabilities = DEFAULT_SERVER_CAPABILITIES
        self._status = ServerStatus.SERVER_STATUS_AUTOCOMMIT
        self._session: Session | None = None

    def kill(self, reason: MysqlError) -> None:
        """Interrupt what runs and end the connection."""
        if self._session:
            self._session.kill(reason)
        else:
            self.writer.close()

    async def run(self) -> None:
        session = None
        try:
            async with asyncio.timeout(_LOGIN_SECONDS):
                session = self._session = await self._log_in()
            if session:
                await self._commands(session)
        except (ConnectionClosed, OSError, asyncio.IncompleteReadError, TimeoutError, struct.error):
            pass  # gone, or no MySQL client; an SSLError is an OSError
        except MysqlError as e:
            log.debug("protocol error from %s: %s", self._peer, e.msg)
        finally:
            if session:
                self._engine.sessions.pop(session.id, None)
                session.close()
            self.writer.close()

    async def _log_in(self) -> Session | None:
        """The session of a client that may come in; who may not is told why."""
        number = self._engine.next_id()
        try:
            admitted = await login(self._door, self._stream, number, self._host)
            self._capabilities = admitted.capabilities
            check_limit(admitted.account, [s.names.account.name for s in self._engine.sessions.values()])
            names = self._engine.names(admitted.account, self._host)
            session = Session(self._engine, number, names, self._peer, self.writer.close)
            if admitted.database:
                session.use_named(admitted.database)
        except MysqlError as e:
            await self._refuse(e)
            return None
        self._engine.sessions[number] = session
        self._stream.reader.on_gone = lambda: session.running.stop(fault("the client is gone"))
        await self._stream.write(self._ok())
        self._stream.reset_seq()
        return session

    # --- commands

    async def _commands(self, session: Session) -> None:
        while True:
            data = await self._stream.read()
            command, rest = data[0], data[1:]
            if command == Commands.COM_QUIT:
                return
            try:
                await self._command(session, command, rest)
            except MysqlError as e:
                await self._refuse(e)
            except ConnectionError:
                raise
            except Exception:
                # A statement must not take the connection with it, and its reason belongs into the log.
                log.exception("the demo engine failed on a statement")
                await self._refuse(fault("internal error of the demo engine"))
            finally:
                self._stream.reset_seq()

    async def _command(self, session: Session, command: int, rest: bytes) -> None:
        if command == Commands.COM_QUERY:
            await self._query(session, rest)
        elif command in (Commands.COM_PING, Commands.COM_RESET_CONNECTION):
            if command == Commands.COM_RESET_CONNECTION:
                session.reset()
            await self._stream.write(self._ok())
        elif command == Commands.COM_INIT_DB:
            session.use_named(rest.decode())
            await self._stream.write(self._ok())
        elif command == Commands.COM_STMT_PREPARE:
            raise fault("the demo engine has no prepared statements", NO_PREPARED_STATEMENTS)
        else:
            raise fault("Unknown command", ErrorCode.UNKNOWN_COM_ERROR)

    async def _query(self, session: Session, data: bytes) -> None:
        try:
            text = packets.parse_com_query(
                capabilities=self._capabilities, client_charset=CharacterSet.utf8mb4, data=data
            ).sql
        except UnicodeDecodeError:
            raise fault("the statement is not UTF-8") from None
        statements = dialect.split(text)
        if not statements:
            raise fault("Query was empty", ErrorCode.EMPTY_QUERY)
        for at, statement in enumerate(statements, 1):
            self._status = ServerStatus.SERVER_STATUS_AUTOCOMMIT
            if at < len(statements):
                self._status |= ServerStatus.SERVER_MORE_RESULTS_EXISTS
            try:
                await self._statement(session, statement)
            finally:
                self._status = ServerStatus.SERVER_STATUS_AUTOCOMMIT

    async def _statement(self, session: Session, statement: str) -> None:
        result, rows, error = None, 0, None
        session.running.begin(statement)
        try:
            result = await session.execute(statement)
            if result is None:
                await self._stream.write(self._ok())
            else:
                rows = await self._send(session, result)
        except MysqlError as e:
            error = e
            raise
        finally:
            session.end(error, result, rows)

    async def _send(self, session: Session, result: Result) -> int:
        """Write a result to its end; the number of rows."""
        columns = [field.column for field in result.fields]
        head = [packets.make_column_count(capabilities=self._capabilities, column_count=len(columns))]
        head += [field.definition for field in result.fields]
        ends_by_ok = Capabilities.CLIENT_DEPRECATE_EOF in self._capabilities
        if not ends_by_ok:
            head.append(packets.make_eof(capabilities=self._capabilities, status_flags=self._status))
        self._stream.write_many(head)
        rows, more = result.rows, result.more
        count = self._stream.write_text_rows(rows, columns)
        while more:
            await session.running.unless_stopped(self._stream.drain())
            rows = await session.more()
            count += self._stream.write_text_rows(rows, columns)
            more = len(rows) == BATCH
        end = self._ok(eof=True) if ends_by_ok else packets.make_eof(self._capabilities, self._status)
        await self._stream.write(end)
        return int(count)

    def _ok(self, eof: bool = False) -> bytes:
        packet: bytes = packets.make_ok(capabilities=self._capabilities, status_flags=self._status, eof=eof)
        return packet

    async def _refuse(self, error: MysqlError) -> None:
        packet = packets.make_error(
            capabilities=self._capabilities, server_charset=CharacterSet.utf8mb4, msg=error.msg, code=error.code
        )
        await self._stream.write(packet)
