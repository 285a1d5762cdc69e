"""A worker as its supervisor sees it: the process, the pipe to it, and what it said last."""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

from doris_mcp_server.fork import Process

SILENT_LIMIT = 10.0  # seconds a worker's event loop may be silent before it is replaced
START_LIMIT = 60.0  # seconds a worker may take until it listens
BACKLOG_LIMIT = 1 << 20  # bytes that may wait for a worker to read them; events that come then are dropped


@dataclass(slots=True, eq=False)
class Child:
    """One worker process."""

    slot: int
    process: Process
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
        """Have it `drain`, `undrain` or `stop`."""
        self._send({"do": what})

    def pass_on(self, event: dict[str, Any]) -> None:
        """Tell it an event of another worker: a hint only, dropped while this one does not read."""
        if self.writer.transport.get_write_buffer_size() < BACKLOG_LIMIT:
            self._send({"do": "event", **event})

    def _send(self, message: dict[str, Any]) -> None:
        if not self.writer.is_closing():
            self.writer.write(json.dumps(message).encode() + b"\n")

    def silent(self) -> bool:
        limit = SILENT_LIMIT if self.started.is_set() else START_LIMIT
        return time.monotonic() - self.heard > limit

    def status(self) -> dict[str, Any]:
        """This worker in `ctl status --json`."""
        return {
            "pid": self.process.pid,
            "state": "retiring" if self.retiring else "serving" if self.started.is_set() else "starting",
            "ready": self.state["ready"],
            "inflight": self.state["inflight"],
            "served": self.state.get("served", 0),
            "tasks": self.state.get("tasks", 0),
            "draining": self.state.get("draining", False),
        }
