"""One worker process: uvicorn on the listening sockets it was handed, told by the supervisor over a pipe.

Messages are JSON lines. From the supervisor: `drain`, `undrain`, `retire` (another worker has its place), `stop`,
`leave` (no worker that stops has a call left), and `event`s of other workers. To it: a tick each second from the event
loop, so that a loop that is stuck shows as silence, `idle` when it stops and has no call left, and events for the
others.
"""

import asyncio
import contextlib
import importlib
import json
import logging
import os
import signal
import socket
from collections.abc import Coroutine
from types import FrameType
from typing import Any

import uvicorn
import uvloop

from doris_mcp_server.app import App
from doris_mcp_server.centre.copy import freshen
from doris_mcp_server.config import Settings
from doris_mcp_server.connection import Connection
from doris_mcp_server.doris.driver import choose
from doris_mcp_server.errors import ServerError
from doris_mcp_server.observe import event, flush_logs
from doris_mcp_server.server import Server

TICK = 1.0  # seconds
ORPHAN_LIMIT = 20  # seconds a loop may stand still before a worker whose supervisor is gone ends without it
EVENT_LIMIT = 1 << 16  # bytes one event may have on its way to the other workers
BACKLOG_LIMIT = 1 << 20  # bytes that may wait for the supervisor to read them; events that come then are dropped
TASKS_LIMIT = 1.0  # seconds for what a worker does in the background to end
LOGS_LIMIT = 1.0  # seconds for the reader of the log to take the last lines


