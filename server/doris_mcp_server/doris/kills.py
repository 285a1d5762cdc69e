"""Statements that nobody waits for any more: KILL QUERY at the very frontend that runs them.

One connection to a frontend sends all that is due there, one after the other: many callers who leave at once cost one
login, and MariaDB, where kills that come side by side wait seconds for each other, ends two hundred in a fifth of one.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from doris_mcp_server.doris.driver import Driver, Login
from doris_mcp_server.doris.frontends import Frontend
from doris_mcp_server.doris.wire import Answered, Wire
from doris_mcp_server.errors import DorisError

log = logging.getLogger(__name__)

UNKNOWN_THREAD: Final = 1094


class Kills:
    """The kills of one account. `timeout` seconds for one of them; `unreachable` is told where none gets through."""

    def __init__(self, login: Login, driver: Driver, timeout: float, unreachable: Callable[[Frontend], None]) -> None:
        self.counts = {"sent": 0, "failed": 0}
        self._login = login
        self._driver = driver
        self._timeout = timeout
        self._unreachable = unreachable
        self._due: dict[tuple[Frontend, str], deque[int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def under_way(self) -> bool:
        return bool(self._tasks)

    def kill(self, wire: Wire) -> None:
        """Have the statement of this connection end soon. Its number means nothing at another frontend."""
        where = wire.frontend, wire.address
        if (due := self._due.get(where)) is not None:
            due.append(wire.connection_id)
            return
        self._due[where] = deque([wire.connection_id])
        task = asyncio.create_task(self._work(*where), name="doris-kill")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self, timeout: float) -> None:
        """Wait for those that are due, `timeout` seconds at most."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=timeout)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _work(self, frontend: Frontend, address: str) -> None:
        """Send what is due, and becomes due meanwhile. Where one does not get through, the others would not, either."""
        due = self._due[frontend, address]
        try:
            await self._send(frontend, address, due)
        except (DorisError, TimeoutError) as error:
            reason = str(error) or f"no answer within {self._timeout:g} s"
            log.warning("kill failed: %d statements at %s: %s", len(due), frontend, reason)
            self._unreachable(frontend)
        finally:
            self.counts["failed"] += len(due)
            del self._due[frontend, address]

    async def _send(self, frontend: Frontend, address: str, due: deque[int]) -> None:
        wire = None
        try:
            while due:
                async with asyncio.timeout(self._timeout):
                    if wire is None:
                        wire = await Wire.open(frontend, self._login, self._driver, address)
                    outcome = await self._kill(wire, due[0])
                due.popleft()
                self.counts[outcome] += 1
        finally:
            if wire is not None:
                wire.abort()

    @staticmethod
    async def _kill(wire: Wire, connection_id: int) -> str:
        try:
            await wire.command(f"KILL QUERY {connection_id}")
        except Answered as answer:
            if answer.code != UNKNOWN_THREAD:  # else it ended by itself
                log.warning("kill failed: connection %d at %s: %s", connection_id, wire.frontend, answer)
                return "failed"
        return "sent"
