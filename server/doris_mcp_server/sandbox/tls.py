"""TLS from the middle of a connection on, as MySQL wants it, over streams that stay plain.

The client sends its ClientHello right behind its SSLRequest, so part of it may lie in the reader when the upgrade
begins. Memory BIOs take it from there; `loop.start_tls` would lose it.
"""

import asyncio
import ssl
from pathlib import Path
from typing import Any

from doris_mcp_server.errors import ConfigError

_PIECE = 1 << 16


def context(cert: Path, key: Path) -> ssl.SSLContext:
    """A server's context. Raises ConfigError when the files are no certificate chain and its key."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        made.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as e:
        raise ConfigError(
            f"--tls-cert {cert}, --tls-key {key}: {e.strerror or e}",
            hint="give a PEM certificate chain and its key, both readable by this user",
        ) from None
    return made


class Tls:
    """Reader and writer in one, for whoever reads and writes packets."""

    def __init__(self, context: ssl.SSLContext, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._plain = bytearray()

    async def handshake(self) -> None:
        """Raises ssl.SSLError, IncompleteReadError."""
        while True:
            try:
                self._tls.do_handshake()
                return
            except ssl.SSLWantReadError:
                await self._feed()
            finally:
                self._flush()

    async def read(self, n: int) -> bytes:
        """`n` bytes, or none at the end of the connection."""
        try:
            return await self.readexactly(n)
        except asyncio.IncompleteReadError:
            return b""

    async def readexactly(self, n: int) -> bytes:
        while len(self._plain) < n:
            try:
                self._plain += self._tls.read(_PIECE)
            except ssl.SSLWantReadError:
                self._flush()
                await self._feed()
            except ssl.SSLZeroReturnError:
                raise asyncio.IncompleteReadError(bytes(self._plain), n) from None
        taken = bytes(self._plain[:n])
        del self._plain[:n]
        return taken

    def write(self, data: Any) -> None:
        left = memoryview(data)
        while left:
            left = left[self._tls.write(left) :]
        self._flush()

    async def drain(self) -> None:
        await self._writer.drain()

    async def _feed(self) -> None:
        received = await self._reader.read(_PIECE)
        if not received:
            raise asyncio.IncompleteReadError(b"", None)
        self._incoming.write(received)

    def _flush(self) -> None:
        if sealed := self._outgoing.read():
            self._writer.write(sealed)
