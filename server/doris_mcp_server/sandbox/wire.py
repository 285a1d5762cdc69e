"""The MySQL protocol of one connection: handshake, login, commands in, results out.

mysql-mimic reads and writes the packets. Its own Connection is not used: after a refused login it goes on and
takes commands, it cancels a killed query in the middle of a packet, and it does not escape prepared parameters.
"""

import asyncio
import hashlib
import hmac
import logging
import secrets
import struct
from collections.abc import Callable
from dataclasses import dataclass

from mysql_mimic import packets
from mysql_mimic.charset import CharacterSet
from mysql_mimic.constants import DEFAULT_SERVER_CAPABILITIES
from mysql_mimic.errors import ErrorCode, MysqlError
from mysql_mimic.stream import ConnectionClosed, MysqlStream
from mysql_mimic.types import Capabilities, Commands, ServerStatus

from doris_mcp_server.sandbox import dialect
from doris_mcp_server.sandbox.engine import Engine
from doris_mcp_server.sandbox.names import NO_PREPARED_STATEMENTS, fault
from doris_mcp_server.sandbox.session import BATCH, Result, Session
from doris_mcp_server.sandbox.variables import VERSION

log = logging.getLogger(__name__)

_PLUGIN = "mysql_native_password"
_LOGIN_SECONDS = 10.0
_NONCE_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True)
class Account:
    """The one user who may log in."""

    name: str
    password: str

    def __repr__(self) -> str:
        return f"Account({self.name})"

    def admits(self, name: str, scramble: bytes, nonce: bytes) -> bool:
        """mysql_native_password: SHA1(password) XOR SHA1(nonce + SHA1(SHA1(password)))."""
        wanted = b""
        if self.password:
            once = hashlib.sha1(self.password.encode()).digest()
            mask = hashlib.sha1(nonce + hashlib.sha1(once).digest()).digest()
            wanted = bytes(a ^ b for a, b in zip(once, mask, strict=True))
        same = hmac.compare_digest(scramble, wanted)
        return hmac.compare_digest(name.encode(), self.name.encode()) and same


class Reader(asyncio.StreamReader):
    """A StreamReader that tells at once when the client is gone, also while nobody reads."""

    on_gone: Callable[[], None] | None = None

    def feed_eof(self) -> None:
        super().feed_eof()
        if self.on_gone:
            self.on_gone()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        if self.on_gone:
            self.on_gone()


