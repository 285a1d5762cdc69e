"""uvicorn, made to leave without cutting anybody off."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from doris_mcp_server.steps import CLEAN, CUT, Steps

LINGER = 0.3  # seconds for a client that is just about to send to be told to leave, instead of being cut off
CONNECTIONS_LIMIT = 3.0  # seconds until the connections are closed, whoever is at their other end
LOOK = 0.03  # seconds between looks at the connections


class Server(uvicorn.Server):
    """A signal is only noted: what it means is for the worker to say."""

    def __init__(self, config: uvicorn.Config, steps: Steps) -> None:
        super().__init__(config)
        self.servers = []  # uvicorn has none until it has started
        self.on_signal = asyncio.Event()
        self._steps = steps

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        asyncio.get_running_loop().call_soon_threadsafe(self.on_signal.set)

    def stop_listening(self) -> None:
        """Leave new connections to whoever else holds the sockets."""
        for server in self.servers:
            server.close()

    async def hand_over(self, look: Callable[[], None]) -> None:
        """Return when every connection is gone, each after an answer that asked its client to leave, or when idle.

        An answer that had begun before, as those of streams have, did not ask. Its client may send once more, so an
        idle connection is closed only after a while. `look` is called again and again.
        """
        loop = asyncio.get_running_loop()
        idle: dict[object, float] = {}
        while connections := self.server_state.connections:
            look()
            now = loop.time()
            # The same question as in uvicorn's shutdown(), which closes these.
            quiet = [c for c in connections if c.cycle is None or c.cycle.response_complete]  # type: ignore[union-attr]
            idle = {connection: idle.get(connection, now) for connection in quiet}
            for connection in quiet:
                if now - idle[connection] >= LINGER:
                    connection.shutdown()
            await asyncio.sleep(LOOK)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._steps.run("connections", self._disconnect(sockets), CONNECTIONS_LIMIT)

    async def _disconnect(self, sockets: list[socket.socket] | None) -> str:
        # New connections are answered until the old ones have gone: in the queue they would wait for the next start.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER + 2 * LOOK):
                await self.hand_over(lambda: None)
        self.stop_listening()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while self.server_state.connections:
                    await asyncio.sleep(LOOK)
        await super().shutdown(sockets)
        return CUT if self.server_state.tasks else CLEAN
