"""Makes the demo engine: an in-memory DuckDB filled from the declared tables, and its locks."""

from collections.abc import Iterator

import duckdb

from doris_mcp_server.sandbox.schema import DATABASES, INFORMATION, Schema
from doris_mcp_server.sandbox.sources import INFO_SCHEMA
from doris_mcp_server.sandbox.table import Table


def build(schema: Schema, rows: int) -> tuple[duckdb.DuckDBPyConnection, dict[tuple[str, str, str], int]]:
    """An in-memory DuckDB with the data and the row count of each table; not yet locked (see `lock`)."""
    engine = duckdb.connect(":memory:")
    for catalog, databases in DATABASES.items():
        engine.execute(f"ATTACH ':memory:' AS {catalog}")
        for database in (*databases, INFO_SCHEMA):
            if database != INFORMATION:
                engine.execute(f'CREATE SCHEMA {catalog}."{database}"')
    sizes = {t.name: max(t.size[1], int(rows * t.size[0])) for t in schema.tables if t.size}
    counts: dict[tuple[str, str, str], int] = {}
    for table in (t for t in schema.tables if not t.live):
        for statement in _statements(table, sizes):
            engine.execute(statement)
        answer = engine.execute(f"SELECT count(*) FROM {'.'.join(table.path)}").fetchone()
        counts[table.path] = answer[0] if answer else 0
    return engine, counts


def lock(engine: duckdb.DuckDBPyConnection) -> None:
    """Close the ways from SQL to files, the network, Python variables and these settings, for good."""
    for setting in (
        "temp_directory = ''",
        "memory_limit = '1GB'",
        "python_enable_replacements = false",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        engine.execute(f"SET {setting}")


def _statements(table: Table, sizes: dict[str, int]) -> Iterator[str]:
    path = ".".join(table.path)
    if table.view is not None:
        yield f"CREATE VIEW {path} AS {table.view.format(c='')}"
        return
    fields = ", ".join(f"CAST({c.value} AS {c.duckdb_type}) AS {c.name}" for c in table.columns)
    select = f"SELECT {fields} FROM {table.source}"
    for name, size in sizes.items():
        select = select.replace(f"${name}", str(size))
    yield f"CREATE TABLE {path} AS {select}"
