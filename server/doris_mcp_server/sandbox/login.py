"""How a connection begins: greeting, TLS where it is offered, password, limits."""

import secrets
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mysql_mimic import packets
from mysql_mimic.charset import CharacterSet
from mysql_mimic.constants import DEFAULT_SERVER_CAPABILITIES
from mysql_mimic.errors import ErrorCode, MysqlError
from mysql_mimic.stream import MysqlStream
from mysql_mimic.types import Capabilities, ServerStatus

from doris_mcp_server.sandbox.accounts import Account
from doris_mcp_server.sandbox.faults import NEEDS_TLS, TOO_MANY_USER_CONNECTIONS, fault
from doris_mcp_server.sandbox.tls import Tls
from doris_mcp_server.sandbox.variables import VERSION

_PLUGIN = "mysql_native_password"
_NONCE_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_INSECURE = "Connections using insecure transport are prohibited while --require_secure_transport=ON."
# An unknown user is refused in the time and words of a wrong password.
_NOBODY = Account("", secrets.token_urlsafe())


@dataclass(frozen=True, slots=True)
class Door:
    """Who may come in, and how."""

    accounts: Mapping[str, Account]
    tls: ssl.SSLContext | None = None
    require_tls: bool = False


@dataclass(frozen=True, slots=True)
class Admitted:
    """Who came in, with the database they asked for and what their client can do."""

    account: Account
    database: str | None
    capabilities: Any


async def login(door: Door, stream: MysqlStream, connection_id: int, host: str) -> Admitted:
    """Greet and authenticate. Raises MysqlError in MySQL's and Doris' words: say it and hang up."""
    nonce = "".join(secrets.choice(_NONCE_ALPHABET) for _ in range(20)).encode()
    offered = DEFAULT_SERVER_CAPABILITIES | (Capabilities.CLIENT_SSL if door.tls else 0)
    greeting = packets.make_handshake_v10(
        capabilities=offered,
        server_charset=CharacterSet.utf8mb4,
        server_version=VERSION,
        connection_id=connection_id,
        auth_data=nonce + b"\x00",
        status_flags=ServerStatus.SERVER_STATUS_AUTOCOMMIT,
        auth_plugin_name=_PLUGIN,
    )
    await stream.write(greeting)
    response = packets.parse_handshake_response(capabilities=offered, data=await stream.read())
    if isinstance(response, packets.SSLRequest):
        await _upgrade(door, stream)
        response = packets.parse_handshake_response(capabilities=offered, data=await stream.read())
    elif door.require_tls:
        raise MysqlError(_INSECURE, NEEDS_TLS)
    if not isinstance(response, packets.HandshakeResponse41):
        raise MysqlError("Bad handshake", ErrorCode.HANDSHAKE_ERROR)
    account = await _authenticate(door, stream, response, nonce, host)
    return Admitted(account, response.database, response.capabilities)


def check_limit(account: Account, users: list[str]) -> None:
    """Raises Doris' error when the account has as many connections as it may; `users` are those connected."""
    limit, current = account.max_connections, users.count(account.name)
    if current >= limit:
        words = f"Reach limit of connections. Total: {len(users)}, User: {limit}, Current: {current}"
        raise MysqlError(words, TOO_MANY_USER_CONNECTIONS)


async def _upgrade(door: Door, stream: MysqlStream) -> None:
    if not door.tls:
        raise fault("the demo engine was started without TLS", ErrorCode.HANDSHAKE_ERROR)
    secured = Tls(door.tls, stream.reader, stream.writer)
    await secured.handshake()
    stream.reader, stream.writer = secured.reader, secured


async def _authenticate(door: Door, stream: MysqlStream, response: Any, nonce: bytes, host: str) -> Account:
    scramble = response.auth_response
    if response.client_plugin not in (None, _PLUGIN):
        switch = packets.make_auth_switch_request(
            server_charset=CharacterSet.utf8mb4, plugin_name=_PLUGIN, plugin_provided_data=nonce + b"\x00"
        )
        await stream.write(switch)
        scramble = await stream.read()
    account = door.accounts.get(response.username, _NOBODY)
    if not account.admits(scramble, nonce):
        used = "YES" if scramble else "NO"
        words = f"Access denied for user '{response.username}@{host}' (using password: {used})"
        raise MysqlError(words, ErrorCode.ACCESS_DENIED_ERROR)
    return account
