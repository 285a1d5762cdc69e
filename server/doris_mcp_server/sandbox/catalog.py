"""SHOW and DESC of catalogs, databases, tables and columns, from the declared tables.

Everything here is text, as most of Doris' own SHOW answers are.
"""

from typing import Any

from doris_mcp_server.sandbox.asked import DATABASE, FILTER, NAME, PARTITIONS, PATH, Answer, Asked, Forms, form
from doris_mcp_server.sandbox.describe import CREATED, ddl, engine_of, is_olap, table_type
from doris_mcp_server.sandbox.table import INTERNAL, LAKE, Column, Table
from doris_mcp_server.sandbox.versions import DEMO


def _catalogs(asked: Asked) -> Answer:
    kinds = {INTERNAL: ("0", "internal", "Doris internal catalog"), LAKE: ("10001", "hms", DEMO)}
    rows = [
        {
            "CatalogId": number,
            "CatalogName": name,
            "Type": kind,
            "IsCurrent": "Yes" if name == asked.place.catalog else "No",
            "CreateTime": CREATED,
            "LastUpdateTime": None,
            "Comment": comment,
        }
        for name, (number, kind, comment) in kinds.items()
        if name in asked.names.catalogs() and asked.like(name)
    ]
    return asked.answer("catalogs", *rows)


def _catalog(asked: Asked) -> Answer:
    kind = _kind(asked.names.find_catalog(asked.given("name") or ""))
    return asked.answer("catalog", {"Key": "type", "Value": kind}, {"Key": "comment", "Value": DEMO})


def _databases(asked: Asked) -> Answer:
    catalog = asked.names.find_catalog(asked.given("catalog") or asked.place.catalog)
    names = (name for name in asked.names.databases(catalog) if asked.like(name))
    return asked.answer("databases", *({"Database": name} for name in names))


def _tables(asked: Asked) -> Answer:
    where = asked.database()
    title = f"Tables_in_{where.database}"
    tables = [t for t in asked.names.tables(where.catalog, str(where.database)) if asked.like(t.name)]
    if (asked.given("kind") or "").upper() == "VIEWS":
        tables = [t for t in tables if t.view]
    if not asked.found["full"]:
        return asked.listing((title,), [(t.name,) for t in tables])
    rows = [(t.name, table_type(t), *(("V2", "V3") if is_olap(t) else ("NONE", "NONE"))) for t in tables]
    return asked.listing((title, "Table_type", "Storage_format", "Inverted_index_storage_format"), rows)


def _table_status(asked: Asked) -> Answer:
    where = asked.database()
    tables = (t for t in asked.names.tables(where.catalog, str(where.database)) if asked.like(t.name))
    return asked.answer("table status", *(_status(asked, table) for table in tables), otherwise=None)


