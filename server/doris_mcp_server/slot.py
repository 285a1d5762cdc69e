"""A slot: listening sockets, and the worker that serves them: kept alive, and replaced without a gap."""

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from doris_mcp_server.child import Child
from doris_mcp_server.door import open_door
from doris_mcp_server.errors import ServerError
from doris_mcp_server.observe import event

BACKOFF = (0.1, 10.0)  # seconds until a crashed worker is started again: first, at most
ATTENDED = 1.0  # seconds of such a pause beyond which clients are told to come again
SETTLED = 10.0  # seconds after which a crash is no longer one of a row

Start = Callable[["Slot"], Awaitable[Child]]
"""Makes a worker for this slot. Raises: ServerError when there cannot be one now."""


class Slot:
    """`child` is the worker whose place this is; None while there is none. `alone`: no other slot has these sockets."""

    def __init__(
        self, sockets: list[socket.socket], start: Start, stopping: asyncio.Event, *, alone: bool = True
    ) -> None:
        self.sockets = sockets
        self._alone = alone
        self.child: Child | None = None
        self._start = start
        self._stopping = stopping
        self._change = asyncio.Lock()
        self._crashes = 0  # workers that ended though nobody wanted it
        self._replaced = 0  # workers whose place was given to another one
        self._last_exit: dict[str, str] | None = None

    async def keep(self) -> None:
        """Have a worker here until the server stops. One that crashes comes back, later while it keeps crashing."""
        pause = 0.0
        while not self._stopping.is_set():
            what, about, lived = await self._live()
            if self._stopping.is_set():
                return
            pause = min(2 * pause, BACKOFF[1]) if pause and lived < SETTLED else BACKOFF[0]
            event(what, level=logging.ERROR, **about, again_in_s=round(pause, 1))
            await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        door = open_door(self.sockets) if self._alone and seconds > ATTENDED else None
        try:
            await asyncio.sleep(seconds)
        finally:
            if door is not None:
                await door.close()

    async def _live(self) -> tuple[str, dict[str, Any], float]:
        """One worker's life here, and that of those who took its place: words for its end, seconds it lived."""
        try:
            self.child = await self._start(self)
        except ServerError as error:
            self._crashes += 1
            self._exited(error.message)
            return "worker not started", {"reason": error.message, "hint": error.hint}, 0.0
        while True:
            child = self.child
            await child.leaves()
            async with self._change:  # who is being started to take its place, has it
                if self.child is child:
                    break
        self.child = None
        self._crashes += 1
        self._exited(child.exit_reason())
        about = {"worker": child.process.pid, "code": child.process.returncode, "reason": child.exit_reason()}
        return "worker ended", about, time.monotonic() - child.born

    async def replace(self) -> Child | None:
        """Start another worker, and have the one here retire when the new one listens; the one that retires.

        Raises: ServerError when the new one does not start; the old one goes on.
        """
        async with self._change:
            old = self.child
            if old is None:
                return None  # another one is on its way as it is
            new = await self._start(self)
            if not await new.starts():
                raise ServerError(
                    "the new worker did not start; the old ones go on serving", hint="the server's log has the cause"
                )
            self.child = new
            self._replaced += 1
            old.retire()
            return old

    def let_go(self) -> None:
        """Close this process' own hold on the sockets: with the worker's they are closed, unless systemd has them.

        Else a connection made while other workers are still busy would be taken up, and answered by nobody.
        """
        for sock in self.sockets:
            sock.close()

    def _exited(self, reason: str) -> None:
        self._last_exit = {"reason": reason, "at": datetime.now(UTC).isoformat(timespec="seconds")}

    def status(self) -> dict[str, Any]:
        """What became of the workers here, as `ctl status --json` prints it beside the one that serves."""
        return {"crashes": self._crashes, "replaced": self._replaced, "last_exit": self._last_exit}
