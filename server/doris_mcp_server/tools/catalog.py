"""Finding one's way: catalogs, databases, tables, and all about one table in a single call.

The statements are this server's own, with every name quoted. Columns of their answers are taken by name, because
Doris 2.1, 3.0 and 4.0 differ in which they send.
"""

from typing import Annotated, Any, Final

from pydantic import Field

from doris_mcp_server.doris.ddl import mask_secrets
from doris_mcp_server.doris.names import quote_name, quote_text
from doris_mcp_server.doris.pool import Limits, Rows
from doris_mcp_server.errors import InvalidArgument, QueryFailed
from doris_mcp_server.tools.tool import Catalog, ClusterInput, Context, Database, Input, Name, Output, Tool

MAX_LISTED: Final = 2_000
MAX_COLUMNS: Final = 2_000
SHOWN_PARTITIONS: Final = 10


class ListClusters(Input):
    pass


class ListCatalogs(ClusterInput):
    pass


class ListDatabases(ClusterInput):
    catalog: Catalog = None


class ListTables(ClusterInput):
    catalog: Catalog = None
    database: Annotated[
        Name,
        Field(
            description="Database, as list_databases shows it.",
            examples=["ssb"],
            json_schema_extra={"x-mcp-header": "Database"},
        ),
    ]


class GetTableContext(ClusterInput):
    table: Annotated[Name, Field(description="Table or view, as list_tables shows it.", examples=["lineorder"])]
    database: Database = None
    catalog: Catalog = None


class ClusterEntry(Output):
    name: str = Field(description="Name to use as `cluster`.")
    default: bool = Field(description="Whether it is the one asked where no cluster is named.")
    available: bool = Field(description="Whether one of its frontends answers now.")
    version: str | None = Field(description="Version of Doris, such as 3.0.3; null: not known.")


class Clusters(Output):
    clusters: list[ClusterEntry] = Field(description="Clusters at which you have an account.")


class CatalogEntry(Output):
    name: str = Field(description="Name to use as `catalog`.")
    type: str | None = Field(description="internal, hms, iceberg, jdbc, ...")
    comment: str | None = Field(description="What its owner wrote about it.")


class Catalogs(Output):
    catalogs: list[CatalogEntry] = Field(description="Catalogs the account may see.")
    truncated: bool = Field(description="True if there are more than are listed.")


class Databases(Output):
    catalog: str | None = Field(description="The catalog asked; null is the account's default.")
    databases: list[str] = Field(description="Names to use as `database`.")
    truncated: bool = Field(description="True if there are more than are listed.")


class TableEntry(Output):
    name: str = Field(description="Name to use as `table`.")
    type: str | None = Field(description="BASE TABLE, VIEW, ...")


class Tables(Output):
    catalog: str | None = Field(description="The catalog asked; null is the account's default.")
    database: str = Field(description="The database asked.")
    tables: list[TableEntry] = Field(description="Tables and views the account may see.")
    truncated: bool = Field(description="True if there are more than are listed.")


class TableColumn(Output):
    name: str = Field(description="Column name.")
    type: str = Field(description="Doris type.")
    nullable: bool = Field(description="Whether it may be NULL.")
    key: bool = Field(description="Whether it is one of the table's key (sort) columns.")
    default: str | None = Field(description="Default value as text; null: none.")
    comment: str | None = Field(description="What its owner wrote about it.")


class Partition(Output):
    name: str = Field(description="Partition name.")
    range: str | None = Field(description="Range or list of values.")
    rows: str | None = Field(description="Rows, as Doris counts them.")
    size: str | None = Field(description="Size of its data.")


class TableContext(Output):
    catalog: str | None = Field(description="The catalog asked; null is the account's default.")
    database: str | None = Field(description="The database asked; null is the server's default.")
    table: str = Field(description="The table asked.")
    engine: str | None = Field(description="Storage engine; null for some views and external tables.")
    comment: str | None = Field(description="What its owner wrote about the table.")
    row_count: int | None = Field(description="Rows by statistics, not exact; null: unknown.")
    columns: list[TableColumn] = Field(description="The columns in order.")
    partitions: list[Partition] = Field(description=f"Up to {SHOWN_PARTITIONS} partitions; empty if it has none.")
    more_partitions: bool = Field(description="True if there are more partitions than are shown.")
    ddl: str | None = Field(description="CREATE statement with secrets masked: model, keys, buckets, indexes.")
    missing: list[str] = Field(description="Parts Doris would not give, with its reason.")


async def list_clusters(context: Context, asked: ListClusters) -> dict[str, Any]:
    """The Doris clusters the caller may ask. Asks none of them."""
    routes = context.routes
    found = [
        {
            "name": cluster.name,
            "default": cluster.name == routes.default,
            "available": cluster.available,
            "version": cluster.capabilities.release if cluster.capabilities else None,
        }
        for cluster in routes.open_to(context.caller)
    ]
    return {"clusters": found}


async def list_catalogs(context: Context, asked: ListCatalogs) -> dict[str, Any]:
    """All catalogs of the account."""
    rows = await _show(context, "SHOW CATALOGS", MAX_LISTED)
    found = [
        {"name": row["catalogname"], "type": row.get("type"), "comment": row.get("comment") or None}
        for row in rows.dicts()
    ]
    return {"catalogs": found, "truncated": rows.truncated}


async def list_databases(context: Context, asked: ListDatabases) -> dict[str, Any]:
    """All databases of a catalog."""
    catalog = asked.catalog
    source = f" FROM {quote_name(catalog)}" if catalog else ""
    rows = await _show(context, f"SHOW DATABASES{source}", MAX_LISTED)
    return {"catalog": catalog, "databases": [row[0] for row in rows.rows], "truncated": rows.truncated}


