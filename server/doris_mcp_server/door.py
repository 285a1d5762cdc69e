"""Somebody at the door where no worker listens for a while: 503, so that a balancer asks the next member.

Of a host that was taken out, until its workers listen: a balancer tries a member that was away with one request a
second or so. Of a worker that keeps crashing, until it is started again. With nobody there a client waits in the
socket's queue all the while, though the next member would have answered at once.
"""

import asyncio
import contextlib
import logging
import os
import selectors
import socket
import time
from collections.abc import Collection
from typing import Final

from doris_mcp_server.errors import error_body
from doris_mcp_server.fork import Process, forked
from doris_mcp_server.observe import event

PATIENCE: Final = 2.0  # seconds a client has to send its request and to leave
AWAY: Final = "this host does not serve at the moment; try again"
_HEAD_LIMIT: Final = 1 << 16  # bytes of a request looked at for the end of its head
_BODY: Final = error_body(AWAY)
_ANSWER: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
    b"retry-after: 1\r\nconnection: close\r\n\r\n" % len(_BODY)
) + _BODY


class Door:
    """A process that answers on these sockets until it is closed, or until this process ends."""

    def __init__(self, sockets: Collection[socket.socket]) -> None:
        """Raises: OSError when the system has no room for it."""
        self._closing: asyncio.Task[None] | None = None
        end, self._hold = os.pipe()
        try:
            keep = {end, *(sock.fileno() for sock in sockets)}
            self._pid = forked(lambda: _keep(sockets, end), keep)
        except OSError:
            os.close(self._hold)
            raise
        finally:
            os.close(end)

    @property
    def closed(self) -> bool:
        return self._closing is not None and self._closing.done()

    async def close(self) -> None:
        """Let no more in; return when those who were let in have their answer. Again: the same."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        process = Process(self._pid)
        os.close(self._hold)
        try:
            async with asyncio.timeout(2 * PATIENCE):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def open_door(sockets: Collection[socket.socket]) -> Door | None:
    """A door; none, and a line in the log, when the system has no room for it."""
    try:
        return Door(sockets)
    except OSError as error:
        event("nobody at the door until the workers listen", level=logging.WARNING, reason=error.strerror)
        return None


class _Visitor:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.until = time.monotonic() + PATIENCE
        self._head: bytearray | None = bytearray()  # None: it has its answer

    @property
    def answered(self) -> bool:
        return self._head is None

    def hear(self) -> bool:
        """Take in what it sent and answer a whole head; False when it has left.

        What comes behind the head is read and dropped: closed with unread bytes, a connection is reset, and the reset
        can overtake the answer.
        """
        try:
            data = self.sock.recv(1 << 16)
            if self._head is not None and data:
                self._head += data
                if b"\r\n\r\n" in self._head or len(self._head) > _HEAD_LIMIT:
                    self._head = None
                    self.sock.sendall(_ANSWER)  # a few hundred bytes: a new connection has room for them
                    self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        return bool(data)


def _keep(sockets: Collection[socket.socket], end: int) -> int:
    """The life of the process at the door: until the other side of the pipe `end` is closed and nobody is left."""
    answered, open_ = 0, True
    with selectors.DefaultSelector() as selector:
        selector.register(end, selectors.EVENT_READ)
        for sock in sockets:
            sock.setblocking(False)  # a worker may be quicker to accept what both of them see
            selector.register(sock, selectors.EVENT_READ)
        while open_ or _visitors(selector):
            for key, _ in selector.select(PATIENCE / 10):
                if isinstance(visitor := key.data, _Visitor):
                    before = visitor.answered
                    stays = visitor.hear()
                    answered += visitor.answered and not before
                    if not stays:
                        _show_out(selector, visitor)
                elif key.fileobj == end:
                    open_ = False
                    selector.unregister(end)
                    for sock in sockets:
                        selector.unregister(sock)
                    break
                else:
                    with contextlib.suppress(OSError):
                        sock, _ = key.fileobj.accept()  # type: ignore[union-attr]
                        sock.setblocking(False)
                        selector.register(sock, selectors.EVENT_READ, _Visitor(sock))
            for visitor in _visitors(selector):
                if time.monotonic() > visitor.until:
                    _show_out(selector, visitor)
    if answered:
        event("turned away until the workers listened", requests=answered)
    return 0


def _visitors(selector: selectors.BaseSelector) -> list[_Visitor]:
    return [key.data for key in selector.get_map().values() if isinstance(key.data, _Visitor)]


def _show_out(selector: selectors.BaseSelector, visitor: _Visitor) -> None:
    selector.unregister(visitor.sock)
    visitor.sock.close()
