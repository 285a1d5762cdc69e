"""The supervisor: one child process per listening socket, kept alive, drained together, ended within a limit.

It imports what a worker needs once and forks each worker from itself: one start-up to pay and one copy in memory,
however many there are. So nothing in here may make a thread: a process that has some cannot be forked.
"""

import asyncio
import contextlib
import gc
import json
import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from doris_mcp_server import RELEASE, ctl
from doris_mcp_server.child import START_LIMIT, Child
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import InvalidArgument, ServerError
from doris_mcp_server.fork import fork
from doris_mcp_server.observe import event, notify_systemd
from doris_mcp_server.sockets import listening_sockets

EXTRA = 8.0  # seconds beyond the drain limit until what is left is killed
BACKOFF = (0.1, 10.0)  # seconds until a crashed worker is started again: first, at most
LINE_LIMIT = 1 << 20  # bytes a line from a worker may have

Work = Callable[[Settings, bool, socket.socket, list[socket.socket]], None]
"""What a worker process runs, `worker.main`: settings, whether it is drained, control pipe, listening sockets."""


class Supervisor:
    """Runs the workers of one host until told to stop."""

    def __init__(self, settings: Settings, sockets: list[socket.socket], work: Work) -> None:
        self._settings = settings
        self._work = work
        self._runtime = Path(settings.runtime_dir)
        self._lease = self._runtime / "drain"
        slots = min(settings.worker_count, len(sockets))
        # More sockets than workers (WORKERS was lowered, the socket unit not yet restarted): none is left unserved.
        self._slots = [sockets[slot::slots] for slot in range(slots)]
        self._children: list[Child] = []
        self._drained_until = 0.0  # Unix time
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT. Exit code: 0 after a clean drain, 1 when something had to be killed."""
        self._drained_until = self._read_lease()
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sig, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._background(self._reload_logged()))
        path = self._settings.ctl_socket
        control = await ctl.listen(path, self._answer) if path else None
        try:
            for slot in range(len(self._slots)):
                self._background(self._keep(slot))
            self._background(self._watch())
            await self._stopping.wait()
            return await self._stop()
        finally:
            if control:
                control.close()
                Path(path).unlink(missing_ok=True)

    # -- workers ---------------------------------------------------------------------------------------------

    async def _keep(self, slot: int) -> None:
        """Keep one worker on this slot's sockets; crashed ones come back, later and later while they keep crashing."""
        pause = BACKOFF[0]
        while not self._stopping.is_set():
            lived = 0.0
            what, about = "worker ended", dict[str, Any]()
            try:
                child = await self._spawn(slot)
                code = await child.process.wait()
                while child.successor is not None:
                    child = child.successor
                    code = await child.process.wait()
                lived = time.monotonic() - child.born
                about = {"worker": child.process.pid, "code": code}
            except ServerError as error:
                what, about = "worker not started", {"reason": error.message, "hint": error.hint}
            if self._stopping.is_set():
                return
            pause = BACKOFF[0] if lived > 30 else min(pause * 2, BACKOFF[1])
            event(what, level=logging.ERROR, **about, again_in_s=round(pause, 1))
            await asyncio.sleep(pause)

    async def _spawn(self, slot: int) -> Child:
        """A new worker on this slot's sockets. Raises: ServerError when there cannot be one now."""
        sockets = self._slots[slot]
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours, limit=LINE_LIMIT)
            if self._stopping.is_set():
                writer.close()
                raise ServerError("the server is stopping")
            try:
                process = fork(
                    lambda: self._work(self._settings, self._draining, theirs, sockets),
                    keep={theirs.fileno(), *(sock.fileno() for sock in sockets)},
                )
            except OSError as error:
                writer.close()
                raise ServerError(
                    f"no process for a worker: {error.strerror}", hint="look at the host's memory and TasksMax"
                ) from None
        child = Child(slot, process, writer)
        self._children.append(child)
        self._background(self._hear(child, reader))
        return child

    async def _hear(self, child: Child, reader: asyncio.StreamReader) -> None:
        """Take in a worker's ticks and events until its end of the pipe closes, then wait for its exit."""
        # A worker that is killed may leave half a line, or unread events: then the pipe is reset, not ended.
        with contextlib.suppress(ConnectionError):
            while (line := await reader.readline()).endswith(b"\n"):
                child.heard = time.monotonic()
                self._take_in(child, json.loads(line))
        await child.process.wait()
        child.writer.close()
        self._children.remove(child)
        _forget_metrics(child.process.pid)

    def _take_in(self, child: Child, said: dict[str, Any]) -> None:
        if event_of_bus := said.get("event"):
            for other in self._children:
                if other is not child:
                    other.pass_on(event_of_bus)
            return
        child.state = said
        if said["started"] and not child.started.is_set():
            child.started.set()
            event("worker listens", worker=child.process.pid)
            self._tell_systemd()

    async def _watch(self) -> None:
        """Once a second: replace silent workers, end a drain whose lease ran out, feed systemd's watchdog."""
        while True:
            for child in self._children:
                if child.silent() and child.process.returncode is None:
                    event("worker is silent; killed", level=logging.ERROR, worker=child.process.pid)
                    child.process.kill()
            if self._drained_until and not self._draining:
                self._set_drain(0.0)
                event("drain lease ran out; serving again", level=logging.WARNING)
            if self._children and not any(child.silent() for child in self._children):
                notify_systemd("WATCHDOG=1")
            await asyncio.sleep(1.0)

    async def _reload(self) -> None:
        """Replace each worker in turn: the new one listens before the old one retires."""
        for old in [child for child in self._children if not child.retiring]:
            new = await self._spawn(old.slot)
            if not await self._starts(new):
                raise ServerError(
                    "the new worker did not start; the old ones go on serving",
                    hint="the server's log has the cause",
                )
            old.successor = new
            old.tell("stop")
        event("reloaded", workers=len(self._slots))

    async def _reload_logged(self) -> None:
        try:
            await self._reload()
        except ServerError as error:
            event("reload failed", level=logging.ERROR, reason=error.message)

    async def _starts(self, child: Child) -> bool:
        """Wait until a worker listens; False when it ends first or takes longer than START_LIMIT."""
        waits = [asyncio.create_task(child.started.wait()), asyncio.create_task(child.process.wait())]
        await asyncio.wait(waits, timeout=START_LIMIT, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()
        if child.started.is_set():
            return True
        if child.process.returncode is None:
            child.process.kill()
        return False

    async def _stop(self) -> int:
        notify_systemd("STOPPING=1")
        began = time.monotonic()
        event("stopping", inflight=self._inflight)
        for child in list(self._children):
            child.tell("stop")
        limit = self._settings.drain_seconds + EXTRA
        waits = [asyncio.create_task(child.process.wait()) for child in self._children]
        late: set[asyncio.Task[int]] = set()
        if waits:
            _, late = await asyncio.wait(waits, timeout=limit)
        for child in list(self._children):
            if child.process.returncode is None:
                child.process.kill()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, *waits, return_exceptions=True)
        event(
            "stopped",
            level=logging.WARNING if late else logging.INFO,
            killed=len(late),
            seconds=round(time.monotonic() - began, 2),
        )
        return 1 if late else 0

    def _background(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()):
                event("supervisor task failed", level=logging.CRITICAL, reason=repr(error))
                self._stopping.set()

        task.add_done_callback(done)

    # -- drain lease -----------------------------------------------------------------------------------------

    @property
    def _draining(self) -> bool:
        return self._drained_until > time.time()

    def _read_lease(self) -> float:
        """A lease taken before a restart still holds after it: the host is proved before it serves again."""
        try:
            return float(self._lease.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0.0

    def _set_drain(self, until: float) -> None:
        self._drained_until = until
        if until:
            self._lease.write_text(f"{until:.3f}\n", encoding="ascii")
        else:
            self._lease.unlink(missing_ok=True)
        for child in self._children:
            child.tell("drain" if until else "undrain")
        self._tell_systemd()

    # -- the operator's questions ----------------------------------------------------------------------------

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request["do"]:
            case "status":
                pass
            case "drain":
                seconds = float(request["for"])
                if not 1 <= seconds <= 3600:
                    raise InvalidArgument("a drain lasts 1 to 3600 seconds", hint="renew the lease to drain longer")
                self._set_drain(time.time() + seconds)
                event("drain", for_s=seconds, inflight=self._inflight)
            case "undrain":
                self._set_drain(0.0)
                event("undrain")
            case "reload":
                await self._reload()
            case other:
                raise InvalidArgument(f"unknown request {other!r}", hint="drain, undrain, status or reload")
        return self.status()

    @property
    def _inflight(self) -> int:
        return sum(child.state["inflight"] for child in self._children)

    def status(self) -> dict[str, Any]:
        """What this host is doing, as `ctl status --json` prints it."""
        serving = [child for child in self._children if not child.retiring]
        ready = len(serving) == len(self._slots) and all(c.state["ready"] for c in serving)
        reasons = sorted({reason for c in serving for reason in c.state.get("reasons", ())})
        until = (
            datetime.fromtimestamp(self._drained_until, UTC).isoformat(timespec="seconds") if self._draining else None
        )
        return {
            "node": self._settings.node_name,
            "release": RELEASE,
            "config_digest": self._settings.config_digest,
            "pid": os.getpid(),
            "state": self._state(),
            "drained_until": until,
            "ready": ready and not self._draining,
            "reasons": reasons,
            "inflight": self._inflight,
            "workers": [child.status() for child in self._children],
        }

    def _state(self) -> str:
        if self._stopping.is_set():
            return "stopping"
        if sum(c.started.is_set() for c in self._children) < len(self._slots):
            return "starting"
        return "draining" if self._draining else "running"

    def _tell_systemd(self) -> None:
        state = self._state()
        if state in ("running", "draining"):
            notify_systemd(f"READY=1\nSTATUS={state}, {len(self._slots)} workers, release {RELEASE}")


def _forget_metrics(pid: int) -> None:
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]


def serve(settings: Settings) -> int:
    """Run the HTTP server until it is told to stop; the exit code."""
    with contextlib.ExitStack() as stack:
        runtime = settings.runtime_dir or os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
        if not runtime:
            runtime = stack.enter_context(tempfile.TemporaryDirectory(prefix="doris-mcp-"))
        metrics = Path(runtime) / "metrics"
        metrics.mkdir(exist_ok=True)
        for stale in metrics.glob("*.db"):
            stale.unlink()
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics)
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
        event(
            "listening",
            address=address,
            workers=settings.worker_count,
            release=RELEASE,
            node=settings.node_name,
        )
        return asyncio.run(_supervise(settings, sockets, _load_worker(settings)))


async def _supervise(settings: Settings, sockets: list[socket.socket], work: Work) -> int:
    return await Supervisor(settings, sockets, work).run()


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
