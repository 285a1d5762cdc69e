"""One worker process: uvicorn on the listening sockets it was handed, told by the supervisor over a pipe.

Messages are JSON lines. From the supervisor: the settings first, then `drain`, `undrain`, `stop`. To it: a
`tick` each second from the event loop, so that a loop that is stuck shows as silence.
"""

import asyncio
import contextlib
import json
import os
import socket
from types import FrameType
from typing import Any

import uvicorn

from doris_mcp_server.app import App
from doris_mcp_server.config import Settings
from doris_mcp_server.observe import configure_logging, event

TICK = 1.0  # seconds
KEEP_ALIVE = 75  # seconds; above the balancer's own, so that it is the balancer which closes idle connections


class Server(uvicorn.Server):
    """uvicorn, but a signal starts the drain instead of an exit that waits for streams."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.on_signal = asyncio.Event()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        asyncio.get_running_loop().call_soon_threadsafe(self.on_signal.set)


class Worker:
    """The life of one worker: serve until told to stop, then drain and exit."""

    def __init__(self, settings: Settings, sockets: list[socket.socket], drained: bool) -> None:
        self._app = App(settings)
        self._app.gate.draining = drained
        self._limit = settings.drain_seconds
        self._sockets = sockets
        self._server = Server(
            uvicorn.Config(
                self._app.asgi,
                loop="uvloop",
                http="httptools",
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=2048,
                timeout_keep_alive=KEEP_ALIVE,
                # The drain has waited already; what is still there now is idle or over its limit.
                timeout_graceful_shutdown=2,
            )
        )

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stop = asyncio.Event()
        tasks = [
            asyncio.create_task(self._listen(reader, stop)),
            asyncio.create_task(self._tick(writer)),
            asyncio.create_task(self._retire(stop)),
        ]
        try:
            await self._server.serve(self._sockets)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            writer.close()

    async def _listen(self, reader: asyncio.StreamReader, stop: asyncio.Event) -> None:
        """Do what the supervisor says; its end (it was killed) means stop, so no orphan goes on serving."""
        gate = self._app.gate
        while line := await reader.readline():
            match json.loads(line)["do"]:
                case "drain":
                    gate.draining = True
                case "undrain":
                    gate.draining = False
                case "stop":
                    break
        stop.set()

    async def _tick(self, writer: asyncio.StreamWriter) -> None:
        app = self._app
        while True:
            state = {
                "started": self._server.started,
                "inflight": app.gate.inflight,
                "served": app.gate.served,
                "ready": app.health.ready,
                "draining": app.gate.draining,
                "reasons": app.health.reasons,
            }
            writer.write(json.dumps(state).encode() + b"\n")
            with contextlib.suppress(ConnectionError):  # the supervisor is gone; _listen sees its end
                await writer.drain()
            # Quick while something changes that the supervisor waits for: the start, or the end of a drain.
            settled = self._server.started and not app.gate.draining
            await asyncio.sleep(TICK if settled else TICK / 10)

    async def _retire(self, stop: asyncio.Event) -> None:
        """Wait for the word to stop, then: gate closed, streams ended, running calls finished, exit."""
        waits = [asyncio.create_task(stop.wait()), asyncio.create_task(self._server.on_signal.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()
        gate = self._app.gate
        gate.draining = True
        self._app.end_streams()
        idle = await gate.idle(self._limit)
        event("drained" if idle else "drain limit reached", inflight=gate.inflight, limit_s=self._limit)
        self._server.should_exit = True


async def _main(control: socket.socket, sockets: list[socket.socket]) -> None:
    reader, writer = await asyncio.open_connection(sock=control, limit=1 << 20)
    first: dict[str, Any] = json.loads(await reader.readline())
    settings = Settings.model_validate(first["settings"])
    configure_logging(settings.log_level)
    await Worker(settings, sockets, drained=first["drained"]).run(reader, writer)


def main(control_fd: int, socket_fds: list[int]) -> None:
    """Entry point of the child process; file descriptors are inherited from the supervisor."""
    import uvloop

    for fd in (control_fd, *socket_fds):
        os.set_inheritable(fd, False)
    control = socket.socket(fileno=control_fd)
    # Taken over as TCP sockets: uvicorn's own --fd would wrap them as AF_UNIX and never set TCP_NODELAY.
    sockets = [socket.socket(fileno=fd) for fd in socket_fds]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(control, sockets))
