"""What the guard lets a query call and read from, as data: the allow-lists and their bounds.

Verdicts are cached by statement and policy, so another policy never gets the answers of an older one.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Policy:
    """`row_functions` may stand in FROM and LATERAL VIEW, other functions not. Names are in lower case.

    `table_functions`, `refused_functions` and what begins with `refused_prefixes` may stand nowhere.
    `numbers()` may give up to `max_numbers` rows, `sleep()` may take up to `max_sleep` seconds.
    `masked` columns, by their folded names, may only be shown (`masked`).
    """

    row_functions: frozenset[str]
    table_functions: frozenset[str]
    refused_functions: frozenset[str]
    refused_prefixes: tuple[str, ...]
    max_numbers: int
    max_sleep: int
    masked: frozenset[str] = frozenset()


# fmt: off
# https://doris.apache.org/docs/sql-manual/sql-functions/table-functions/ : rows made from one value, and no more.
_ROW_FUNCTIONS = frozenset({
    "explode", "explode_outer", "explode_split", "explode_split_outer", "explode_bitmap", "explode_bitmap_outer",
    "explode_map", "explode_map_outer", "explode_numbers", "explode_numbers_outer", "explode_json_array_int",
    "explode_json_array_int_outer", "explode_json_array_double", "explode_json_array_double_outer",
    "explode_json_array_string", "explode_json_array_string_outer", "explode_json_array_json",
    "explode_json_array_json_outer", "explode_json_object", "explode_json_object_outer", "explode_variant_array",
    "explode_variant_array_outer", "posexplode", "posexplode_outer", "unnest", "unnest_outer",
})
# https://doris.apache.org/docs/sql-manual/sql-functions/table-valued-functions/ : they read files and other
# systems, or show what other people run. In FROM nothing but _ROW_FUNCTIONS gets through; these names are refused
# outside FROM as well, in case the parser misreads a position.
_TABLE_FUNCTIONS = frozenset({
    "s3", "hdfs", "local", "file", "http", "http_stream",
    "group_commit", "query", "cdc_stream", "iceberg_meta", "hudi_meta", "paimon_meta",
    "parquet_meta", "parquet_metadata", "parquet_schema", "parquet_file_metadata", "parquet_kv_metadata", "backends",
    "frontends", "frontends_disks", "catalogs", "jobs", "tasks", "mv_infos",
    "partition_values", "active_queries", "active_be_tasks", "workload_groups", "workload_sched_policy", "gcs",
    "azure", "oss", "obs",
})
# fmt: on
_COSTLY_OR_LOCAL = frozenset({"benchmark", "load_file", "get_lock", "release_lock", "master_pos_wait"})

POLICY: Final = Policy(
    row_functions=_ROW_FUNCTIONS,
    table_functions=_TABLE_FUNCTIONS,
    refused_functions=_COSTLY_OR_LOCAL,
    refused_prefixes=("ai_", "llm_"),  # Doris 4 sends their arguments to a language model
    max_numbers=1_000_000,
    max_sleep=60,
)
