"""One worker process: uvicorn on the listening sockets it was handed, told by the supervisor over a pipe.

Messages are JSON lines. From the supervisor: `drain`, `undrain`, `stop`, and `event`s of other workers. To it: a
tick each second from the event loop, so that a loop that is stuck shows as silence, and events for the others.
"""

import asyncio
import contextlib
import importlib
import json
import logging
import signal
import socket
from types import FrameType
from typing import Any

import uvicorn
import uvloop

from doris_mcp_server.app import App
from doris_mcp_server.config import Settings
from doris_mcp_server.connection import Connection
from doris_mcp_server.doris.driver import choose
from doris_mcp_server.observe import event

TICK = 1.0  # seconds
EVENT_LIMIT = 1 << 16  # bytes one event may have on its way to the other workers
BACKLOG_LIMIT = 1 << 20  # bytes that may wait for the supervisor to read them; events that come then are dropped


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
                loop="none",  # main runs it
                http=Connection,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=2048,
                timeout_keep_alive=settings.keep_alive_seconds,
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
        self._app.bus.forward = lambda topic, data: _forward(writer, topic, data)
        try:
            await self._server.serve(self._sockets)
        finally:
            self._app.bus.forward = None
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._app.asgi.flush_metrics()
            writer.close()

    async def _listen(self, reader: asyncio.StreamReader, stop: asyncio.Event) -> None:
        """Do what the supervisor says; its end (it was killed) means stop, so no orphan goes on serving."""
        gate = self._app.gate
        with contextlib.suppress(ConnectionError):  # killed with something of ours unread
            while (line := await reader.readline()).endswith(b"\n"):
                message = json.loads(line)
                match message["do"]:
                    case "drain":
                        gate.draining = True
                    case "undrain":
                        gate.draining = False
                    case "event":
                        self._deliver(message["topic"], message["data"])
                    case "stop":
                        stop.set()  # and goes on hearing: an event may end a call the drain waits for
        stop.set()

    def _deliver(self, topic: str, data: dict[str, Any]) -> None:
        try:
            self._app.bus.deliver(topic, data)
        except Exception:  # a subscriber's fault must not keep the next message, which may be `stop`, from being heard
            logging.getLogger("doris_mcp").exception("event %s was not taken in", topic)

    async def _tick(self, writer: asyncio.StreamWriter) -> None:
        app = self._app
        while True:
            state = {
                "started": self._server.started,
                "inflight": app.gate.inflight,
                "served": app.gate.served,
                "ready": app.health.ready,
                "tasks": len(asyncio.all_tasks()),
                "draining": app.gate.draining,
                "reasons": app.health.reasons,
            }
            writer.write(json.dumps(state).encode() + b"\n")
            app.asgi.flush_metrics()
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


def _forward(writer: asyncio.StreamWriter, topic: str, data: dict[str, Any]) -> None:
    """Send an event to the other workers of this host, by way of the supervisor. It may be lost, it never waits."""
    line = json.dumps({"event": {"topic": topic, "data": data}}).encode() + b"\n"
    if len(line) > EVENT_LIMIT:
        event("event too large for the other workers", level=logging.ERROR, topic=topic, size=len(line))
    elif not writer.is_closing() and writer.transport.get_write_buffer_size() < BACKLOG_LIMIT:
        writer.write(line)


async def _main(settings: Settings, drained: bool, control: socket.socket, sockets: list[socket.socket]) -> None:
    reader, writer = await asyncio.open_connection(sock=control, limit=1 << 20)
    await Worker(settings, sockets, drained).run(reader, writer)


def preload(settings: Settings) -> None:
    """Import what this module and those below it leave for later, so that workers forked afterwards share that too."""
    late = ["doris_mcp_server.observe.instruments", "uvicorn.lifespan.on"]
    choose(settings.driver)
    late.append("doris_mcp_server.state.redis" if settings.redis_url else "doris_mcp_server.state.memory")
    for module in late:
        importlib.import_module(module)


def main(settings: Settings, drained: bool, control: socket.socket, sockets: list[socket.socket]) -> None:
    """The life of a worker process, begun by the supervisor's fork."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # reloading is the supervisor's
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(settings, drained, control, sockets))
