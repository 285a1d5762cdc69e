"""What a client sent, as it comes."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol


class Sink(Protocol):
    """Who takes over what a client sends."""

    def feed_data(self, data: bytes) -> None: ...
    def feed_eof(self) -> None: ...


class Reader(asyncio.StreamReader):
    """A StreamReader that tells at once when the client is gone, also while nobody reads."""

    on_gone: Callable[[], None] | None = None
    _sink: Sink | None = None
    _buffer: bytearray  # asyncio's own

    async def read(self, n: int = -1) -> bytes:
        """All of the `n` bytes of a packet's header, or none at the end of the connection."""
        try:
            return await self.readexactly(n)
        except asyncio.IncompleteReadError:
            return b""

    def hand_over(self, sink: Sink) -> None:
        """From here on what comes goes to `sink`, and first what has come already."""
        self._sink = sink
        here = bytes(self._buffer)
        self._buffer.clear()
        if here:
            sink.feed_data(here)

    def feed_data(self, data: Any) -> None:
        if self._sink:
            self._sink.feed_data(data)
        else:
            super().feed_data(data)

    def feed_eof(self) -> None:
        super().feed_eof()
        if self._sink:
            self._sink.feed_eof()
        if self.on_gone:
            self.on_gone()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        if self._sink:
            self._sink.feed_eof()
        if self.on_gone:
            self.on_gone()
