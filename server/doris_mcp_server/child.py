"""A worker as its supervisor sees it: the process, the pipe to it, and what it said last."""

import asyncio
import json
import signal
import time
from dataclasses import dataclass, field
from typing import Any

from doris_mcp_server.fork import Process

SILENT_LIMIT = 8.0  # seconds a worker's event loop may be silent; with a tick before and a start after it, ten
TICKS_WITHIN = 3.0  # seconds between two ticks of a loop that turns
START_LIMIT = 60.0  # seconds a worker may take until it listens
BACKLOG_LIMIT = 1 << 20  # bytes that may wait for a worker to read them; events that come then are dropped


@dataclass(slots=True, eq=False)
class Child:
    """One worker process. `lifetime` is how many requests it serves until it is due to be replaced, None: any."""

    process: Process
    writer: asyncio.StreamWriter
    lifetime: int | None = None
    born: float = field(default_factory=time.monotonic)
    heard: float = field(default_factory=time.monotonic)
    state: dict[str, Any] = field(default_factory=lambda: {"started": False, "inflight": 0, "ready": False})
    started: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)  # it has ended, and all it said is taken in
    retiring: float | None = None  # when another one took its place
    relieved: asyncio.Event = field(default_factory=asyncio.Event)  # the same, to wait for
    idle: bool = False  # it stops, and has no call left
    killed_for: str | None = None

    def tell(self, what: str) -> None:
        """Have it `drain`, `undrain`, `retire`, `stop` or `leave`."""
        self._send({"do": what})

    def retire(self) -> None:
        """Have it end: another one serves its sockets."""
        self.retiring = time.monotonic()
        self.relieved.set()
        self.tell("retire")

    def kill(self, reason: str) -> None:
        if self.killed_for is None:
            self.killed_for = reason
            self.process.kill()

    def pass_on(self, event: dict[str, Any]) -> None:
        """Tell it an event of another worker: a hint only, dropped while this one does not read."""
        if self.writer.transport.get_write_buffer_size() < BACKLOG_LIMIT:
            self._send({"do": "event", **event})

    def _send(self, message: dict[str, Any]) -> None:
        if not self.writer.is_closing():
            self.writer.write(json.dumps(message).encode() + b"\n")

    async def starts(self) -> bool:
        """Wait until it listens; False when it ends first or takes longer than START_LIMIT."""
        await self._ended_or(self.started, START_LIMIT)
        if self.started.is_set():
            return True
        self.kill(f"not started within {START_LIMIT:g} s")
        return False

    async def leaves(self) -> None:
        """Wait until it ends or another one takes its place."""
        await self._ended_or(self.relieved)

    async def _ended_or(self, event: asyncio.Event, timeout: float | None = None) -> None:
        waits = [asyncio.create_task(event.wait()), asyncio.create_task(self.process.wait())]
        try:
            await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()

    def ticks(self) -> bool:
        """Whether its event loop turns, as far as one can know."""
        return time.monotonic() - self.heard < TICKS_WITHIN

    def silent(self) -> bool:
        limit = SILENT_LIMIT if self.started.is_set() else START_LIMIT
        return time.monotonic() - self.heard > limit

    def due(self) -> str | None:
        """Why it is to be replaced, if it is."""
        if self.state.get("leaving"):
            return "asked to end"
        if self.lifetime is not None and self.state.get("served", 0) >= self.lifetime:
            return "served enough"
        return None

    def exit_reason(self) -> str:
        """Why it ended, in words; it has."""
        code = self.process.returncode
        if self.killed_for is not None:
            return self.killed_for
        if code is not None and code < 0:
            return f"ended by {signal.Signals(-code).name}"
        return "ended by itself" if code == 0 else f"exit code {code}"

    def status(self) -> dict[str, Any]:
        """This worker in `ctl status --json`."""
        return {
            "pid": self.process.pid,
            "state": "serving" if self.started.is_set() else "starting",
            "ready": self.state["ready"],
            "age_s": round(time.monotonic() - self.born, 1),
            "inflight": self.state["inflight"],
            "streams": self.state.get("streams", 0),
            "served": self.state.get("served", 0),
            "tasks": self.state.get("tasks", 0),
            "draining": self.state.get("draining", False),
            "settings": self.state.get("settings"),
        } | ({"state": "retiring"} if self.retiring else {})