async def list_tables(context: Context, asked: ListTables) -> dict[str, Any]:
    """All tables and views of a database."""
    catalog = asked.catalog
    rows = await _show(context, f"SHOW FULL TABLES FROM {_path(catalog, asked.database)}", MAX_LISTED)
    types = [row.get("table_type") for row in rows.dicts()]
    found = [{"name": row[0], "type": kind} for row, kind in zip(rows.rows, types, strict=True)]
    return {"catalog": catalog, "database": asked.database, "tables": found, "truncated": rows.truncated}


async def get_table_context(context: Context, asked: GetTableContext) -> dict[str, Any]:
    """Everything about one table. Fails if the columns cannot be had; other parts may be `missing`."""
    catalog = asked.catalog
    database = asked.database or context.doris.route.database
    if database is None:
        raise InvalidArgument("database is needed: this server has no default database", hint="See list_databases.")
    path = _path(catalog, database, asked.table)
    missing: list[str] = []
    columns = await _show(context, f"SHOW FULL COLUMNS FROM {path}", MAX_COLUMNS)
    if columns.truncated:
        missing.append(f"columns: only the first {len(columns.rows)} are listed")
    status = await _status(context, catalog, database, asked.table, missing)
    partitions = await _part(context, f"SHOW PARTITIONS FROM {path} LIMIT {SHOWN_PARTITIONS + 1}", None, missing)
    shown = partitions.dicts()[:SHOWN_PARTITIONS] if partitions else []
    create = await _part(context, f"SHOW CREATE TABLE {path}", "ddl", missing)
    return {
        "catalog": catalog,
        "database": database,
        "table": asked.table,
        "engine": status.get("engine"),
        "comment": status.get("comment") or None,
        "row_count": _count(status.get("rows")),
        "columns": [_column(row) for row in columns.dicts()],
        "partitions": [_partition(row) for row in shown],
        "more_partitions": partitions is not None and len(partitions.rows) > SHOWN_PARTITIONS,
        "ddl": mask_secrets(str(create.rows[0][1])) if create and create.rows else None,
        "missing": missing,
    }


async def _show(context: Context, sql: str, max_rows: int) -> Rows:
    limits = Limits(context.limits.timeout_s, max_rows, context.limits.max_bytes)
    return await context.doris.query(sql, catalog=None, database=None, limits=limits)


async def _part(context: Context, sql: str, name: str | None, missing: list[str]) -> Rows | None:
    """One part of a table's context, or None. A part with a name is noted as missing when Doris has none."""
    try:
        return await _show(context, sql, MAX_LISTED)
    except QueryFailed as error:
        if name is not None:
            missing.append(f"{name}: {error.message}")
        return None


async def _status(
    context: Context, catalog: str | None, database: str, table: str, missing: list[str]
) -> dict[str, Any]:
    # As a pattern a name matches itself and perhaps others (_ is a wildcard), so the row is picked by name.
    sql = f"SHOW TABLE STATUS FROM {_path(catalog, database)} LIKE {quote_text(table)}"
    rows = await _part(context, sql, "engine, comment, row_count", missing)
    found = rows.dicts() if rows else []
    return next((row for row in found if str(row.get("name")) == table), {})


def _path(catalog: str | None, *names: str) -> str:
    return quote_name(catalog, *names) if catalog else quote_name(*names)


def _column(row: dict[str, Any]) -> dict[str, Any]:
    # Key is YES or NO from Doris' SHOW FULL COLUMNS, true or false from its DESC, PRI and the like from MySQL.
    return {
        "name": row["field"],
        "type": row["type"],
        "nullable": str(row.get("null")).lower() in ("yes", "true"),
        "key": str(row.get("key") or "no").lower() not in ("no", "false", "none"),
        "default": None if row.get("default") is None else str(row["default"]),
        "comment": row.get("comment") or None,
    }


def _partition(row: dict[str, Any]) -> dict[str, Any]:
    def text(key: str) -> str | None:
        return None if row.get(key) in (None, "") else str(row[key])

    name = text("partitionname") or str(next(iter(row.values()), ""))
    return {"name": name, "range": text("range"), "rows": text("rowcount"), "size": text("datasize")}


def _count(value: Any) -> int | None:
    try:
        count = int(value)
    except (TypeError, ValueError):
        return None
    return count if count >= 0 else None


TOOLS: Final = (
    Tool(
        name="list_clusters",
        title="List clusters",
        description="List the Doris clusters this server leads to. Mostly there is one, and no need to name it.",
        input=ListClusters,
        output=Clusters,
        scope="catalog:read",
        handler=list_clusters,
    ),
    Tool(
        name="list_catalogs",
        title="List catalogs",
        description=f"List the catalogs of this Doris: its own (`internal`) and external ones. Up to {MAX_LISTED:,}.",
        input=ListCatalogs,
        output=Catalogs,
        scope="catalog:read",
        handler=list_catalogs,
    ),
    Tool(
        name="list_databases",
        title="List databases",
        description=f"List the databases of one catalog. Up to {MAX_LISTED:,}.",
        input=ListDatabases,
        output=Databases,
        scope="catalog:read",
        handler=list_databases,
    ),
    Tool(
        name="list_tables",
        title="List tables",
        description=f"List the tables and views of one database. Up to {MAX_LISTED:,}.",
        input=ListTables,
        output=Tables,
        scope="catalog:read",
        handler=list_tables,
    ),
    Tool(
        name="get_table_context",
        title="Describe a table",
        description=(
            "All that is needed to write SQL on one table, in one call: columns with types, keys, defaults and "
            "comments, row count by statistics, some partitions, and the CREATE statement."
        ),
        input=GetTableContext,
        output=TableContext,
        scope="catalog:read",
        handler=get_table_context,
    ),
)
