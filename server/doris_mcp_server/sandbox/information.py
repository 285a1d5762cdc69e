"""The information_schema tables of each catalog, written into DuckDB once at the start."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from doris_mcp_server.sandbox.describe import (
    CREATED,
    engine_of,
    is_olap,
    key_of,
    partitions_of,
    range_text,
    size_of,
    table_type,
)
from doris_mcp_server.sandbox.doris_types import base
from doris_mcp_server.sandbox.schema import DATABASES, Schema
from doris_mcp_server.sandbox.sources import sql_path
from doris_mcp_server.sandbox.table import Column, Table

Counts = Mapping[tuple[str, str, str], int]
Rows = list[dict[str, Any]]


def statements(schema: Schema, counts: Counts) -> Iterator[str]:
    """The DuckDB statements that make the information_schema of each catalog."""
    rows = {name: list(fill(schema, counts)) for name, fill in FILLED.items()}
    for table in schema.information:
        if table.live:
            continue
        path = sql_path(table)
        fields = ", ".join(f'"{c.name}" {c.duckdb_type}' for c in table.columns)
        yield f"CREATE TABLE {path} ({fields})"
        here = (row for row in rows.get(table.name, ()) if _catalog_of(row) == table.catalog)
        values = ", ".join(f"({', '.join(_literal(row.get(c.name)) for c in table.columns)})" for row in here)
        if values:
            yield f"INSERT INTO {path} VALUES {values}"


def _catalog_of(row: Mapping[str, Any]) -> Any:
    return row.get("TABLE_CATALOG") or row.get("CATALOG_NAME")


def _info_tables(schema: Schema, counts: Counts) -> Rows:
    return [
        {
            **_where(t),
            "TABLE_TYPE": table_type(t),
            "ENGINE": engine_of(t),
            "TABLE_ROWS": None if t.view else counts.get(t.path, 0),
            "AVG_ROW_LENGTH": size_of(t, counts.get(t.path, 0)) // max(counts.get(t.path, 0), 1),
            "DATA_LENGTH": size_of(t, counts.get(t.path, 0)),
            "INDEX_LENGTH": 0,
            "CREATE_TIME": CREATED,
            "UPDATE_TIME": CREATED,
            "TABLE_COLLATION": "utf-8",
            "TABLE_COMMENT": t.comment,
        }
        for t in (*schema.tables, *schema.information)
    ]


def _info_columns(schema: Schema, counts: Counts) -> Rows:
    rows = []
    for t in schema.tables:
        for position, c in enumerate(t.columns, 1):
            precision, scale = _decimal(c)
            rows.append(
                {
                    **_where(t),
                    "COLUMN_NAME": c.name,
                    "ORDINAL_POSITION": position,
                    "IS_NULLABLE": "YES" if c.nullable else "NO",
                    "DATA_TYPE": base(c.type),
                    "CHARACTER_MAXIMUM_LENGTH": _characters(c),
                    "NUMERIC_PRECISION": precision,
                    "NUMERIC_SCALE": scale,
                    "COLUMN_TYPE": c.type,
                    "COLUMN_KEY": key_of(t, c),
                    "EXTRA": "",
                    "COLUMN_COMMENT": c.comment,
                    "COLUMN_SIZE": precision or _characters(c),
                    "DECIMAL_DIGITS": scale,
                }
            )
    return rows


def _info_schemata(schema: Schema, counts: Counts) -> Rows:
    return [
        {
            "CATALOG_NAME": catalog,
            "SCHEMA_NAME": name,
            "DEFAULT_CHARACTER_SET_NAME": "utf8mb4",
            "DEFAULT_COLLATION_NAME": "utf8mb4_0900_bin",
        }
        for catalog, databases in DATABASES.items()
        for name in databases
    ]


def _info_views(schema: Schema, counts: Counts) -> Rows:
    return [
        {**_where(t), "VIEW_DEFINITION": t.view.format(c="`"), "CHECK_OPTION": "NONE", "IS_UPDATABLE": "NO"}
        for t in schema.tables
        if t.view
    ]


def _info_partitions(schema: Schema, counts: Counts) -> Rows:
    return [
        {
            **_where(t),
            "PARTITION_NAME": name,
            "PARTITION_METHOD": "RANGE" if low else "UNPARTITIONED",
            "PARTITION_EXPRESSION": t.partition_column,
            "PARTITION_DESCRIPTION": range_text(low, high) if low else None,
            "TABLE_ROWS": counts.get(t.path, 0) // len(partitions_of(t)),
        }
        for t in schema.tables
        if is_olap(t)
        for name, low, high in partitions_of(t)
    ]


def _info_options(schema: Schema, counts: Counts) -> Rows:
    return [
        {
            **_where(t),
            "TABLE_MODEL": "DUP_KEYS",
            "TABLE_MODEL_KEY": ",".join(t.key),
            "DISTRIBUTE_KEY": ",".join(t.key[:1]),
            "DISTRIBUTE_TYPE": "HASH",
            "BUCKETS_NUM": t.buckets,
            "PARTITION_NUM": len(partitions_of(t)),
        }
        for t in schema.tables
        if is_olap(t)
    ]


FILLED: dict[str, Callable[[Schema, Counts], Rows]] = {
    "tables": _info_tables,
    "columns": _info_columns,
    "schemata": _info_schemata,
    "views": _info_views,
    "partitions": _info_partitions,
    "table_options": _info_options,
}


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"


def _where(table: Table) -> dict[str, Any]:
    return {"TABLE_CATALOG": table.catalog, "TABLE_SCHEMA": table.database, "TABLE_NAME": table.name}


def _decimal(column: Column) -> tuple[int | None, int | None]:
    found = re.fullmatch(r"decimal\((\d+),(\d+)\)", column.type)
    return (int(found[1]), int(found[2])) if found else (None, None)


def _characters(column: Column) -> int | None:
    found = re.fullmatch(r"(?:var)?char\((\d+)\)", column.type)
    return int(found[1]) if found else None