class Worker:
    """The life of one worker: serve until told to stop, then drain and exit."""

    def __init__(self, settings: Settings, sockets: list[socket.socket], drained: bool, slot: int) -> None:
        self._app = App(settings)
        self._app.slot = slot
        self._app.bus.origin = f"{settings.node_name}:{os.getppid()}"  # all workers of this supervisor hear each other
        self._app.gate.draining = drained
        self._sockets = sockets
        self._failed = False
        self._leaving = False  # told to end by itself, it goes on until another one has its place
        self._relieved = False  # another one has it
        self._end = asyncio.Event()
        self._leave = asyncio.Event()  # nobody has to be waited for; cleared by a stop of the whole host
        self._leave.set()
        self._server = Server(
            uvicorn.Config(
                self._app.asgi,
                loop="none",  # main runs it
                http=Connection,
                ws="none",
                lifespan="off",  # it has no limit
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=2048,
                timeout_keep_alive=self._app.settings.keep_alive_seconds,
                # The drain has waited already; what is still there now is idle or over its limit.
                timeout_graceful_shutdown=1,
            ),
            self._app.steps,
        )

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        """Exit code: 0 after a clean drain, 1 when a part of this worker failed or something had to be cut short."""
        tasks = {
            self._vital("listening to the supervisor", self._listen(reader)),
            self._vital("ticking", self._tick(writer)),
            self._vital("announcing this worker", self._app.registry.watch()),
            self._vital("heeding signals", self._heed_signals()),
        }
        watching = self._vital("watching Doris and the store", self._app.watch())
        ending = asyncio.create_task(self._retire(writer))
        self._app.bus.carriers.append(lambda topic, data: _forward(writer, topic, data))
        try:
            await self._app.start()
            self._app.address = "{}:{}".format(*self._sockets[0].getsockname()[:2])
            await self._server.serve(self._sockets)
        except Exception as error:
            self._fail("serving", error)
        await ending
        await _end({watching})  # who listens to a store that is closed connects to it again
        await self._app.close()
        await _end(tasks | asyncio.all_tasks() - {asyncio.current_task()})
        await self._app.steps.run("logs", asyncio.to_thread(flush_logs, LOGS_LIMIT), LOGS_LIMIT)
        self._app.asgi.flush_metrics()
        writer.close()
        clean = self._app.steps.clean and not self._failed
        event("drained", level=logging.INFO if clean else logging.WARNING, clean=clean)
        return 0 if clean else 1

    def _vital(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task without which this worker is of no use: when it fails, the worker ends as it always does."""

        def done(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()):
                self._fail(name, error)

        task = asyncio.create_task(work)
        task.add_done_callback(done)
        return task

    def _fail(self, what: str, error: BaseException) -> None:
        logging.getLogger("doris_mcp").error("%s failed; this worker ends", what, exc_info=error)
        self._failed = True
        self._app.gate.draining = True
        self._end.set()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Do what the supervisor says. Its end (it was killed) means retire, so that no orphan goes on serving."""
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
                        self._app.bus.deliver(message["topic"], message["data"])
                    case "retire":
                        self._make_room()
                    case "stop":
                        gate.draining = True
                        self._leave.clear()
                        self._end.set()
                    case "leave":
                        self._leave.set()
        self._make_room()

    def _make_room(self) -> None:
        """Somebody else serves this address now, or will: keep what is under way, and take on nothing."""
        self._app.gate.retire()
        self._server.stop_listening()
        self._relieved = True
        self._leave.set()
        self._end.set()

    async def _heed_signals(self) -> None:
        """A signal to this worker alone: ask for another one, which the supervisor starts before this one ends."""
        await self._server.on_signal.wait()
        event("asked to end")
        self._leaving = True

    async def _tick(self, writer: asyncio.StreamWriter) -> None:
        app = self._app
        supervisor = os.getppid()

        def alone(sig: int, frame: FrameType | None) -> None:
            if os.getppid() != supervisor:
                os._exit(1)

        signal.signal(signal.SIGALRM, alone)
        while True:
            signal.setitimer(signal.ITIMER_REAL, ORPHAN_LIMIT, ORPHAN_LIMIT)
            state = {
                "started": self._server.started,
                "leaving": self._leaving,
                "inflight": app.gate.inflight,
                "streams": app.gate.streams,
                "served": app.gate.served,
                "ready": app.health.ready,
                "tasks": len(asyncio.all_tasks()),
                "draining": app.gate.draining,
                "reasons": app.health.reasons,
                "keys": app.rotation.status(),
                "settings": app.follower.status(),
                "accounts": app.routes.accounts(),
            }
            writer.write(json.dumps(state).encode() + b"\n")
            app.asgi.flush_metrics()
            with contextlib.suppress(ConnectionError):  # the supervisor is gone; _listen sees its end
                await writer.drain()
            # Quick while something changes that the supervisor waits for: the start, or the end of a drain.
            settled = self._server.started and not app.gate.draining
            await asyncio.sleep(TICK if settled else TICK / 10)

    async def _retire(self, writer: asyncio.StreamWriter) -> None:
        """Wait for the end, then: running calls finish, streams end, and the server closes what is left."""
        await self._end.wait()
        self._app.registry.leave()
        try:
            if self._relieved:
                await self._app.hand_over(self._server.hand_over)
            await self._app.drain(lambda: self._others(writer))
        finally:
            self._server.should_exit = True

    async def _others(self, writer: asyncio.StreamWriter) -> None:
        """Return when no worker of a host that stops has a call left.

        Each has an accept queue of its own: who is put into one that nobody looks at waits for the next start.
        """
        if not writer.is_closing():
            writer.write(b'{"idle": true}\n')
        await self._leave.wait()


async def _end(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancel them until they have ended: Python 3.11's wait_for, which redis-py uses, may swallow a cancellation."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(TASKS_LIMIT):
            while tasks:
                for task in tasks:
                    task.cancel()
                _, tasks = await asyncio.wait(tasks, timeout=TASKS_LIMIT / 20)


def _forward(writer: asyncio.StreamWriter, topic: str, data: dict[str, Any]) -> None:
    """Send an event to the other workers of this host, by way of the supervisor. It may be lost, it never waits."""
    line = json.dumps({"event": {"topic": topic, "data": data}}).encode() + b"\n"
    if len(line) > EVENT_LIMIT:
        event("event too large for the other workers", level=logging.ERROR, topic=topic, size=len(line))
    elif not writer.is_closing() and writer.transport.get_write_buffer_size() < BACKLOG_LIMIT:
        writer.write(line)


def unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What the event loop has nobody to tell of. A TLS connection that ends while it is closed is nobody's fault.

    uvloop then writes to what is closed already, once for each connection to a primary of the store that is gone.
    """
    error = context.get("exception")
    if not (isinstance(error, RuntimeError) and "the handler is closed" in str(error)):
        loop.default_exception_handler(context)


async def _main(
    settings: Settings, drained: bool, control: socket.socket, sockets: list[socket.socket], slot: int
) -> int:
    asyncio.get_running_loop().set_exception_handler(unhandled)
    reader, writer = await asyncio.open_connection(sock=control, limit=1 << 20)
    await freshen(settings)
    return await Worker(settings, sockets, drained, slot).run(reader, writer)


def preload(settings: Settings) -> None:
    """Import what this module and those below it leave for later, so that workers forked afterwards share that too."""
    late = ["doris_mcp_server.observe.instruments", "uvicorn.lifespan.off"]
    choose(settings.driver)
    late.append("doris_mcp_server.state.redis" if settings.redis_url else "doris_mcp_server.state.local")
    if settings.token_key:
        late.append("cryptography.hazmat.primitives.ciphers.aead")
    if settings.issuers or settings.public_url:
        late += ["jwt", "httpx2"]
    for module in late:
        importlib.import_module(module)


def main(settings: Settings, drained: bool, control: socket.socket, sockets: list[socket.socket], slot: int) -> int:
    """The life of a worker process, begun by the supervisor's fork; its exit code."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # reloading is the supervisor's
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_main(settings, drained, control, sockets, slot))
    except ServerError as error:
        event("this worker cannot start", level=logging.ERROR, reason=error.message, fix=error.hint)
        return 1