def _status(asked: Asked, table: Table) -> dict[str, Any]:
    count, size = asked.facts.rows(table), asked.facts.size(table)
    return {
        "Name": table.name,
        "Engine": engine_of(table),
        "Rows": None if table.view else str(count),
        "Avg_row_length": str(size // max(count, 1)),
        "Data_length": str(size),
        "Index_length": "0",
        "Create_time": CREATED,
        "Update_time": CREATED,
        "Collation": "utf-8",
        "Comment": table.comment,
    }


def _describe(asked: Asked) -> Answer:
    table = asked.table("DESCRIBE")
    return asked.answer("describe", *(_described(table, column) for column in table.columns))


def _describe_all(asked: Asked) -> Answer:
    table = asked.table("DESCRIBE")
    rows = [
        {
            **_described(table, column),
            "InternalType": column.type,
            "Visible": "true",
            "DefineExpr": "",
            "WhereClause": "",
        }
        for column in table.columns
    ]
    # Only the first column of an index names it.
    rows[0].update(IndexName=table.name, IndexKeysType="DUP_KEYS" if is_olap(table) else "")
    return asked.answer("describe all", *rows)


def _described(table: Table, column: Column) -> dict[str, Any]:
    is_key = column.name in table.key
    return {
        "Field": column.name,
        "Type": column.type,
        "Null": "Yes" if column.nullable else "No",
        "Key": str(is_key).lower(),
        "Default": None,
        "Extra": "" if is_key or not is_olap(table) else "NONE",
    }


def _columns(asked: Asked) -> Answer:
    table = asked.table()
    rows = [
        {
            "Field": column.name,
            "Type": column.type,
            "Null": "YES" if column.nullable else "NO",
            "Key": "YES" if column.name in table.key else "NO",
            "Default": None,
            "Privileges": "select_priv",
            "Comment": column.comment,
        }
        for column in table.columns
        if asked.like(column.name)
    ]
    return asked.answer("full columns" if asked.found["full"] else "columns", *rows)


def _create_table(asked: Asked) -> Answer:
    table = asked.table()
    if not table.view:
        return asked.answer("create table", {"Table": table.name, "Create Table": ddl(table)})
    row = {
        "View": table.name,
        "Create View": ddl(table),
        "character_set_client": "utf8mb4",
        "collation_connection": "utf8mb4_0900_bin",
    }
    return asked.answer("create view", row)


def _create_database(asked: Asked) -> Answer:
    name = asked.database().database
    return asked.answer("create database", {"Database": name, "Create Database": f"CREATE DATABASE `{name}`"})


def _create_catalog(asked: Asked) -> Answer:
    name = asked.names.find_catalog(asked.given("name") or "")
    text = f'\nCREATE CATALOG `{name}`\nCOMMENT "{DEMO}"\n PROPERTIES (\n"type" = "{_kind(name)}"\n);'
    return asked.answer("create catalog", {"Catalog": name, "CreateCatalog": text})


def _kind(catalog: str) -> str:
    return "internal" if catalog == INTERNAL else "hms"


def _views_of(asked: Asked) -> Answer:
    read = asked.table()
    views = (view for view in asked.names.tables(read.catalog, read.database) if _reads(view, read))
    return asked.answer("view", *({"View": view.name, "Create View": ddl(view)} for view in views))


def _reads(view: Table, table: Table) -> bool:
    return f"{{c}}{table.name}{{c}}" in (view.view or "")


FORMS: Forms = (
    (form(rf"SHOW CATALOGS{FILTER}"), _catalogs),
    (form(rf"SHOW CATALOG (?P<name>{NAME})"), _catalog),
    (form(rf"SHOW (?:DATABASES|SCHEMAS)(?: (?:FROM|IN) (?P<catalog>{NAME}))?{FILTER}"), _databases),
    (form(rf"SHOW (?P<full>FULL )?(?P<kind>TABLES|VIEWS)(?: (?:FROM|IN) {DATABASE})?{FILTER}"), _tables),
    (form(rf"SHOW TABLE STATUS(?: (?:FROM|IN) {DATABASE})?{FILTER}"), _table_status),
    (form(rf"(?:DESC|DESCRIBE|EXPLAIN) {PATH} ALL"), _describe_all),
    (form(rf"(?:DESC|DESCRIBE|EXPLAIN) {PATH}{PARTITIONS}"), _describe),
    (
        form(
            rf"SHOW (?P<full>FULL )?(?:COLUMNS|FIELDS) (?:FROM|IN) {PATH}"
            rf"(?: (?:FROM|IN) (?P<database>{NAME}))?{FILTER}"
        ),
        _columns,
    ),
    (form(rf"SHOW (?:BRIEF )?CREATE (?:TABLE|VIEW) {PATH}"), _create_table),
    (form(rf"SHOW CREATE (?:DATABASE|SCHEMA) {DATABASE}"), _create_database),
    (form(rf"SHOW CREATE CATALOG (?P<name>{NAME})"), _create_catalog),
    (form(rf"SHOW VIEW (?:FROM|IN) {PATH}(?: (?:FROM|IN) (?P<database>{NAME}))?"), _views_of),
)
