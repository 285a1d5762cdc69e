"""How Doris would describe one table: its DDL, kind, engine, keys and partitions."""

from doris_mcp_server.sandbox.table import INTERNAL, Column, Table

CREATED = "2026-01-01 00:00:00"


def ddl(table: Table) -> str:
    """The CREATE statement Doris would print for the table."""
    if table.view:
        return f"CREATE VIEW `{table.name}` COMMENT '{table.comment}' AS {table.view.format(c='`')};"
    lines = [
        f"  `{c.name}` {c.type} {'NULL' if c.nullable else 'NOT NULL'} COMMENT '{_escape(c.comment)}'"
        for c in table.columns
    ]
    if table.inverted_index:
        column = table.inverted_index
        lines.append(f'  INDEX idx_{column} (`{column}`) USING INVERTED PROPERTIES("parser" = "english")')
    text = f"CREATE TABLE `{table.name}` (\n" + ",\n".join(lines) + "\n)"
    if not is_olap(table):
        return f"{text} ENGINE=HMS_EXTERNAL_TABLE\nCOMMENT '{_escape(table.comment)}';"
    key = ", ".join(f"`{name}`" for name in table.key)
    text += f" ENGINE=OLAP\nDUPLICATE KEY({key})\nCOMMENT '{_escape(table.comment)}'\n"
    if table.partition_column:
        parts = ",\n".join(f'PARTITION {n} VALUES [("{low}"), ("{high}"))' for n, low, high in table.partitions)
        text += f"PARTITION BY RANGE(`{table.partition_column}`)\n({parts})\n"
    text += f"DISTRIBUTED BY HASH(`{table.key[0]}`) BUCKETS {table.buckets}\n"
    return text + 'PROPERTIES (\n"replication_allocation" = "tag.location.default: 1"\n);'


def _escape(text: str) -> str:
    return text.replace("'", "\\'")


def is_olap(table: Table) -> bool:
    return table.catalog == INTERNAL and table.view is None and bool(table.key)


def table_type(table: Table) -> str:
    if table.database == "information_schema":
        return "SYSTEM VIEW"
    return "VIEW" if table.view else "BASE TABLE"


def engine_of(table: Table) -> str:
    if table.database == "information_schema":
        return "SYSTEM VIEW"
    if table.view:
        return "View"
    return "Doris" if table.catalog == INTERNAL else "hms"


def key_of(table: Table, column: Column) -> str:
    return "DUP" if column.name in table.key else ""


def partitions_of(table: Table) -> tuple[tuple[str, str, str], ...]:
    return table.partitions or ((table.name, "", ""),)


def range_text(low: str, high: str) -> str:
    return f"[types: [INT]; keys: [{low}]; ..types: [INT]; keys: [{high}]; )"


def size_of(table: Table, rows: int) -> int:
    """Bytes, roughly: eight a column and row."""
    return 0 if table.view else rows * len(table.columns) * 8
