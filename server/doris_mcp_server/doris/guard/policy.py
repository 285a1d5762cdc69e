"""What the guard lets a query call and read from, as data: the allow-lists and their bounds.

Verdicts are kept by statement and policy, so another policy never gets the answers of an older one. docs/guard.md names
each function and table of this module with the reason.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from doris_mcp_server.doris.guard.dialect import UNKNOWN, Dialect
from doris_mcp_server.doris.names import fold
from doris_mcp_server.errors import StatementRefused
from doris_mcp_server.patterns import CLOSED_TABLES, fits

Path = tuple[str, ...]
"""A table as it is written: its name, or the database or catalog and database before it."""

Step = Callable[[], None]
"""Called all along the work: raises OutOfTime once a statement has taken too much of it."""

TableRules = Callable[[str, tuple[Path, ...], tuple[Path, ...], Step], frozenset[str]]
"""Given a statement's kind ("values" for a SHOW that tells values of columns), the tables it names, and names that an
older parser may take for tables: the masked columns of those tables, by their folded names. StatementRefused for one
that is closed."""

CLOSED_HINT: Final = "The operator closed it for all callers. Leave it out of the statement."


def closing(closed: Iterable[str]) -> TableRules:
    """The rules that close tables by patterns of catalog, database and table, and mask nothing."""
    closes = closer(closed)

    def check(kind: str, tables: tuple[Path, ...], perhaps: tuple[Path, ...], step: Step) -> frozenset[str]:
        for path in (*tables, *perhaps) if kind not in ("show", "describe") else ():
            step()
            closes(path if len(path) > 1 else ("", *path))
        return frozenset()

    return check


def closer(closed: Iterable[str]) -> Callable[[Sequence[str | None]], None]:
    """What raises StatementRefused for a path that one of the patterns fits; a part that is None may be anything."""
    parts = [tuple(fold(part) for part in pattern.split(".")) for pattern in closed]

    def check(path: Sequence[str | None]) -> None:
        folded = [part and fold(part) for part in path]
        if any(fits(pattern, folded) for pattern in parts):
            shown = ".".join(part for part in path if part)
            raise StatementRefused(f"The table {shown} is closed", hint=CLOSED_HINT)

    return check


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """Two policies are never equal: what was judged under one says nothing about another.

    `row_functions` may stand in FROM and LATERAL VIEW, other functions not. Names are in lower case.

    `table_functions`, `refused_functions` and what begins with `refused_prefixes` may stand nowhere.
    `numbers()` may give up to `max_numbers` rows. `row_makers` are functions and which of their arguments says how many
    values they make: no literal there may say more. `sleep()` may take up to `max_sleep` seconds.
    `tables` closes tables and masks columns. `dialect`: what Doris the text is for.
    """

    row_functions: frozenset[str]
    table_functions: frozenset[str]
    refused_functions: frozenset[str]
    refused_prefixes: tuple[str, ...]
    row_makers: frozenset[tuple[str, int]]
    max_numbers: int
    max_sleep: int
    tables: TableRules
    dialect: Dialect = UNKNOWN


# fmt: off
# https://doris.apache.org/docs/sql-manual/sql-functions/table-functions/ : rows made from one value, and no more.
_ROW_FUNCTIONS = frozenset({
    "explode", "explode_outer", "explode_split", "explode_split_outer", "explode_bitmap", "explode_bitmap_outer",
    "explode_map", "explode_map_outer", "explode_numbers", "explode_numbers_outer", "explode_json_array_int",
    "explode_json_array_int_outer", "explode_json_array_double", "explode_json_array_double_outer",
    "explode_json_array_string", "explode_json_array_string_outer", "explode_json_array_json",
    "explode_json_array_json_outer", "explode_json_object", "explode_json_object_outer", "explode_variant_array",
    "explode_variant_array_outer", "json_each", "json_each_outer", "json_each_text", "json_each_text_outer",
    "posexplode", "posexplode_outer", "stack", "unnest", "unnest_outer",
})
# https://doris.apache.org/docs/sql-manual/sql-functions/table-valued-functions/ : they read files and other
# systems, or show what other people run. In FROM nothing but _ROW_FUNCTIONS gets through; these names are refused
# outside FROM as well, in case a reader misreads a position.
_TABLE_FUNCTIONS = frozenset({
    "s3", "hdfs", "local", "file", "http", "http_stream",
    "group_commit", "query", "cdc_stream", "iceberg_meta", "hudi_meta", "paimon_meta",
    "parquet_meta", "parquet_metadata", "parquet_schema", "parquet_file_metadata", "parquet_kv_metadata", "backends",
    "frontends", "frontends_disks", "catalogs", "jobs", "tasks", "mv_infos",
    "partition_values", "active_queries", "active_be_tasks", "workload_groups", "workload_sched_policy", "gcs",
    "azure", "oss", "obs",
})
_ROW_MAKERS = frozenset({
    ("explode_numbers", 0), ("explode_numbers_outer", 0), ("sequence", 0), ("sequence", 1), ("array_range", 0),
    ("array_range", 1), ("array_repeat", 1), ("array_with_constant", 0), ("repeat", 1), ("space", 0), ("lpad", 1),
    ("rpad", 1), ("random_bytes", 0),
})
# fmt: on
_COSTLY_OR_LOCAL = frozenset({"benchmark", "load_file", "get_lock", "release_lock", "master_pos_wait"})
_TO_A_MODEL = frozenset({"embed"})  # Doris 4 sends its argument to a language model, and those of the prefixes
FROM_DICTIONARIES: Final = frozenset({"dict_get", "dict_get_many"})
"""Functions that read a copy of a table by a name in a text, for which Doris checks no privilege."""
BY_TEXT: Final = frozenset({"search", "esquery"})
"""Functions that name columns in a text, which no guard reads."""

POLICY: Final = Policy(
    row_functions=_ROW_FUNCTIONS,
    table_functions=_TABLE_FUNCTIONS,
    refused_functions=_COSTLY_OR_LOCAL | _TO_A_MODEL,
    refused_prefixes=("ai_", "llm_"),
    row_makers=_ROW_MAKERS,
    max_numbers=1_000_000,
    max_sleep=60,
    tables=closing(CLOSED_TABLES),
)
