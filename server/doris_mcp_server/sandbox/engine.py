"""The one DuckDB behind all connections, the threads its queries run in, who is connected and what ran lately."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import duckdb

from doris_mcp_server.sandbox import data, functions, information, sources
from doris_mcp_server.sandbox.accounts import Account
from doris_mcp_server.sandbox.asked import Facts
from doris_mcp_server.sandbox.history import History, seed
from doris_mcp_server.sandbox.names import Names
from doris_mcp_server.sandbox.schema import Schema
from doris_mcp_server.sandbox.variables import defaults
from doris_mcp_server.sandbox.versions import Version

if TYPE_CHECKING:
    from doris_mcp_server.sandbox.session import Session

# More than the CPUs: a thread waits here while a slow reader takes its rows.
_THREADS = 32


class Engine:
    """Data, metadata, threads and sessions. Close it after the last connection.

    `ready` set to False, it answers every statement as a frontend does that is still starting.
    """

    def __init__(self, version: Version, rows: int) -> None:
        self.schema = Schema(version)
        self.variables = defaults(version)
        self._duckdb, counts = data.build(self.schema, rows)
        for statement in (
            *information.statements(self.schema, counts),
            *functions.MACROS,
            *sources.macros(self.schema),
        ):
            self._duckdb.execute(statement)
        data.lock(self._duckdb)
        self.facts = Facts(counts)
        self.threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="sandbox")
        self.sessions: dict[int, Session] = {}
        self.history = History()
        self.ready = True
        self._names: dict[tuple[str, str], Names] = {}
        self._last_id = 0
        seed(self.history, version, datetime.now(UTC))

    def cursor(self) -> duckdb.DuckDBPyConnection:
        return self._duckdb.cursor()

    def names(self, account: Account, host: str) -> Names:
        """One object for each account and host: translations are remembered by it."""
        return self._names.setdefault((account.name, host), Names(self.schema, account, host))

    def next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def close(self) -> None:
        self.threads.shutdown(wait=True)
        self._duckdb.close()
