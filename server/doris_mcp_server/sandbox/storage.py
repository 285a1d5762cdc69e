"""SHOW of what lies below a table: its partitions, indexes, sizes and statistics."""

from collections.abc import Iterable
from typing import Any

from doris_mcp_server.sandbox.asked import DATABASE, FILTER, NAME, PARTITIONS, PATH, Answer, Asked, Forms, form
from doris_mcp_server.sandbox.describe import CREATED, is_olap, partitions_of, range_text
from doris_mcp_server.sandbox.faults import fault
from doris_mcp_server.sandbox.names import unquote
from doris_mcp_server.sandbox.table import Column, Table

_COLUMNS = r"\s*(?:\((?P<columns>[^)]*)\))?"


def _partitions(asked: Asked) -> Answer:
    table = _olap(asked.table())
    temporary = asked.found["temporary"]  # there are none
    answer = asked.answer("partitions", *(() if temporary else _partition_rows(asked, table)), otherwise=None)
    rows = answer.rows[:: -1 if (asked.given("direction") or "").upper() == "DESC" else 1]
    skip, most = int(asked.found["skip"] or 0), asked.found["most"]
    return Answer(answer.columns, rows[skip : skip + int(most) if most else None])


def _partition_rows(asked: Asked, table: Table) -> Iterable[dict[str, Any]]:
    partitions = partitions_of(table)
    for number, (name, low, high) in enumerate(partitions):
        yield {
            "PartitionId": str(10010 + number),
            "PartitionName": name,
            "VisibleVersion": "2",
            "VisibleVersionTime": CREATED,
            "State": "NORMAL",
            "PartitionKey": table.partition_column or "",
            "Range": range_text(low, high) if low else "",
            "DistributionKey": ", ".join(table.key[:1]),
            "Buckets": str(table.buckets),
            "ReplicationNum": "1",
            "StorageMedium": "HDD",
            "CooldownTime": "9999-12-31 23:59:59",
            "RemoteStoragePolicy": "",
            "DataSize": _megabytes(asked.facts.size(table) / len(partitions)),
            "IsInMemory": "false",
            "ReplicaAllocation": "tag.location.default: 1",
            "IsMutable": "true",
            "SyncWithBaseTables": "true",
            "CommittedVersion": "2",
            "RowCount": str(asked.facts.rows(table) // len(partitions)),
        }


def _index(asked: Asked) -> Answer:
    table = asked.table()
    if not (column := table.inverted_index):
        return asked.answer("index")
    row = {
        "Table": table.name,
        "Key_name": f"idx_{column}",
        "Column_name": column,
        "Index_type": "INVERTED",
        "Properties": '("parser" = "english")',
    }
    return asked.answer("index", row)


def _dynamic(asked: Asked) -> Answer:
    asked.database()
    return asked.answer("dynamic partition tables")


def _constraints(asked: Asked) -> Answer:
    asked.table()
    return asked.answer("constraints")


def _histogram(asked: Asked) -> Answer:
    asked.table()
    return asked.answer("column histogram")


def _index_stats(asked: Asked) -> Answer:
    table = asked.table()
    count = str(asked.facts.rows(table))
    row = {
        "table_name": table.name,
        "index_name": asked.given("index"),
        "analyze_row_count": count,
        "report_row_count": count,
        "report_row_count_for_nereids": count,
    }
    return asked.answer("index stats", row)


def _skew(asked: Asked) -> Answer:
    table = _olap(asked.table())
    tablets = _replicas(table)
    rows = [
        {
            "PartitionName": name,
            "BucketIdx": str(bucket),
            "AvgRowCount": str(asked.facts.rows(table) // tablets),
            "AvgDataSize": str(asked.facts.size(table) // tablets),
            "Percent": f"{100 / table.buckets:.2f}%",
        }
        for name, *_ in partitions_of(table)
        for bucket in range(table.buckets)
    ]
    return asked.answer("data skew", *rows)


def _table_stats(asked: Asked) -> Answer:
    row = {
        "updated_rows": "0",
        "query_times": "0",
        "row_count": str(asked.facts.rows(asked.table())),
        "updated_time": CREATED,
        "columns": "",
        "trigger": "SYSTEM",
        "new_partition": "false",
        "user_inject": "false",
        "enable_auto_analyze": "true",
        "last_analyze_time": CREATED,
    }
    return asked.answer("table stats", row)


def _column_stats(asked: Asked) -> Answer:
    table = asked.table()
    wanted = [unquote(name.strip()) for name in (asked.found["columns"] or "").split(",") if name.strip()]
    for name in wanted:
        if name not in {column.name for column in table.columns}:
            raise fault(f"Unknown column '{name}' in '{table.name}'")
    shown = (column for column in table.columns if not wanted or column.name in wanted)
    return asked.answer("column stats", *(_statistic(asked.facts.rows(table), table, column) for column in shown))


def _statistic(count: int, table: Table, column: Column) -> dict[str, Any]:
    return {
        "column_name": column.name,
        "index_name": table.name,
        "count": f"{count:.1f}",
        "ndv": f"{count if column.name in table.key else max(count // 10, 1):.1f}",
        "num_null": "0.0",
        "data_size": f"{count * 8:.1f}",
        "avg_size_byte": "8.0",
        "min": "N/A",
        "max": "N/A",
        "method": "FULL",
        "type": "FUNDAMENTALS",
        "trigger": "SYSTEM",
        "query_times": "0",
        "updated_time": CREATED,
        "update_rows": "0",
        "last_analyze_row_count": str(count),
        "last_analyze_version": "2",
    }


def _data(asked: Asked) -> Answer:
    catalog = asked.place.catalog
    database = asked.names.find_database(catalog, asked.place.database)
    tables = [t for t in asked.names.tables(catalog, database) if is_olap(t)]
    sizes = [(t.name, asked.facts.size(t), _replicas(t)) for t in tables]
    rows = [_size(*size) for size in sizes]
    total = _size("Total", sum(size for _, size, _ in sizes), sum(replicas for *_, replicas in sizes))
    quota = {"TableName": "Quota", "Size": "1024.000 TB", "ReplicaCount": "1073741824", "RemoteSize": ""}
    left = {**quota, "TableName": "Left"}
    return asked.answer("data", *rows, total, quota, left)


def _table_data(asked: Asked) -> Answer:
    table = _olap(asked.table())
    row = {**_size(table.name, asked.facts.size(table), _replicas(table)), "IndexName": table.name}
    total = {**row, "TableName": "", "IndexName": "Total", "RowCount": ""}
    return asked.answer("table data", {**row, "RowCount": str(asked.facts.rows(table))}, total)


def _size(name: str, size: int, replicas: int) -> dict[str, Any]:
    return {"TableName": name, "Size": _megabytes(size), "ReplicaCount": str(replicas), "RemoteSize": "0.000 "}


def _replicas(table: Table) -> int:
    return table.buckets * len(partitions_of(table))


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.3f} MB"


def _olap(table: Table) -> Table:
    if not is_olap(table):
        raise fault(f"Table {table.name} is not a OLAP table")
    return table


FORMS: Forms = (
    (
        form(
            rf"SHOW (?P<temporary>TEMPORARY )?PARTITIONS FROM {PATH}{FILTER}"
            r"(?: ORDER BY `?(?:PartitionId|PartitionName)`?(?: (?P<direction>ASC|DESC))?)?"
            r"(?: LIMIT (?:(?P<skip>\d+)\s*,\s*)?(?P<most>\d+))?"
        ),
        _partitions,
    ),
    (form(rf"SHOW DYNAMIC PARTITION TABLES(?: (?:FROM|IN) {DATABASE})?"), _dynamic),
    (form(rf"SHOW (?:INDEX|INDEXES|KEY|KEYS) (?:FROM|IN) {PATH}(?: (?:FROM|IN) (?P<database>{NAME}))?"), _index),
    (form(rf"SHOW CONSTRAINTS FROM {PATH}"), _constraints),
    (form(rf"SHOW TABLE STATS {PATH}{PARTITIONS}{_COLUMNS}"), _table_stats),
    (form(rf"SHOW COLUMN (?:CACHED )?STATS {PATH}{_COLUMNS}{PARTITIONS}"), _column_stats),
    (form(rf"SHOW COLUMN HISTOGRAM {PATH}{_COLUMNS}"), _histogram),
    (form(rf"SHOW INDEX STATS {PATH} (?P<index>{NAME})"), _index_stats),
    (form(r"SHOW DATA(?: ALL)?"), _data),
    (form(rf"SHOW DATA(?: ALL)? FROM {PATH}"), _table_data),
    (form(rf"SHOW DATA SKEW FROM {PATH}{PARTITIONS}"), _skew),
)
