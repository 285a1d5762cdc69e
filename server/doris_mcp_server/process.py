"""The supervisor: one child process per listening socket, kept alive, drained together, ended within a limit.

Sockets come from systemd when it holds them (their queues then outlive a restart), else they are bound here, one
per worker with SO_REUSEPORT, because a shared accept queue does not spread connections evenly.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from doris_mcp_server import RELEASE, ctl
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import ConfigError, InvalidArgument, ServerError
from doris_mcp_server.observe import event, notify_systemd

SILENT_LIMIT = 10.0  # seconds a worker's event loop may be silent before it is replaced
START_LIMIT = 60.0  # seconds a worker may take until it listens
EXTRA = 8.0  # seconds beyond the drain limit until what is left is killed
BACKOFF = (0.1, 10.0)  # seconds until a crashed worker is started again: first, at most


@dataclass(slots=True)
class Child:
    """A worker process as its supervisor sees it."""

    slot: int
    process: asyncio.subprocess.Process
    writer: asyncio.StreamWriter
    born: float = field(default_factory=time.monotonic)
    heard: float = field(default_factory=time.monotonic)
    state: dict[str, Any] = field(default_factory=lambda: {"started": False, "inflight": 0, "ready": False})
    started: asyncio.Event = field(default_factory=asyncio.Event)
    successor: "Child | None" = None  # set when a reload replaces this worker

    @property
    def retiring(self) -> bool:
        return self.successor is not None

    def tell(self, what: str) -> None:
        if not self.writer.is_closing():
            self.writer.write(json.dumps({"do": what}).encode() + b"\n")

    def silent(self) -> bool:
        limit = SILENT_LIMIT if self.started.is_set() else START_LIMIT
        return time.monotonic() - self.heard > limit


class Supervisor:
    """Runs the workers of one host until told to stop."""

    def __init__(self, settings: Settings, sockets: list[socket.socket]) -> None:
        self._settings = settings
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
            child = await self._spawn(slot)
            code = await child.process.wait()
            while child.successor is not None:
                child = child.successor
                code = await child.process.wait()
            if self._stopping.is_set():
                return
            lived = time.monotonic() - child.born
            pause = BACKOFF[0] if lived > 30 else min(pause * 2, BACKOFF[1])
            event(
                "worker ended",
                level=logging.ERROR,
                worker=child.process.pid,
                code=code,
                again_in_s=round(pause, 1),
            )
            await asyncio.sleep(pause)

    async def _spawn(self, slot: int) -> Child:
        ours, theirs = socket.socketpair()
        fds = [sock.fileno() for sock in self._slots[slot]]
        with theirs:
            process = await asyncio.create_subprocess_exec(
                _own_python(),
                "-c",
                f"from doris_mcp_server.worker import main; main({theirs.fileno()}, {fds})",
                pass_fds=[theirs.fileno(), *fds],
                stdin=asyncio.subprocess.DEVNULL,
                # Its own process group: Ctrl-C reaches the supervisor only, which drains in order.
                process_group=0,
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        child = Child(slot, process, writer)
        self._children.append(child)
        first = {"settings": self._settings.model_dump(), "drained": self._draining}
        writer.write(json.dumps(first).encode() + b"\n")
        self._background(self._hear(child, reader))
        return child

    async def _hear(self, child: Child, reader: asyncio.StreamReader) -> None:
        """Take in a worker's ticks until its end of the pipe closes, then wait for its exit."""
        while line := await reader.readline():
            child.heard = time.monotonic()
            child.state = json.loads(line)
            if child.state["started"] and not child.started.is_set():
                child.started.set()
                event("worker listens", worker=child.process.pid)
                self._tell_systemd()
        await child.process.wait()
        child.writer.close()
        self._children.remove(child)
        _forget_metrics(child.process.pid)

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
            "workers": [
                {
                    "pid": c.process.pid,
                    "state": "retiring" if c.retiring else "serving" if c.started.is_set() else "starting",
                    "ready": c.state["ready"],
                    "inflight": c.state["inflight"],
                    "served": c.state.get("served", 0),
                    "draining": c.state.get("draining", False),
                }
                for c in self._children
            ],
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


def _own_python() -> str:
    """This interpreter inside its own release: a `current` link flipped meanwhile must not change it."""
    python = Path(sys.executable)
    return str(python.parent.resolve() / python.name)


def _forget_metrics(pid: int) -> None:
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]


# -- sockets -------------------------------------------------------------------------------------------------


def listening_sockets(settings: Settings) -> list[socket.socket]:
    """Sockets from systemd when it passed any, else one per worker on host and port.

    Raises: ConfigError when the address is in use or not ours.
    """
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        count = int(os.environ["LISTEN_FDS"])
        return [socket.socket(fileno=3 + index) for index in range(count)]
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    port = settings.port
    try:
        # SO_REUSEPORT would let a second server join an address in use without a word: probe without it first.
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.host, port))
            probe.listen(1)
        sockets = []
        for _ in range(settings.worker_count):
            sock = socket.socket(family)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind((settings.host, port))
            sock.listen(2048)
            port = sock.getsockname()[1]
            sockets.append(sock)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {settings.host}:{port}: {error.strerror}",
            hint=f"see who holds it with: ss -ltnp 'sport = :{port}'; or choose another --port",
        ) from None
    return sockets


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
        return asyncio.run(_supervise(settings, sockets))


async def _supervise(settings: Settings, sockets: list[socket.socket]) -> int:
    return await Supervisor(settings, sockets).run()
