"""What the demo engine says about itself: SHOW and DESC, from the declared tables.

Everything here is text, as most of Doris' own SHOW answers are; a session adds what only it knows.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mysql_mimic.errors import MysqlError

from doris_mcp_server.sandbox.columns import INFORMATION_SCHEMA, SHOW
from doris_mcp_server.sandbox.describe import (
    CREATED,
    ddl,
    engine_of,
    is_olap,
    partitions_of,
    range_text,
    size_of,
    table_type,
)
from doris_mcp_server.sandbox.names import (
    DEMO,
    NOT_SUPPORTED,
    fault,
    find_catalog,
    find_database,
    find_table,
    unquote,
)
from doris_mcp_server.sandbox.tables import DATABASES, INTERNAL, TABLES, Column, Table

_NAME = r"(?:`[^`]+`|[\w$-]+)"
_PATH = rf"(?P<a>{_NAME})(?:\s*\.\s*(?P<b>{_NAME}))?(?:\s*\.\s*(?P<c>{_NAME}))?"
_LIKE = r"(?:\s+LIKE\s+(?P<like>'[^']*'|\"[^\"]*\"))?"


@dataclass(frozen=True, slots=True)
class Answer:
    """A small result: column names and rows of text (or None)."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a session stands: its catalog and database."""

    catalog: str
    database: str | None


