"""The statement a session is at: what it is, since when, and how it is stopped."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from datetime import UTC, datetime
from typing import TypeVar

import duckdb
from mysql_mimic.errors import MysqlError

from doris_mcp_server.sandbox.faults import fault

T = TypeVar("T")


class Running:
    """`statement` is None between statements; `stop` may come at any time."""

    def __init__(self) -> None:
        self.statement: str | None = None
        self.query_id = ""
        self.started = datetime.now(UTC)
        self._since = time.monotonic()
        self._stop: asyncio.Future[MysqlError] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def seconds(self) -> float:
        """Since the statement began, or since the last one ended."""
        return time.monotonic() - self._since

    def begin(self, statement: str) -> None:
        self.statement = statement
        number = uuid.uuid4().hex
        self.query_id = f"{number[:16]}-{number[16:]}"
        self.started, self._since = datetime.now(UTC), time.monotonic()
        self._stop = asyncio.get_running_loop().create_future()

    def end(self) -> None:
        self.statement, self._stop, self._since = None, None, time.monotonic()
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def limit(self, seconds: int) -> None:
        """Stop the statement when it still runs after so long."""
        reason = fault("query is timeout, killed by timeout checker")
        self._timer = asyncio.get_running_loop().call_later(seconds, self.stop, reason)

    def stop(self, reason: MysqlError) -> None:
        """Interrupt the statement, if any; its client gets `reason`."""
        if self._stop and not self._stop.done():
            self._stop.set_result(reason)

    async def sleep(self, seconds: float) -> None:
        """Raises the reason for which the statement was stopped meanwhile."""
        assert self._stop is not None
        await asyncio.wait({self._stop}, timeout=seconds)
        if self._stop.done():
            raise self._stop.result()

    async def unless_stopped(self, work: Awaitable[T]) -> T:
        """Wait for `work`, or raise the reason for which the statement was stopped meanwhile."""
        job = asyncio.ensure_future(work)
        assert self._stop is not None
        await asyncio.wait({job, self._stop}, return_when=asyncio.FIRST_COMPLETED)
        if self._stop.done():
            job.cancel()
            await asyncio.wait({job})
            raise self._stop.result()
        return job.result()

    async def in_thread(
        self, threads: Executor, work: Callable[[], T], cursor: duckdb.DuckDBPyConnection | None = None
    ) -> T:
        """Run `work` in a thread; stopped, interrupt the cursor it uses until it lets go."""
        stop = self._stop
        assert stop is not None

        def started() -> T:
            if stop.done():
                raise stop.result()
            return work()

        job = asyncio.get_running_loop().run_in_executor(threads, started)
        try:
            await asyncio.wait({job, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # An interrupt that comes before DuckDB has begun is lost, hence again and again.
            while not job.done():
                if cursor:
                    cursor.interrupt()
                await asyncio.wait({job}, timeout=0.02)
        if stop.done():
            job.exception()
            raise stop.result()
        return job.result()
