"""What a name means to one account: which catalog, database or table, or Doris' error when there is none for it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mysql_mimic.errors import MysqlError

from doris_mcp_server.sandbox.accounts import Account
from doris_mcp_server.sandbox.faults import (
    DATABASE_DENIED,
    NO_DATABASE,
    TABLE_DENIED,
    UNKNOWN_DATABASE,
    UNKNOWN_TABLE,
    fault,
)
from doris_mcp_server.sandbox.schema import DATABASES, INFORMATION, OPEN, Schema
from doris_mcp_server.sandbox.table import INTERNAL, Table


@dataclass(frozen=True, slots=True)
class Place:
    """Where a session stands: its catalog and database."""

    catalog: str
    database: str | None


class Names:
    """The names that mean something to an account that is logged in from `host`."""

    def __init__(self, schema: Schema, account: Account, host: str) -> None:
        self.schema = schema
        self.account = account
        self.host = host

    @property
    def user(self) -> str:
        """As CURRENT_USER() and the denials write it."""
        return f"'{self.account.name}'@'{self.host}'"

    def catalogs(self) -> list[str]:
        """Doris' own, and those of which the account sees something."""
        return [name for name in DATABASES if name == INTERNAL or not OPEN.issuperset(self.databases(name))]

    def databases(self, catalog: str) -> list[str]:
        """Those of which the account sees something, and those that everybody sees."""
        return [name for name in DATABASES[catalog] if name in OPEN or any(self.tables(catalog, name))]

    def tables(self, catalog: str, database: str) -> Iterator[Table]:
        """Those that the account may read, by name."""
        return (table for table in self.schema.all_in(catalog, database) if self._may_read(table))

    def find_catalog(self, name: str) -> str:
        """Raises Doris' error when there is no such catalog."""
        if name not in DATABASES:
            raise fault(f"Unknown catalog '{name}'")
        return name

    def find_database(self, catalog: str, name: str | None) -> str:
        """Raises Doris' error when there is no such database for the account, or none was named nor selected."""
        if not name:
            raise fault("No database selected", NO_DATABASE)
        folded = _folded(name)
        if folded not in DATABASES[self.find_catalog(catalog)]:
            raise fault(f"Unknown database '{name}'", UNKNOWN_DATABASE)
        if folded not in self.databases(catalog):
            raise fault(f"Access denied for user '{self.account.name}' to database '{name}'", DATABASE_DENIED)
        return folded

    def find_table(self, catalog: str, database: str | None, name: str, command: str = "SHOW") -> Table:
        """The table a DESC or SHOW names; raises Doris' error for these when there is none or it may not be seen."""
        if not database:
            raise fault("No database selected", NO_DATABASE)
        if _folded(database) not in DATABASES[self.find_catalog(catalog)]:
            raise fault(f"Unknown database '{database}'", UNKNOWN_DATABASE)
        table = self._table(catalog, database, name)
        if table is None:
            raise fault(f"Unknown table '{name}'", UNKNOWN_TABLE)
        return self._readable(table, command)

    def source(self, catalog: str, database: str | None, name: str) -> Table:
        """The table a query reads; raises Doris' errors for queries (1105) when there is none or it may not be read."""
        if catalog not in DATABASES:
            raise fault(f"Catalog {catalog} does not exist.")
        if not database:
            raise fault("No database selected", NO_DATABASE)
        if _folded(database) not in DATABASES[catalog]:
            raise fault(f"Database [{database}] does not exist.")
        table = self._table(catalog, database, name)
        if table is None:
            raise fault(f"Table [{name}] does not exist in database [{database}].")
        try:
            return self._readable(table, "SELECT")
        except MysqlError as e:
            raise MysqlError(e.msg) from None

    def seen(self, catalog: str) -> list[str]:
        """What the account sees of a catalog: `database` and `database.table`."""
        databases = self.databases(catalog)
        return databases + [f"{d}.{table.name}" for d in databases for table in self.tables(catalog, d)]

    def _table(self, catalog: str, database: str, name: str) -> Table | None:
        database = _folded(database)
        return self.schema.table(catalog, database, name.lower() if database == INFORMATION else name)

    def _readable(self, table: Table, command: str) -> Table:
        if not self._may_read(table):
            where = ": ".join(table.path)
            raise fault(f"{command} command denied to user {self.user} for table '{where}'", TABLE_DENIED)
        return table

    def _may_read(self, table: Table) -> bool:
        return table.database in OPEN or self.account.may_read(table.path)


def _folded(database: str) -> str:
    return database.lower() if database.lower() == INFORMATION else database


def unquote(name: str) -> str:
    """The name behind optional backticks or quotes."""
    return name[1:-1].replace("``", "`") if re.match(r"[`'\"]", name) else name
