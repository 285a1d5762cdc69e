"""A result on its way to the client: which type each column has on the wire, and rows it can send."""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mysql_mimic.results import ResultColumn
from mysql_mimic.types import ColumnType, str_len

from doris_mcp_server.sandbox import values
from doris_mcp_server.sandbox.asked import Answer
from doris_mcp_server.sandbox.dialect import Query
from doris_mcp_server.sandbox.doris_types import base, duckdb_type

# PrimitiveType.toMysqlType, for what DuckDB tells of a column.
_TYPES = {
    "BOOLEAN": ColumnType.TINY,
    "TINYINT": ColumnType.TINY,
    "SMALLINT": ColumnType.SHORT,
    "INTEGER": ColumnType.LONG,
    "BIGINT": ColumnType.LONGLONG,
    "UBIGINT": ColumnType.LONGLONG,
    "UINTEGER": ColumnType.LONGLONG,
    "USMALLINT": ColumnType.LONG,
    "UTINYINT": ColumnType.SHORT,
    # DuckDB sums bigints into a hugeint, Doris into a bigint.
    "HUGEINT": ColumnType.LONGLONG,
    "FLOAT": ColumnType.FLOAT,
    "DOUBLE": ColumnType.DOUBLE,
    "DATE": ColumnType.DATE,
    "TIMESTAMP": ColumnType.DATETIME,
    "TIME": ColumnType.TIME,
    "DECIMAL": ColumnType.NEWDECIMAL,
    "VARCHAR": ColumnType.VAR_STRING,
    "BLOB": ColumnType.VAR_STRING,
    "JSON": ColumnType.JSON,
    "STRUCT": ColumnType.STRING,
}
# The same, for what only the declaration tells.
_DECLARED = {
    "bitmap": ColumnType.STRING,
    "char": ColumnType.STRING,
    "datetime": ColumnType.DATETIME,
    "hll": ColumnType.STRING,
    "largeint": ColumnType.STRING,
    "string": ColumnType.BLOB,
    "variant": ColumnType.JSON,
}
_MAP = 400 & 0xFF  # Doris writes the low byte of its MYSQL_TYPE_MAP
_ENCODERS: Mapping[str, values.Encoder] = {
    "FLOAT": values.single,
    "DOUBLE": values.double,
    "datetime(3)": values.datetime3,
    "datetime(6)": values.datetime6,
}
_UTF8 = 33
_PLAIN_SCALE = 6  # up to here Python writes a decimal without an exponent


@dataclass(frozen=True, slots=True)
class Field:
    """A result column: mysql-mimic's, its type on the wire, and the digits after the point that its header tells."""

    column: Any
    type: int
    decimals: int = 0

    @property
    def definition(self) -> bytes:
        """Its column definition packet; character set and length are what Doris writes for every column."""
        name = str_len(self.column.name.encode())
        ends = struct.pack("<BHIBHBH", 12, _UTF8, 255, self.type, 0, self.decimals, 0)
        return bytes(b"\x03def\x00\x00\x00" + name + name + ends)


@dataclass(slots=True)
class Result:
    """Columns, the first rows, and whether `Session.more` has others."""

    fields: list[Field]
    rows: Sequence[Sequence[Any]]
    more: bool = False


def text(answer: Answer) -> Result:
    """A SHOW's answer."""
    return Result([_field(name, ColumnType.VAR_STRING) for name in answer.columns], answer.rows)


def constant(query: Query, given: Mapping[str, Any]) -> Result:
    """The answer of a query without a table; `given` are its parameters."""
    assert query.constants is not None
    row = tuple(given[c.parameter] if c.parameter else c.value for c in query.constants)
    return Result([_field(name, _type_of(value)) for name, value in zip(query.names, row, strict=True)], [row])


def fields(description: Sequence[Sequence[Any]], query: Query) -> list[Field]:
    """The columns of a DuckDB result."""
    made = []
    for at, (name, kind, *_) in enumerate(description):
        label = query.labels[at] if at < len(query.labels) else None
        made.append(_described(label or name, str(kind), _declaration(query, name, str(kind)), query.largeint))
    return made


def converter(
    description: Sequence[Sequence[Any]], query: Query
) -> Callable[[tuple[Any, ...]], tuple[Any, ...]] | None:
    """What turns a row of DuckDB into one that can be sent, or None where nothing has to be."""
    change: dict[int, Callable[[Any], Any]] = {}
    for at, (name, kind, *_) in enumerate(description):
        if _declaration(query, name, str(kind)) in ("bitmap", "hll"):
            change[at] = _hidden
        elif str(kind).endswith("]") or str(kind).startswith(("STRUCT", "MAP")):
            change[at] = _shown
    if not change:
        return None
    return lambda row: tuple(change[at](value) if at in change else value for at, value in enumerate(row))


def _hidden(value: Any) -> None:
    """Doris shows no bitmap and no sketch (return_object_data_as_binary is off)."""


def _shown(value: Any) -> str | None:
    return None if value is None else values.nested(value)


def _declaration(query: Query, name: str, kind: str) -> str:
    """The Doris type of a column that is shown as it is stored; empty where DuckDB's tells all there is."""
    declared = query.declared.get(name, "")
    return declared if declared and duckdb_type(declared) == kind else ""


def _described(name: str, kind: str, declared: str, largeint: bool) -> Field:
    if declared:
        scale = int(declared[9]) if declared.startswith("datetime(") else 0
        return _field(name, _DECLARED[base(declared)], scale, _ENCODERS.get(declared))
    bare, _, rest = kind.partition("(")
    if kind.endswith("]") or (bare == "HUGEINT" and largeint):
        return _field(name, ColumnType.STRING)
    if bare == "MAP":
        return _field(name, _MAP)
    scale = int(rest.rstrip(")").split(",")[1]) if bare == "DECIMAL" else 0
    encoder = values.decimal if scale > _PLAIN_SCALE else _ENCODERS.get(bare)
    return _field(name, _TYPES.get(bare, ColumnType.STRING), scale, encoder)


def _field(name: str, kind: int, decimals: int = 0, encoder: values.Encoder | None = None) -> Field:
    column = ResultColumn(name, kind if isinstance(kind, ColumnType) else ColumnType.STRING, text_encoder=encoder)
    return Field(column, kind, decimals)


def _type_of(value: Any) -> Any:
    if isinstance(value, bool):
        return ColumnType.TINY
    if isinstance(value, int):
        for limit, kind in ((1 << 7, "TINY"), (1 << 15, "SHORT"), (1 << 31, "LONG"), (1 << 63, "LONGLONG")):
            if -limit <= value < limit:
                return ColumnType[kind]
    return ColumnType.DATETIME if isinstance(value, datetime) else ColumnType.VAR_STRING
