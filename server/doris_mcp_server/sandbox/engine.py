"""The one DuckDB behind all connections, the threads its queries run in, and who is connected."""

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import duckdb

from doris_mcp_server.sandbox import data, functions, information
from doris_mcp_server.sandbox.catalog import Catalog
from doris_mcp_server.sandbox.tables import DATABASES

if TYPE_CHECKING:
    from doris_mcp_server.sandbox.session import Session

# More than the CPUs: a thread waits here while a slow reader takes its rows.
_THREADS = 32


class Engine:
    """Data, metadata, threads and sessions. Close it after the last connection."""

    def __init__(self, rows: int) -> None:
        self._duckdb, counts = data.build(rows)
        for catalog in DATABASES:
            for statement in information.statements(catalog, counts):
                self._duckdb.execute(statement)
        for macro in functions.MACROS:
            self._duckdb.execute(macro)
        data.lock(self._duckdb)
        self.catalog = Catalog(counts)
        self.threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="sandbox")
        self.sessions: dict[int, Session] = {}
        self._last_id = 0

    def cursor(self) -> duckdb.DuckDBPyConnection:
        return self._duckdb.cursor()

    def next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def close(self) -> None:
        self.threads.shutdown(wait=True)
        self._duckdb.close()
