"""The listening side: accepts connections, knows which are open, and closes them all."""

import asyncio
import contextlib
import ipaddress
import logging

from doris_mcp_server.errors import ConfigError
from doris_mcp_server.sandbox.engine import Engine
from doris_mcp_server.sandbox.faults import fault
from doris_mcp_server.sandbox.http import Site
from doris_mcp_server.sandbox.login import Door
from doris_mcp_server.sandbox.reader import Reader
from doris_mcp_server.sandbox.versions import DEMO, Version
from doris_mcp_server.sandbox.wire import Wire

_BACKLOG = 256


class Sandbox:
    """A running demo engine. `port` and `http_port` (None: none) are where it listens, `engine` what answers."""

    def __init__(self, engine: Engine, door: Door) -> None:
        self.port = 0
        self.http_port: int | None = None
        self.engine = engine
        self._door = door
        self._server: asyncio.Server | None = None
        self._site: Site | None = None
        self._clients: dict[asyncio.Task[None], Wire] = {}

    async def listen(self, host: str, port: int) -> None:
        """Raises OSError when the address cannot be had."""
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.StreamReaderProtocol:
            reader = Reader(loop=loop)
            return asyncio.StreamReaderProtocol(reader, lambda _, writer: self._accept(reader, writer), loop=loop)

        self._server = await loop.create_server(protocol, host, port, backlog=_BACKLOG)
        self.port = self.engine.facts.port = self._server.sockets[0].getsockname()[1]

    async def listen_http(self, host: str, port: int) -> None:
        """The same for the HTTP side."""
        self._site = Site(self.engine, self._door.accounts)
        await self._site.listen(host, port)
        self.http_port = self.engine.facts.http_port = self._site.port

    def _accept(self, reader: Reader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(self.engine, self._door, reader, writer)
        client = asyncio.get_running_loop().create_task(wire.run())
        self._clients[client] = wire
        client.add_done_callback(self._left)

    def _left(self, client: asyncio.Task[None]) -> None:
        del self._clients[client]
        if not client.cancelled() and (error := client.exception()):
            logging.getLogger(__name__).error("a connection failed", exc_info=error)

    async def close(self) -> None:
        """Stop listening, interrupt what runs, end every connection, free the data."""
        if self._server:
            self._server.close()
        if self._site:
            await self._site.close()
        clients = dict(self._clients)
        for wire in clients.values():
            wire.kill(fault("the demo engine is stopping"))
        if clients:
            await asyncio.wait(clients, timeout=5)
        for client, wire in clients.items():
            wire.writer.transport.abort()
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        for wire in clients.values():
            with contextlib.suppress(OSError):
                await wire.writer.wait_closed()
        if self._server:
            await self._server.wait_closed()
        await asyncio.to_thread(self.engine.close)


async def start(host: str, port: int, rows: int, version: Version, door: Door, http_port: int | None = None) -> Sandbox:
    """Generate the data and listen; port 0 takes a free one, and http_port None leaves the HTTP side out.

    Raises ConfigError for an empty password on an address others can reach, OSError when the port is taken.
    """
    for account in door.accounts.values():
        if not account.password and not _is_loopback(host):
            raise ConfigError(
                f"the empty password of {account.name} is for loopback only, and {host} is not",
                hint="give --password-file FILE, or --host 127.0.0.1",
            )
    engine = await asyncio.to_thread(Engine, version, rows)
    sandbox = Sandbox(engine, door)
    try:
        await sandbox.listen(host, port)
        if http_port is not None:
            await sandbox.listen_http(host, http_port)
    except BaseException:
        await sandbox.close()
        raise
    users = ", ".join(door.accounts)
    words = "%s, as %s: listening on %s:%s, users: %s"
    logging.getLogger(__name__).info(words, DEMO, version.name, host, sandbox.port, users)
    return sandbox


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
