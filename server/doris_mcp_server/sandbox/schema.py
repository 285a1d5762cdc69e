"""All there is to name in one line of Doris: catalogs, databases, tables, and the columns of its own tables."""

import re
from collections.abc import Sequence

from doris_mcp_server.sandbox import audit, columns
from doris_mcp_server.sandbox.all_types import ALL_TYPES
from doris_mcp_server.sandbox.table import INTERNAL, LAKE, Column, Table
from doris_mcp_server.sandbox.tables import TABLES
from doris_mcp_server.sandbox.versions import Version

INFORMATION = "information_schema"
# Databases that everybody sees.
OPEN = frozenset([INFORMATION, "mysql"])
DATABASES = {
    INTERNAL: (audit.DATABASE, "demo_types", INFORMATION, "mysql", "ops", "ssb"),
    LAKE: (INFORMATION, "mysql", "raw"),
}
# information_schema tables that tell of this moment; see live.py.
_LIVE = frozenset(["active_queries", "processlist", "session_variables"])
_NUMBERS = re.compile(
    r"_(ROWS|LENGTH|POSITION|PRECISION|SCALE|SIZE|DIGITS|ID|NUM|MS|PERCENT|CONCURRENCY)$"
    r"|^(VERSION|DATA_FREE|AUTO_INCREMENT|CHECKSUM|ID|SRS_ID|MAXLEN|SORTLEN|TIME)$",
    re.IGNORECASE,
)


class Schema:
    """What one line of Doris has. `show` are the columns of its SHOW statements.

    `tables` are those with data, `information` those of information_schema, one set in each catalog.
    """

    def __init__(self, version: Version) -> None:
        self.version = version
        self.show = columns.show(version)
        self.tables = (*TABLES, ALL_TYPES, audit.table(version))
        self.information = tuple(
            _information_table(catalog, name, listed)
            for catalog in DATABASES
            for name, listed in columns.information_schema(version).items()
        )
        self._tables = {table.path: table for table in (*self.tables, *self.information)}
        self._databases: dict[tuple[str, str], list[Table]] = {}
        for table in sorted(self._tables.values(), key=lambda table: table.name):
            self._databases.setdefault(table.path[:2], []).append(table)

    def table(self, catalog: str, database: str, name: str) -> Table | None:
        return self._tables.get((catalog, database, name))

    def all_in(self, catalog: str, database: str) -> Sequence[Table]:
        """The tables of a database, by name."""
        return self._databases.get((catalog, database), ())


def _information_table(catalog: str, name: str, listed: tuple[str, ...]) -> Table:
    made = tuple(Column(column, _type(column), nullable=True) for column in listed)
    return Table(catalog, INFORMATION, name, "", made, live=name in _LIVE)


def _type(column: str) -> str:
    """The type of an information_schema column, by its name: all the numbers in Doris' are bigint here."""
    if column in ("CREATE_TIME", "UPDATE_TIME", "CHECK_TIME"):
        return "datetime"
    if column in ("QUERY_ID", "TABLE_COMMENT"):
        return "varchar(1024)"
    return "bigint" if _NUMBERS.search(column) else "varchar(1024)"