class Wire:
    """One client. `run` serves it until it leaves, is killed, or is refused."""

    def __init__(self, engine: Engine, account: Account, reader: Reader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername") or ("unknown", 0)
        self.writer = writer
        self.session = Session(engine, engine.next_id(), f"{peer[0]}:{peer[1]}", self.disconnect)
        self._engine = engine
        self._account = account
        self._stream = MysqlStream(reader, writer)
        self._capabilities = DEFAULT_SERVER_CAPABILITIES
        self._status = ServerStatus.SERVER_STATUS_AUTOCOMMIT
        reader.on_gone = lambda: self.session.stop(fault("the client is gone"))

    def disconnect(self) -> None:
        self.writer.close()

    async def run(self) -> None:
        session = self.session
        try:
            async with asyncio.timeout(_LOGIN_SECONDS):
                admitted = await self._login()
            if admitted:
                self._engine.sessions[session.id] = session
                await self._commands()
        except (ConnectionClosed, ConnectionError, asyncio.IncompleteReadError, TimeoutError, struct.error):
            pass  # gone, or no MySQL client
        except MysqlError as e:
            log.debug("protocol error from %s: %s", session.peer, e.msg)
        finally:
            self._engine.sessions.pop(session.id, None)
            session.close()
            self.writer.close()

    # --- login

    async def _login(self) -> bool:
        nonce = "".join(secrets.choice(_NONCE_ALPHABET) for _ in range(20)).encode()
        greeting = packets.make_handshake_v10(
            capabilities=self._capabilities,
            server_charset=CharacterSet.utf8mb4,
            server_version=VERSION,
            connection_id=self.session.id,
            auth_data=nonce + b"\x00",
            status_flags=self._status,
            auth_plugin_name=_PLUGIN,
        )
        await self._stream.write(greeting)
        response = packets.parse_handshake_response(capabilities=self._capabilities, data=await self._stream.read())
        if not isinstance(response, packets.HandshakeResponse41):
            await self._refuse(fault("the demo engine does not speak TLS", ErrorCode.HANDSHAKE_ERROR))
            return False
        self._capabilities = response.capabilities
        scramble = response.auth_response
        if response.client_plugin not in (None, _PLUGIN):
            switch = packets.make_auth_switch_request(
                server_charset=CharacterSet.utf8mb4, plugin_name=_PLUGIN, plugin_provided_data=nonce + b"\x00"
            )
            await self._stream.write(switch)
            scramble = await self._stream.read()
        if not self._account.admits(response.username, scramble, nonce):
            host = self.session.peer.rsplit(":", 1)[0]
            used = "YES" if scramble else "NO"
            words = f"Access denied for user '{response.username}@{host}' (using password: {used})"
            await self._refuse(MysqlError(words, ErrorCode.ACCESS_DENIED_ERROR))
            return False
        self.session.user = response.username
        if response.database:
            try:
                self.session.use_named(response.database)
            except MysqlError as e:
                await self._refuse(e)
                return False
        await self._stream.write(self._ok())
        self._stream.reset_seq()
        return True

    # --- commands

    async def _commands(self) -> None:
        while True:
            data = await self._stream.read()
            command, rest = data[0], data[1:]
            if command == Commands.COM_QUIT:
                return
            try:
                await self._command(command, rest)
            except MysqlError as e:
                await self._refuse(e)
            except ConnectionError:
                raise
            except Exception:
                # A statement must not take the connection with it, and its reason belongs into the log.
                log.exception("the demo engine failed on a statement")
                await self._refuse(fault("internal error of the demo engine"))
            finally:
                self.session.end()
                self._stream.reset_seq()

    async def _command(self, command: int, rest: bytes) -> None:
        if command == Commands.COM_QUERY:
            await self._query(rest)
        elif command in (Commands.COM_PING, Commands.COM_RESET_CONNECTION):
            if command == Commands.COM_RESET_CONNECTION:
                self.session.reset()
            await self._stream.write(self._ok())
        elif command == Commands.COM_INIT_DB:
            self.session.use_named(rest.decode())
            await self._stream.write(self._ok())
        elif command == Commands.COM_STMT_PREPARE:
            raise fault("the demo engine has no prepared statements", NO_PREPARED_STATEMENTS)
        else:
            raise fault("Unknown command", ErrorCode.UNKNOWN_COM_ERROR)

    async def _query(self, data: bytes) -> None:
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
            self.session.begin(statement)
            try:
                result = await self.session.execute(statement)
                if result is None:
                    await self._stream.write(self._ok())
                else:
                    await self._send(result)
            finally:
                self._status = ServerStatus.SERVER_STATUS_AUTOCOMMIT
                self.session.end()

    async def _send(self, result: Result) -> None:
        columns = [field.column for field in result.fields]
        head = [packets.make_column_count(capabilities=self._capabilities, column_count=len(columns))]
        head += [
            packets.make_column_definition_41(
                server_charset=CharacterSet.utf8mb4,
                name=field.column.name,
                column_type=field.column.type,
                character_set=field.column.character_set,
                decimals=field.decimals,
            )
            for field in result.fields
        ]
        ends_by_ok = Capabilities.CLIENT_DEPRECATE_EOF in self._capabilities
        if not ends_by_ok:
            head.append(packets.make_eof(capabilities=self._capabilities, status_flags=self._status))
        self._stream.write_many(head)
        rows, more = result.rows, result.more
        self._stream.write_text_rows(rows, columns)
        while more:
            await self.session.until_stopped(self._stream.drain())
            rows = await self.session.more()
            self._stream.write_text_rows(rows, columns)
            more = len(rows) == BATCH
        end = self._ok(eof=True) if ends_by_ok else packets.make_eof(self._capabilities, self._status)
        await self._stream.write(end)

    def _ok(self, eof: bool = False) -> bytes:
        packet: bytes = packets.make_ok(capabilities=self._capabilities, status_flags=self._status, eof=eof)
        return packet

    async def _refuse(self, error: MysqlError) -> None:
        packet = packets.make_error(
            capabilities=self._capabilities, server_charset=CharacterSet.utf8mb4, msg=error.msg, code=error.code
        )
        await self._stream.write(packet)
