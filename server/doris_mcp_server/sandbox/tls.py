"""TLS from the middle of a connection on, as MySQL wants it, over streams that stay plain.

The client sends its ClientHello right behind its SSLRequest, so part of it may lie in the reader when the upgrade
begins. Memory BIOs take it from there; `loop.start_tls` would lose it.
"""

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Any

from doris_mcp_server.errors import ConfigError
from doris_mcp_server.sandbox.reader import Reader

log = logging.getLogger(__name__)

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
    """Decrypts into `reader` as bytes come, also while nobody reads; is itself the writer of packets."""

    def __init__(self, context: ssl.SSLContext, plain: Reader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        self.reader = Reader(loop=loop)
        self.reader.set_transport(writer.transport)
        self._plain = plain
        self._writer = writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._ready: asyncio.Future[None] = loop.create_future()

    async def handshake(self) -> None:
        """Raises ssl.SSLError, ConnectionError."""
        self._plain.hand_over(self)
        await self._ready

    def feed_data(self, data: bytes) -> None:
        self._incoming.write(data)
        if not self._ready.done():
            self._shake()
        if self._ready.done():
            self._decrypt()
        self._flush()

    def feed_eof(self) -> None:
        if not self._ready.done():
            self._ready.set_exception(ConnectionError("gone during the handshake"))
        self.reader.feed_eof()

    def write(self, data: Any) -> None:
        left = memoryview(data)
        while left:
            left = left[self._tls.write(left) :]
        self._flush()

    async def drain(self) -> None:
        await self._writer.drain()

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as e:
            self._ready.set_exception(e)
        else:
            self._ready.set_result(None)

    def _decrypt(self) -> None:
        try:
            while piece := self._tls.read(_PIECE):
                self.reader.feed_data(piece)
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as e:
            log.debug("no TLS any more: %s", e)
        self.reader.feed_eof()

    def _flush(self) -> None:
        if sealed := self._outgoing.read():
            self._writer.write(sealed)
