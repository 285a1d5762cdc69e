"""The supervisor: a worker on each slot of listening sockets, kept alive, drained together, ended within a limit.

It imports what a worker needs once and forks each worker from itself: one start-up to pay and one copy in memory,
however many there are. So nothing in here may make a thread: a process that has some cannot be forked.
"""

import asyncio
import contextlib
import gc
import json
import logging
import os
import random
import secrets
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from doris_mcp_server import RELEASE, ctl
from doris_mcp_server.child import Child
from doris_mcp_server.config import Settings
from doris_mcp_server.door import Door, open_door
from doris_mcp_server.errors import InvalidArgument, ServerError
from doris_mcp_server.fork import fork
from doris_mcp_server.lease import Lease
from doris_mcp_server.observe import event, notify_systemd
from doris_mcp_server.observe.past import fold
from doris_mcp_server.report import Report
from doris_mcp_server.slot import BACKOFF, Slot
from doris_mcp_server.sockets import listening_sockets, shared_out
from doris_mcp_server.state import prepare_store
from doris_mcp_server.watch import TICK, Watch, turning

EXTRA = 5.0  # seconds beyond the drain limit, which the workers keep by themselves, until what is left is killed
METRICS = "metrics"  # folder of the runtime directory
LINE_LIMIT = 1 << 20  # bytes a line from a worker may have

Work = Callable[[Settings, bool, socket.socket, list[socket.socket], int], int]
"""What a worker process runs, `worker.main`: settings, whether it is drained, control pipe, listening sockets, slot."""


