"""Where DuckDB finds what a query names: a table, or a macro that takes the rows, or the names to show, with the query.

The macros are made once, `macros`; `reading` says which of them stands for a table, and with which parameter.
"""

import json
from collections.abc import Iterator

from doris_mcp_server.sandbox.schema import INFORMATION, Schema
from doris_mcp_server.sandbox.table import Table

# DuckDB keeps the name information_schema for itself.
INFO_SCHEMA = "__information_schema"


def duckdb_path(table: Table) -> tuple[str, str, str]:
    """Catalog, schema and name in DuckDB."""
    return table.catalog, INFO_SCHEMA if table.database == INFORMATION else table.database, table.name


def sql_path(table: Table) -> str:
    return ".".join(f'"{part}"' for part in duckdb_path(table))


def reading(table: Table, sees_all: bool) -> tuple[str, str] | None:
    """The macro that stands for the table and the parameter it takes; None where the table itself may be read."""
    if table.live:
        return f"__live_{table.name}", f"live_{table.name}"
    if table.database == INFORMATION and not sees_all and _row_name(table):
        return f"__seen_{table.catalog}_{table.name}", f"seen_{table.catalog}"
    return None


def macros(schema: Schema) -> Iterator[str]:
    """The statements that make them."""
    for table in (*schema.tables, *schema.information):
        if table.live:
            shape = json.dumps([{column.name: column.duckdb_type for column in table.columns}])
            rows = f"SELECT unnest(from_json(given, '{shape}')) AS one"
            yield f"CREATE OR REPLACE MACRO main.__live_{table.name}(given) AS TABLE SELECT one.* FROM ({rows})"
        elif name := _row_name(table):
            seen = f"SELECT * FROM {sql_path(table)} WHERE list_contains(given, {name})"
            yield f"CREATE MACRO main.__seen_{table.catalog}_{table.name}(given) AS TABLE {seen}"


def _row_name(table: Table) -> str | None:
    """The expression for what a row of an information_schema table is about, where it is about a table or database."""
    if table.database != INFORMATION:
        return None
    columns = {column.name for column in table.columns}
    if {"TABLE_SCHEMA", "TABLE_NAME"} <= columns:
        return "TABLE_SCHEMA || '.' || TABLE_NAME"
    return "SCHEMA_NAME" if "SCHEMA_NAME" in columns else None
