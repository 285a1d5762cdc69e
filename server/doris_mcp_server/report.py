"""What this host is doing: for the operator, in figures; for systemd, in words."""

import asyncio
import os
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from doris_mcp_server import RELEASE
from doris_mcp_server.child import Child
from doris_mcp_server.config import Settings
from doris_mcp_server.door import Door
from doris_mcp_server.lease import Lease
from doris_mcp_server.observe import notify_systemd
from doris_mcp_server.slot import Slot

PATIENCE = 10.0  # seconds until a host counts as started on which some workers listen and others crash


class Report:
    """Looks at what the supervisor has: its slots, all its children, the drain lease, the door, whether it stops."""

    def __init__(
        self,
        settings: Settings,
        slots: list[Slot],
        children: list[Child],
        lease: Lease,
        door: Door | None,
        stopping: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._slots = slots
        self._children = children
        self._lease = lease
        self._door = door
        self._stopping = stopping
        self._born = time.monotonic()
        self._ready = False
        self._told = ""

    @property
    def inflight(self) -> int:
        return sum(child.state["inflight"] for child in self._children)

    @property
    def listening(self) -> int:
        """How many slots have a worker that listens."""
        return sum(slot.child is not None and slot.child.started.is_set() for slot in self._slots)

    @property
    def state(self) -> str:
        if self._stopping.is_set():
            return "stopping"
        if self.listening < len(self._slots) or (self._door is not None and not self._door.closed):
            return "starting"
        return "draining" if self._lease.held else "running"

    def status(self) -> dict[str, Any]:
        """As `ctl status --json` prints it."""
        serving = [slot.child for slot in self._slots if slot.child is not None]
        ready = len(serving) == len(self._slots) and all(child.state["ready"] for child in serving)
        reasons = sorted({reason for child in serving for reason in child.state.get("reasons", ())})
        keys = [child.state.get("keys") for child in serving]
        settings = [child.state["settings"] for child in serving if "settings" in child.state]
        until = None
        if self._lease.held:
            until = (datetime.now(UTC) + timedelta(seconds=self._lease.left)).isoformat(timespec="seconds")
        histories = {slot.child: slot.status() for slot in self._slots if slot.child is not None}
        return {
            "node": self._settings.node_name,
            "release": RELEASE,
            "config_digest": self._settings.config_digest,
            "pid": os.getpid(),
            "state": self.state,
            "age_s": round(time.monotonic() - self._born, 1),
            "drained_until": until,
            "drained_by": self._lease.by,
            "ready": ready and not self._lease.held,
            "reasons": reasons,
            "inflight": self.inflight,
            "keys": keys[0] if keys and all(key == keys[0] for key in keys) else None,
            "settings": _furthest_behind(settings),
            "accounts": _with_problems_first([child.state.get("accounts", {}) for child in serving]),
            "workers": [child.status() | histories.get(child, {}) for child in self._children],
            "missing": [slot.status() for slot in self._slots if slot.child is None],
        }

    def tell_systemd(self) -> None:
        """READY once, STATUS whenever it has changed."""
        state = self.state
        words = f"{state}, {self.listening} of {len(self._slots)} workers listen, release {RELEASE}"
        if state in ("stopping", "draining"):
            words = f"{state}, {self.inflight} in flight, release {RELEASE}"
        if words != self._told:
            self._told = words
            notify_systemd(f"STATUS={words}")
        # One worker that crashes again and again must not keep the others from counting: systemd would end them all.
        enough = self.listening and time.monotonic() - self._born > PATIENCE
        if not self._ready and (state in ("running", "draining") or enough):
            self._ready = True
            notify_systemd("READY=1")


def _furthest_behind(settings: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Which version of the fleet's settings all workers of this host have, and all of them began with."""
    if not settings:
        return None
    return {
        "version": min(each["version"] for each in settings),
        "started": min(each["started"] for each in settings),
        "refused": sorted({name for each in settings for name in each["refused"]}),
    }


def _with_problems_first(accounts: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """What this server's Doris account may do, by cluster; where workers have seen different things, the worse."""
    merged: dict[str, dict[str, Any]] = {}
    for each in accounts:
        merged |= {name: seen for name, seen in each.items() if name not in merged or seen["problem"]}
    return merged