class Supervisor:
    """Runs the workers of one host until told to stop."""

    def __init__(
        self, settings: Settings, sockets: list[socket.socket], work: Work, lease: Lease, door: Door | None
    ) -> None:
        self._settings = settings
        self._work = work
        self._lease = lease
        self._door = door  # until a worker listens
        self._metrics = Path(settings.runtime_dir) / METRICS
        self._stopping = asyncio.Event()
        self._failed = False
        alone = len(sockets) >= settings.worker_count
        self._slots = [
            Slot(queues, self._spawn, self._stopping, alone=alone)
            for queues in shared_out(sockets, settings.worker_count)
        ]
        self._children: list[Child] = []
        self._due = asyncio.Event()  # some worker is to be replaced
        self._replacing = asyncio.Lock()  # held while a slot changes hands: never two of them at once
        self._hangup: asyncio.Task[None] | None = None
        self._some_ended = False
        self._report = Report(settings, self._slots, self._children, lease, door, self._stopping)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Serve until SIGTERM, SIGINT or an error of its own; all end the same way.

        Exit code: 0 after a clean drain, 1 when something failed, was cut short or had to be killed.
        """
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sig, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        path = self._settings.ctl_socket
        control = await ctl.listen(path, self._answer) if path else None
        try:
            for slot in self._slots:
                self._background(slot.keep())
            self._background(self._watch())
            self._background(self._renew())
            await self._stopping.wait()
            return await self._stop()
        finally:
            await self._close_door()
            if control:
                control.close()
                Path(path).unlink(missing_ok=True)

    # -- workers ---------------------------------------------------------------------------------------------

    async def _spawn(self, slot: Slot) -> Child:
        """A new worker on this slot's sockets. Raises: ServerError when there cannot be one now."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise _no_room(error) from None
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours, limit=LINE_LIMIT)
            if self._stopping.is_set():
                writer.close()
                raise ServerError("the server is stopping")
            place = self._slots.index(slot)
            try:
                process = fork(
                    lambda: self._work(self._settings, self._lease.held, theirs, slot.sockets, place),
                    keep={theirs.fileno(), *(sock.fileno() for sock in slot.sockets)},
                )
            except OSError as error:
                writer.close()
                raise _no_room(error) from None
        settings = self._settings
        lifetime = settings.max_requests + random.randint(0, settings.max_requests_jitter)
        child = Child(process, writer, lifetime if settings.max_requests else None)
        self._children.append(child)
        self._background(self._hear(child, reader))
        return child

    async def _hear(self, child: Child, reader: asyncio.StreamReader) -> None:
        """Take in a worker's ticks and events until its end of the pipe closes, then wait for its exit."""
        try:
            while (line := await reader.readline()).endswith(b"\n"):
                child.heard = time.monotonic()
                self._take_in(child, json.loads(line))
        except ConnectionError:
            pass  # killed with something of ours unread: the pipe is reset, not ended
        except ValueError:  # one that is out of its mind must not take the others down
            self._kill(child, "said what nobody understands")
        code = await child.process.wait()
        child.writer.close()
        self._children.remove(child)
        self._some_ended = True
        if child.retiring is not None:
            event("worker retired", worker=child.process.pid, code=code, reason=child.exit_reason())
        child.gone.set()
        self._let_leave()

    def _take_in(self, child: Child, said: dict[str, Any]) -> None:
        if event_of_bus := said.get("event"):
            for other in self._children:
                if other is not child:
                    other.pass_on(event_of_bus)
            return
        if said.get("idle"):
            child.idle = True
            self._let_leave()
            return
        child.state = said
        if said["started"] and not child.started.is_set():
            child.started.set()
            event("worker listens", worker=child.process.pid)
            self._background(self._close_door())
            self._report.tell_systemd()
        if child.due():
            self._due.set()

    def _let_leave(self) -> None:
        """Workers that stop leave together: each turns away whom the system puts into its own accept queue."""
        if self._stopping.is_set() and all(child.idle for child in self._children):
            for child in self._children:
                child.tell("leave")

    async def _close_door(self) -> None:
        if self._door is not None:
            await self._door.close()
            self._report.tell_systemd()

    async def _watch(self) -> None:
        """Replace workers that are silent, end a drain whose lease ran out, keep systemd informed."""
        watch = Watch()
        while True:
            for child in watch.look(self._children):
                self._kill(child, "its event loop stood still")
            for child in self._children:
                if child.retiring and time.monotonic() - child.retiring > self._settings.drain_seconds + EXTRA:
                    self._kill(child, "did not end within the drain limit")
            if self._lease.ran_out:
                self._undrain()
                event("drain lease ran out; serving again", level=logging.WARNING)
            if self._some_ended:
                self._some_ended = not fold(self._metrics, [child.process.pid for child in self._children])
            self._report.tell_systemd()
            # A stop has a limit of its own.
            if self._stopping.is_set() or turning(self._children):
                notify_systemd("WATCHDOG=1")
            await asyncio.sleep(TICK)

    def _kill(self, child: Child, reason: str) -> None:
        if child.killed_for is None and child.process.returncode is None:
            event("worker killed", level=logging.ERROR, worker=child.process.pid, reason=reason)
            child.kill(reason)

    async def _renew(self) -> None:
        """Replace those that are due, each after the one before it has gone."""
        while True:
            await self._due.wait()
            self._due.clear()
            for slot in self._slots:
                if slot.child is None or (why := slot.child.due()) is None:
                    continue
                event("worker is due", worker=slot.child.process.pid, reason=why)
                try:
                    async with self._replacing:
                        if old := await slot.replace():
                            await old.gone.wait()
                except ServerError as error:
                    self._not_replaced("worker not replaced", error)
                    await asyncio.sleep(BACKOFF[1])

    def _hang_up(self) -> None:
        """Reload, unless that is being done: what is new now would be no newer the second time."""
        if self._hangup is None or self._hangup.done():
            self._hangup = self._background(self._reload_logged())

    async def _reload(self) -> None:
        """Replace each worker in turn: the new one listens before the old one retires."""
        async with self._replacing:
            for slot in self._slots:
                await slot.replace()
        event("reloaded", workers=len(self._slots))

    async def _reload_logged(self) -> None:
        try:
            await self._reload()
        except ServerError as error:
            self._not_replaced("reload failed", error)

    def _not_replaced(self, what: str, error: ServerError) -> None:
        level = logging.INFO if self._stopping.is_set() else logging.ERROR
        event(what, level=level, reason=error.message, hint=error.hint)

    async def _stop(self) -> int:
        notify_systemd("STOPPING=1")
        began = time.monotonic()
        event("stopping", inflight=self._report.inflight)
        children = list(self._children)
        for child in children:
            child.tell("stop")
        for slot in self._slots:
            slot.let_go()
        waits = [asyncio.create_task(child.process.wait()) for child in children]
        if waits:
            await asyncio.wait(waits, timeout=self._settings.drain_seconds + EXTRA)
        for child in children:
            self._kill(child, "did not end within the drain limit")
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, *waits, return_exceptions=True)
        killed = sum(child.process.returncode == -signal.SIGKILL for child in children)
        unclean = sum(child.process.returncode != 0 for child in children)
        clean = not (unclean or self._failed)
        event(
            "stopped",
            level=logging.INFO if clean else logging.WARNING,
            killed=killed,
            unclean=unclean,
            seconds=round(time.monotonic() - began, 2),
        )
        return 0 if clean else 1

    def _background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()):
                logging.getLogger("doris_mcp").critical("the supervisor failed; it stops", exc_info=error)
                self._failed = True
                self._stopping.set()

        task.add_done_callback(done)
        return task

    # -- the operator's questions ----------------------------------------------------------------------------

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request.get("do"):
            case "status":
                pass
            case "drain":
                self._drain(request.get("for"), _name(request))
            case "undrain":
                if self._undrain(_name(request)):
                    event("undrain", by=request.get("by"))
            case "reload":
                await self._reload()
            case "tell":
                self._tell_workers(request)
            case other:
                raise InvalidArgument(f"unknown request {other!r:.100}", hint="drain, undrain, status or reload")
        return self._report.status()

    def _drain(self, seconds: Any, by: str | None) -> None:
        if type(seconds) not in (int, float):
            raise InvalidArgument("`for` must say how many seconds a drain lasts", hint='{"do": "drain", "for": 120}')
        if self._lease.take(seconds, by):
            event("drain", for_s=seconds, by=self._lease.by, inflight=self._report.inflight)
            self._tell_all("drain")

    def _tell_workers(self, request: dict[str, Any]) -> None:
        """Pass on what a command has done to the store of this host."""
        topic, data = request.get("topic"), request.get("data")
        if not isinstance(topic, str) or not isinstance(data, dict):
            raise InvalidArgument("an event has a topic and data")
        for child in self._children:
            child.pass_on({"topic": topic, "data": data})

    def _undrain(self, by: str | None = None) -> bool:
        given = self._lease.give_back(by)
        if given:
            self._tell_all("undrain")
        return given

    def _tell_all(self, what: str) -> None:
        for child in self._children:
            if not self._stopping.is_set():  # which closes the gate for good
                child.tell(what)
        self._report.tell_systemd()