class Catalog:
    """The metadata of the demo data; `counts` are the row counts by (catalog, database, table)."""

    def __init__(self, counts: Mapping[tuple[str, str, str], int], port: int = 9030) -> None:
        self.counts = counts
        self.port = port
        self.http_port = 8030

    def answer(self, statement: str, place: Place) -> Answer | None:
        """The answer to a SHOW or DESC that needs no session, or None when the statement is none of them."""
        for pattern, show in _FORMS:
            if found := pattern.fullmatch(statement):
                return show(self, found, place)
        return None

    # --- what SHOW answers

    def _catalogs(self, found: re.Match[str], place: Place) -> Answer:
        like = _like(found)
        kinds = {INTERNAL: ("0", "internal", "Doris internal catalog"), "lake": ("10001", "hms", DEMO)}
        rows = [
            (number, name, kind, "Yes" if name == place.catalog else "No", CREATED, None, comment, "")
            for name, (number, kind, comment) in kinds.items()
            if like(name)
        ]
        return Answer(SHOW["catalogs"], rows)

    def _catalog(self, found: re.Match[str], place: Place) -> Answer:
        name = find_catalog(unquote(found["name"]))
        kind = "internal" if name == INTERNAL else "hms"
        return Answer(SHOW["catalog"], [("type", kind), ("comment", DEMO)])

    def _databases(self, found: re.Match[str], place: Place) -> Answer:
        catalog = find_catalog(unquote(found["catalog"])) if found["catalog"] else place.catalog
        like = _like(found)
        return Answer(("Database",), [(name,) for name in DATABASES[catalog] if like(name)])

    def _tables(self, found: re.Match[str], place: Place) -> Answer:
        where = _database(found, place)
        like = _like(found)
        tables = [t for t in self._in(where) if like(t.name)]
        if found["kind"] and found["kind"].upper() == "VIEWS":
            return Answer((f"Tables_in_{where.database}",), [(t.name,) for t in tables if t.view])
        if not found["full"]:
            return Answer((f"Tables_in_{where.database}",), [(t.name,) for t in tables])
        names = (f"Tables_in_{where.database}", "Table_type", "Storage_format", "Inverted_index_storage_format")
        rows = [(t.name, table_type(t), *(("V2", "V3") if is_olap(t) else ("NONE", "NONE"))) for t in tables]
        return Answer(names, rows)

    def _table_status(self, found: re.Match[str], place: Place) -> Answer:
        like = _like(found)
        rows = []
        for t in self._in(_database(found, place)):
            if like(t.name):
                count, size = self.rows(t), self.size(t)
                values = {
                    "Name": t.name,
                    "Engine": engine_of(t),
                    "Rows": None if t.view else str(count),
                    "Avg_row_length": str(size // max(count, 1)),
                    "Data_length": str(size),
                    "Index_length": "0",
                    "Create_time": CREATED,
                    "Update_time": CREATED,
                    "Collation": "utf-8",
                    "Comment": t.comment,
                }
                rows.append(tuple(values.get(name) for name in SHOW["table status"]))
        return Answer(SHOW["table status"], rows)

    def _describe(self, found: re.Match[str], place: Place) -> Answer:
        table = _table(found, place)
        rows = [
            (c.name, c.type, "Yes" if c.nullable else "No", str(c.name in table.key).lower(), None, _extra(table, c))
            for c in table.columns
        ]
        return Answer(SHOW["describe"], rows)

    def _columns(self, found: re.Match[str], place: Place) -> Answer:
        if found["database"]:
            place = Place(place.catalog, find_database(place.catalog, unquote(found["database"])))
        like, full = _like(found), found["full"]
        table = _table(found, place)
        rows: list[tuple[Any, ...]] = []
        for c in (c for c in table.columns if like(c.name)):
            null, key = "YES" if c.nullable else "NO", "YES" if c.name in table.key else "NO"
            if full:
                privileges = "select_priv"
                rows.append((c.name, c.type, "", null, key, None, "", privileges, c.comment))
            else:
                rows.append((c.name, c.type, null, key, None, ""))
        return Answer(SHOW["full columns" if full else "columns"], rows)

    def _create_table(self, found: re.Match[str], place: Place) -> Answer:
        table = _table(found, place)
        if table.view:
            row = (table.name, ddl(table), "utf8mb4", "utf8mb4_0900_bin")
            return Answer(SHOW["create view"], [row])
        return Answer(SHOW["create table"], [(table.name, ddl(table))])

    def _create_database(self, found: re.Match[str], place: Place) -> Answer:
        where = _database_of(found, place)
        return Answer(SHOW["create database"], [(where.database, f"CREATE DATABASE `{where.database}`")])

    def _create_catalog(self, found: re.Match[str], place: Place) -> Answer:
        name = find_catalog(unquote(found["name"]))
        kind = "internal" if name == INTERNAL else "hms"
        text = f'\nCREATE CATALOG `{name}`\nCOMMENT "{DEMO}"\n PROPERTIES (\n"type" = "{kind}"\n);'
        return Answer(SHOW["create catalog"], [(name, text)])

    def _index(self, found: re.Match[str], place: Place) -> Answer:
        table = _table(found, place)
        rows: list[tuple[Any, ...]] = []
        if column := table.inverted_index:
            name, properties = f"idx_{column}", '("parser" = "english")'
            rows.append((table.name, "", name, "", column, "", "", "", "", "", "INVERTED", "", properties))
        return Answer(SHOW["index"], rows)

    def _partitions(self, found: re.Match[str], place: Place) -> Answer:
        table = _table(found, place)
        if not is_olap(table):
            raise fault(f"Table {table.name} is not a OLAP table")
        rows = []
        for number, (name, low, high) in enumerate(partitions_of(table)):
            values = {
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
                "DataSize": f"{self.size(table) / len(partitions_of(table)) / 1e6:.3f} MB",
                "IsInMemory": "false",
                "ReplicaAllocation": "tag.location.default: 1",
                "IsMutable": "true",
                "SyncWithBaseTables": "true",
                "CommittedVersion": "2",
                "RowCount": str(self.rows(table) // len(partitions_of(table))),
            }
            rows.append(tuple(values.get(column) for column in SHOW["partitions"]))
        return Answer(SHOW["partitions"], rows)

    def _table_stats(self, found: re.Match[str], place: Place) -> Answer:
        table = _table(found, place)
        values = {"updated_rows": "0", "query_times": "0", "row_count": str(self.rows(table)), "new_partition": "false"}
        return Answer(SHOW["table stats"], [tuple(values.get(name, "") for name in SHOW["table stats"])])

    def _data(self, found: re.Match[str], place: Place) -> Answer:
        where = Place(place.catalog, find_database(place.catalog, place.database))
        rows = [
            (t.name, f"{self.size(t) / 1e6:.3f} MB", str(t.buckets * len(partitions_of(t))), "0.000 ")
            for t in self._in(where)
            if is_olap(t)
        ]
        return Answer(SHOW["data"], rows)

    def _frontends(self, found: re.Match[str], place: Place) -> Answer:
        values = {
            "Name": "fe_demo",
            "Host": "127.0.0.1",
            "EditLogPort": "9010",
            "HttpPort": str(self.http_port),
            "QueryPort": str(self.port),
            "RpcPort": "9020",
            "ArrowFlightSqlPort": "-1",
            "Role": "FOLLOWER",
            "IsMaster": "true",
            "Join": "true",
            "Alive": "true",
            "Version": DEMO,
            "CurrentConnected": "Yes",
        }
        return Answer(SHOW["frontends"], [tuple(values.get(name, "") for name in SHOW["frontends"])])

    def _backends(self, found: re.Match[str], place: Place) -> Answer:
        values = {
            "BackendId": "10002",
            "Host": "127.0.0.1",
            "Alive": "true",
            "SystemDecommissioned": "false",
            "TabletNum": "1",
            "UsedPct": "0.00 %",
            "Tag": '{"location" : "default"}',
            "Version": DEMO,
            "NodeRole": "mix",
        }
        return Answer(SHOW["backends"], [tuple(values.get(name, "") for name in SHOW["backends"])])

    def _nothing(self, found: re.Match[str], place: Place) -> Answer:
        return Answer(SHOW["warnings"], [])

    def _collation(self, found: re.Match[str], place: Place) -> Answer:
        return Answer(SHOW["collation"], [("utf8mb4_0900_bin", "utf8mb4", "309", "Yes", "Yes", "1")])

    def rows(self, table: Table) -> int:
        return self.counts.get(table.path, 0)

    def size(self, table: Table) -> int:
        return size_of(table, self.rows(table))

    def _in(self, where: Place) -> list[Table]:
        if where.database == "information_schema":
            return [find_table(where.catalog, where.database, name) for name in sorted(INFORMATION_SCHEMA)]
        return sorted(
            (t for t in TABLES if (t.catalog, t.database) == (where.catalog, where.database)), key=lambda t: t.name
        )


def _extra(table: Table, column: Column) -> str:
    return "" if column.name in table.key or not is_olap(table) else "NONE"


def _like(found: re.Match[str]) -> Callable[[str], bool]:
    given = found["like"] if "like" in found.re.groupindex else None
    if not given:
        return lambda name: True
    return like(given[1:-1])


def like(pattern: str) -> Callable[[str], bool]:
    """MySQL's LIKE, blind to case: % is any text, _ one character, a backslash takes both literally."""
    pieces = re.findall(r"\\.|.", pattern, re.DOTALL)
    text = "".join({"%": ".*", "_": "."}.get(p) or re.escape(p[-1]) for p in pieces)
    compiled = re.compile(text, re.IGNORECASE | re.DOTALL)
    return lambda name: compiled.fullmatch(name) is not None


def _table(found: re.Match[str], place: Place) -> Table:
    parts = [unquote(found[group]) for group in "abc" if found[group]]
    name = parts.pop()
    database = parts.pop() if parts else place.database
    catalog = parts.pop() if parts else place.catalog
    return find_table(find_catalog(catalog), database, name)


def _database(found: re.Match[str], place: Place) -> Place:
    return _database_of(found, place) if found["db"] else _current(place)


def _database_of(found: re.Match[str], place: Place) -> Place:
    parts = [unquote(p) for p in (found["cat"], found["db"]) if p]
    catalog, database = (place.catalog, *parts)[-2:]
    return Place(find_catalog(catalog), find_database(catalog, database))


def _current(place: Place) -> Place:
    return Place(place.catalog, find_database(place.catalog, place.database))


def not_supported(statement: str) -> MysqlError:
    return fault(f"not supported by the demo engine: {statement[:80]}", NOT_SUPPORTED)


_DATABASE = rf"(?:(?P<cat>{_NAME})\s*\.\s*)?(?P<db>{_NAME})"


def _form(text: str) -> re.Pattern[str]:
    return re.compile(text.replace(" ", r"\s+"), re.IGNORECASE | re.DOTALL)


_Show = Callable[[Catalog, re.Match[str], Place], Answer]
_FORMS: Sequence[tuple[re.Pattern[str], _Show]] = (
    (_form(rf"SHOW CATALOGS{_LIKE}"), Catalog._catalogs),
    (_form(rf"SHOW CATALOG (?P<name>{_NAME})"), Catalog._catalog),
    (_form(rf"SHOW (?:DATABASES|SCHEMAS)(?: (?:FROM|IN) (?P<catalog>{_NAME}))?{_LIKE}"), Catalog._databases),
    (
        _form(rf"SHOW (?P<full>FULL )?(?P<kind>TABLES|VIEWS)(?: (?:FROM|IN) {_DATABASE})?{_LIKE}"),
        Catalog._tables,
    ),
    (_form(rf"SHOW TABLE STATUS(?: (?:FROM|IN) {_DATABASE})?{_LIKE}"), Catalog._table_status),
    (_form(rf"(?:DESC|DESCRIBE|EXPLAIN) {_PATH}"), Catalog._describe),
    (
        _form(
            rf"SHOW (?P<full>FULL )?(?:COLUMNS|FIELDS) (?:FROM|IN) {_PATH}"
            rf"(?: (?:FROM|IN) (?P<database>{_NAME}))?{_LIKE}"
        ),
        Catalog._columns,
    ),
    (_form(rf"SHOW (?:BRIEF )?CREATE (?:TABLE|VIEW) {_PATH}"), Catalog._create_table),
    (_form(rf"SHOW CREATE (?:DATABASE|SCHEMA) {_DATABASE}"), Catalog._create_database),
    (_form(rf"SHOW CREATE CATALOG (?P<name>{_NAME})"), Catalog._create_catalog),
    (_form(rf"SHOW (?:INDEX|INDEXES|KEY|KEYS) (?:FROM|IN) {_PATH}"), Catalog._index),
    (_form(rf"SHOW PARTITIONS FROM {_PATH}"), Catalog._partitions),
    (_form(rf"SHOW TABLE STATS {_PATH}"), Catalog._table_stats),
    (_form(r"SHOW DATA"), Catalog._data),
    (_form(r"SHOW FRONTENDS"), Catalog._frontends),
    (_form(r"SHOW BACKENDS"), Catalog._backends),
    (_form(r"SHOW (?:WARNINGS|ERRORS)"), Catalog._nothing),
    (_form(r"SHOW COLLATION"), Catalog._collation),
)
