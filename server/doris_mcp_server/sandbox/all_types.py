"""A table with a column of every type Doris has, and what its ends look like on the wire."""

from collections.abc import Sequence

from doris_mcp_server.sandbox.doris_types import duckdb_type
from doris_mcp_server.sandbox.table import INTERNAL, Column, Table

# Column name and type, then DuckDB expressions: an ordinary value, the one end, the other end.
_COLUMNS: tuple[tuple[str, str, str, str, str], ...] = (
    ("c_boolean", "boolean", "true", "false", "true"),
    ("c_tinyint", "tinyint", "7", "-128", "127"),
    ("c_smallint", "smallint", "700", "-32768", "32767"),
    ("c_int", "int", "70000", "-2147483648", "2147483647"),
    ("c_bigint", "bigint", "7000000000", "-9223372036854775808", "9223372036854775807"),
    (
        "c_largeint",
        "largeint",
        "'170000000000000000000'",
        "'-170141183460469231731687303715884105728'",
        "'170141183460469231731687303715884105727'",
    ),
    ("c_float", "float", "0.1", "'-inf'", "3.4028235e38"),
    ("c_double", "double", "0.1", "'nan'", "'inf'"),
    ("c_decimal", "decimal(38,10)", "'1.5'", f"'-{'9' * 28}.{'9' * 10}'", f"'{'9' * 28}.{'9' * 10}'"),
    ("c_decimal_zero", "decimal(38,10)", "'0.0000000001'", "'0'", "'-0.0000000001'"),
    ("c_date", "date", "'2024-02-29'", "'0001-01-01'", "'9999-12-31'"),
    ("c_datetime", "datetime", "'2024-02-29 12:34:56'", "'0001-01-01 00:00:00'", "'9999-12-31 23:59:59'"),
    (
        "c_datetime3",
        "datetime(3)",
        "'2024-02-29 12:34:56.7'",
        "'0001-01-01 00:00:00'",
        "'9999-12-31 23:59:59.999'",
    ),
    (
        "c_datetime6",
        "datetime(6)",
        "'2024-02-29 12:34:56.789'",
        "'0001-01-01 00:00:00'",
        "'9999-12-31 23:59:59.999999'",
    ),
    ("c_char", "char(10)", "'char'", "''", "'zehn Zei\u00dfn'"),
    ("c_varchar", "varchar(64)", "'varchar'", "''", "'\u4e2d\u6587 \U0001f600 ''\"\\'"),
    ("c_string", "string", "'string'", "''", "repeat('x', 70000)"),
    ("c_array", "array<int>", "[1, 2]", "[]", "[NULL, -2147483648]"),
    ("c_array_string", "array<string>", "['a', 'b c']", "['']", "[NULL, '\u4e2d']"),
    ("c_map", "map<string,int>", "map {'a': 1, 'b': 2}", "map {}", "map {'': NULL}"),
    (
        "c_struct",
        "struct<f1:int,f2:string,f3:date>",
        "{'f1': 1, 'f2': 'x', 'f3': '2024-02-29'}",
        "{'f1': NULL, 'f2': NULL, 'f3': NULL}",
        "{'f1': 2147483647, 'f2': '', 'f3': '9999-12-31'}",
    ),
    ("c_json", "json", """'{"a":1,"b":[true,null]}'""", "'{}'", "'null'"),
    ("c_variant", "variant", """'{"a":{"b":"c"}}'""", "'1'", "'[]'"),
    ("c_bitmap", "bitmap", "[1, 2, 3]", "[]", "[9223372036854775807]"),
    ("c_hll", "hll", "[1, 2]", "[]", "[3]"),
)


def _by_row(kind: str, values: Sequence[str]) -> str:
    """The values in rows 1, 2, 3; NULL behind them."""
    cases = (f"WHEN {row} THEN CAST({value} AS {duckdb_type(kind)})" for row, value in enumerate(values, 1))
    return f"CASE i {' '.join(cases)} END"


ALL_TYPES = Table(
    INTERNAL,
    "demo_types",
    "all_types",
    "Every type: row 1 has ordinary values, rows 2 and 3 the ends of what a type holds, row 4 has NULLs",
    (
        Column("id", "int", "1 to 4", "i"),
        *(Column(name, kind, "", _by_row(kind, values), nullable=True) for name, kind, *values in _COLUMNS),
    ),
    "range(1, 5) t(i)",
    key=("id",),
)
