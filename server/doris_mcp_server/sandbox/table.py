"""The declaration of one table: what Doris would say about it, and how DuckDB fills it."""

from dataclasses import dataclass

from doris_mcp_server.sandbox.doris_types import duckdb_type

INTERNAL = "internal"
LAKE = "lake"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its Doris type, its comment, and the DuckDB expression that fills it."""

    name: str
    type: str
    comment: str = ""
    value: str = ""
    nullable: bool = False

    @property
    def duckdb_type(self) -> str:
        return duckdb_type(self.type)


@dataclass(frozen=True, slots=True)
class Table:
    """One table or view. `key`: its leading key columns; `partitions`: (name, low, high) of a RANGE."""

    catalog: str
    database: str
    name: str
    comment: str
    columns: tuple[Column, ...]
    source: str = ""
    key: tuple[str, ...] = ()
    buckets: int = 1
    partition_column: str | None = None
    partitions: tuple[tuple[str, str, str], ...] = ()
    inverted_index: str | None = None
    view: str | None = None
    # Rows per row of the fact table, and the least number of them; None where `source` fixes it.
    size: tuple[float, int] | None = None
    # Its rows are made when it is asked for; see live.py.
    live: bool = False

    @property
    def path(self) -> tuple[str, str, str]:
        return self.catalog, self.database, self.name
