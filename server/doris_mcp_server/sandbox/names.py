"""Which catalog, database and table a name means, and the errors in Doris' words for those it does not know."""

import re

from mysql_mimic.errors import MysqlError

from doris_mcp_server.sandbox.columns import INFORMATION_SCHEMA
from doris_mcp_server.sandbox.tables import DATABASES, INFO_SCHEMA, TABLES, Column, Table

DEMO = "Doris-compatible demo engine (DuckDB), not Apache Doris"

# MySQL's numbers for what can go wrong; Doris uses the same (fe ErrorCode.java).
NO_DATABASE = 1046
UNKNOWN_DATABASE = 1049
UNKNOWN_TABLE = 1051
PARSE_ERROR = 1064
NO_SUCH_THREAD = 1094
NO_SUCH_QUERY = 1097
UNKNOWN_ERROR = 1105
UNKNOWN_VARIABLE = 1193
WRONG_VALUE = 1231
NOT_SUPPORTED = 1235
READ_ONLY = 1290
NO_PREPARED_STATEMENTS = 1295

_TABLES: dict[tuple[str, str, str], Table] = {table.path: table for table in TABLES}


def fault(message: str, code: int = UNKNOWN_ERROR) -> MysqlError:
    """An error as Doris sends it: its own number stands in front of the words."""
    return MysqlError(f"errCode = 2, detailMessage = {message}", code)


def read_only(statement: str) -> MysqlError:
    return fault(f"the demo engine is read-only and refuses {statement}", READ_ONLY)


def unquote(name: str) -> str:
    """The name behind optional backticks or quotes."""
    return name[1:-1].replace("``", "`") if re.match(r"[`'\"]", name) else name


def find_catalog(name: str) -> str:
    """Raises Doris' error when there is no such catalog."""
    if name not in DATABASES:
        raise fault(f"Unknown catalog '{name}'")
    return name


def find_database(catalog: str, name: str | None) -> str:
    """Raises Doris' error when there is no such database, or none was named nor selected."""
    if not name:
        raise fault("No database selected", NO_DATABASE)
    folded = name.lower() if name.lower() == "information_schema" else name
    if folded not in DATABASES[find_catalog(catalog)]:
        raise fault(f"Unknown database '{name}'", UNKNOWN_DATABASE)
    return folded


def find_table(catalog: str, database: str | None, name: str) -> Table:
    """The table a DESC or SHOW names; raises Doris' error for DDL (1051) when there is none."""
    database = find_database(catalog, database)
    if database == "information_schema" and name.lower() in INFORMATION_SCHEMA:
        return information_table(catalog, name.lower())
    table = _TABLES.get((catalog, database, name))
    if table is None:
        raise fault(f"Unknown table '{name}'", UNKNOWN_TABLE)
    return table


def duckdb_path(catalog: str, database: str | None, name: str) -> tuple[str, str, str]:
    """Where a table of a SELECT lies in DuckDB; raises Doris' errors for queries (1105) when there is none."""
    if catalog not in DATABASES:
        raise fault(f"Catalog {catalog} does not exist.")
    if not database:
        raise fault("No database selected", NO_DATABASE)
    if database.lower() == "information_schema":
        if name.lower() in INFORMATION_SCHEMA:
            return catalog, INFO_SCHEMA, name.lower()
    elif database not in DATABASES[catalog]:
        raise fault(f"Database [{database}] does not exist.")
    elif (catalog, database, name) in _TABLES:
        return catalog, database, name
    raise fault(f"Table [{name}] does not exist in database [{database}].")


def information_table(catalog: str, name: str) -> Table:
    """An information_schema table as DESC shows it."""
    columns = tuple(Column(c, information_type(c), "", "", nullable=True) for c in INFORMATION_SCHEMA[name])
    return Table(catalog, "information_schema", name, "", columns, "")


_NUMBERS = re.compile(
    r"_(ROWS|LENGTH|POSITION|PRECISION|SCALE|SIZE|DIGITS|ID|NUM|MS|PERCENT|CONCURRENCY)$"
    r"|^(VERSION|DATA_FREE|AUTO_INCREMENT|CHECKSUM|ID|SRS_ID|MAXLEN|SORTLEN)$"
)


def information_type(column: str) -> str:
    """The type of an information_schema column, by its name: all the numbers in Doris' are bigint here."""
    if column in ("CREATE_TIME", "UPDATE_TIME", "CHECK_TIME"):
        return "datetime"
    if column in ("QUERY_ID", "TABLE_COMMENT"):
        return "varchar(1024)"
    return "bigint" if _NUMBERS.search(column) else "varchar(1024)"
