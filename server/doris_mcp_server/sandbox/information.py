"""The information_schema tables of each catalog, written into DuckDB once at the start."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from doris_mcp_server.sandbox.columns import INFORMATION_SCHEMA
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
from doris_mcp_server.sandbox.names import information_type
from doris_mcp_server.sandbox.tables import DATABASES, INFO_SCHEMA, TABLES, Column, Table

Counts = Mapping[tuple[str, str, str], int]


def statements(catalog: str, counts: Counts) -> Iterator[str]:
    """The DuckDB statements that make the information_schema of one catalog."""
    for name, columns in INFORMATION_SCHEMA.items():
        path = f'{catalog}."{INFO_SCHEMA}"."{name}"'
        fields = ", ".join(f'"{c}" {Column(c, information_type(c), "", "").duckdb_type}' for c in columns)
        yield f"CREATE TABLE {path} ({fields})"
        fill = _FILLED.get(name)
        rows = (
            [row for row in fill(counts) if catalog in (row.get("TABLE_CATALOG"), row.get("CATALOG_NAME"))]
            if fill
            else []
        )
        if rows:
            values = ", ".join(f"({', '.join(_literal(row.get(c)) for c in columns)})" for row in rows)
            yield f"INSERT INTO {path} VALUES {values}"


def _info_tables(counts: Counts) -> list[dict[str, Any]]:
    rows = [
        {
            **_where(t),
            "TABLE_TYPE": table_type(t),
            "ENGINE": engine_of(t),
            "TABLE_ROWS": None if t.view else counts[t.path],
            "AVG_ROW_LENGTH": size_of(t, counts[t.path]) // max(counts[t.path], 1),
            "DATA_LENGTH": size_of(t, counts[t.path]),
            "INDEX_LENGTH": 0,
            "CREATE_TIME": CREATED,
            "UPDATE_TIME": CREATED,
            "TABLE_COLLATION": "utf-8",
            "TABLE_COMMENT": t.comment,
        }
        for t in TABLES
    ]
    for catalog in DATABASES:
        rows += [
            {
                "TABLE_CATALOG": catalog,
                "TABLE_SCHEMA": "information_schema",
                "TABLE_NAME": name,
                "TABLE_TYPE": "SYSTEM VIEW",
                "ENGINE": "SYSTEM VIEW",
                "TABLE_COMMENT": "",
            }
            for name in INFORMATION_SCHEMA
        ]
    return rows


def _info_columns(counts: Counts) -> list[dict[str, Any]]:
    rows = []
    for t in TABLES:
        for position, c in enumerate(t.columns, 1):
            precision, scale = _decimal(c)
            rows.append(
                {
                    **_where(t),
                    "COLUMN_NAME": c.name,
                    "ORDINAL_POSITION": position,
                    "IS_NULLABLE": "YES" if c.nullable else "NO",
                    "DATA_TYPE": re.split(r"[(<]", c.type)[0],
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


def _info_schemata(counts: Counts) -> list[dict[str, Any]]:
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


def _info_views(counts: Counts) -> list[dict[str, Any]]:
    return [
        {**_where(t), "VIEW_DEFINITION": t.view.format(c="`"), "CHECK_OPTION": "NONE", "IS_UPDATABLE": "NO"}
        for t in TABLES
        if t.view
    ]


def _info_partitions(counts: Counts) -> list[dict[str, Any]]:
    return [
        {
            **_where(t),
            "PARTITION_NAME": name,
            "PARTITION_METHOD": "RANGE" if low else "UNPARTITIONED",
            "PARTITION_EXPRESSION": t.partition_column,
            "PARTITION_DESCRIPTION": range_text(low, high) if low else None,
            "TABLE_ROWS": counts[t.path] // len(partitions_of(t)),
        }
        for t in TABLES
        if is_olap(t)
        for name, low, high in partitions_of(t)
    ]


def _info_options(counts: Counts) -> list[dict[str, Any]]:
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
        for t in TABLES
        if is_olap(t)
    ]


_FILLED: dict[str, Callable[[Counts], list[dict[str, Any]]]] = {
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
