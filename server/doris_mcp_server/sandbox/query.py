"""One query at DuckDB: started, read in pieces, its errors in Doris' words."""

import re
from collections.abc import Mapping
from typing import Any

import duckdb
from mysql_mimic.errors import MysqlError

from doris_mcp_server.sandbox.faults import READ_ONLY, fault

BATCH = 1000  # rows fetched, and written, at a time
_ALLOWED = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


def start(cursor: duckdb.DuckDBPyConnection, sql: str, given: Mapping[str, Any]) -> None:
    """Run one SELECT or EXPLAIN and nothing else, whatever the translation may have let through."""
    try:
        statements = cursor.extract_statements(sql)
        if len(statements) != 1 or statements[0].type not in _ALLOWED:
            raise fault("the demo engine is read-only", READ_ONLY)
        cursor.execute(statements[0], dict(given))
    except duckdb.Error as e:
        raise _fault_of(e) from None


def fetch(cursor: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    """The next rows; fewer than BATCH are the last ones."""
    try:
        rows: list[tuple[Any, ...]] = cursor.fetchmany(BATCH)
    except duckdb.Error as e:
        raise _fault_of(e) from None
    return rows


def _fault_of(error: duckdb.Error) -> MysqlError:
    """DuckDB's words, in Doris' where a person would look for them."""
    text = str(error).split("\n", 1)[0]
    if found := re.search(r'Referenced column "([^"]+)" (?:was )?not found', text):
        return fault(f"Unknown column '{found[1]}' in 'table list' in PROJECT clause")
    if found := re.search(r"(?:Scalar|Aggregate|Table)? ?Function with name \"?(\w+)\"? does not exist", text):
        return fault(f"Can not found function '{found[1].upper()}'")
    return fault(re.sub(r"^\w+ Error: ", "", text))