def _name(request: dict[str, Any]) -> str | None:
    """Who asks, where they say so. Raises: InvalidArgument."""
    by = request.get("by")
    if by is None or isinstance(by, str):
        return by
    raise InvalidArgument("`by` must be a name", hint='{"do": "drain", "for": 120, "by": "ann"}')


def _no_room(error: OSError) -> ServerError:
    hint = "look at the host's memory, TasksMax and LimitNOFILE"
    return ServerError(f"no process for a worker: {error.strerror}", hint=hint)


def serve(settings: Settings) -> int:
    """Run the HTTP server until it is told to stop; the exit code."""
    with contextlib.ExitStack() as stack:
        runtime = settings.runtime_dir or os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
        if not runtime:
            runtime = stack.enter_context(tempfile.TemporaryDirectory(prefix="doris-mcp-"))
        metrics = Path(runtime) / METRICS
        metrics.mkdir(exist_ok=True)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics)
        fold(metrics, ())  # what the process before this one counted at its end, nobody has seen yet
        sockets = listening_sockets(settings)
        address = "{}:{}".format(*sockets[0].getsockname()[:2])
        settings = settings.model_copy(
            update={
                # Without any, each worker would make its own and refuse what another one sealed.
                "keys": settings.keys or (() if settings.token_key else (secrets.token_hex(32),)),
                "runtime_dir": runtime,
                "ctl_socket": settings.ctl_socket or str(Path(runtime) / "ctl.sock"),
            }
        )
        prepare_store(settings)
        event(
            "listening",
            address=address,
            workers=settings.worker_count,
            release=RELEASE,
            node=settings.node_name,
        )
        lease = Lease(Path(runtime) / "drain")
        door = open_door(sockets) if lease.held else None  # else waiting for the workers is the best there is
        return asyncio.run(_supervise(settings, sockets, _load_worker(settings), lease, door))


async def _supervise(
    settings: Settings, sockets: list[socket.socket], work: Work, lease: Lease, door: Door | None
) -> int:
    return await Supervisor(settings, sockets, work, lease, door).run()


def _load_worker(settings: Settings) -> Work:
    """Import all that a worker runs on. After PROMETHEUS_MULTIPROC_DIR is set, which prometheus_client reads then."""
    # What is imported now or later comes from this release, even when `current` is flipped to another meanwhile.
    sys.path[:] = [os.path.realpath(entry) for entry in sys.path]
    for module in list(sys.modules.values()):
        if isinstance(path := getattr(module, "__path__", None), list):
            path[:] = [os.path.realpath(entry) for entry in path]
    gc.disable()  # nothing here becomes garbage
    from doris_mcp_server import worker

    worker.preload(settings)
    gc.freeze()  # a collection would write to each object's page, and unshare it
    gc.enable()
    return worker.main
