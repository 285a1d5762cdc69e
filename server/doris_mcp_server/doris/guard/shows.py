"""SHOW, DESC and EXPLAIN: the forms that only tell about data, listed one by one and matched on our own tokens.

sqlglot reads few of them, so the list is the grammar. What tells about other people's statements, privileges, the
configuration or the machines is not on it. Source: DorisParser.g4 of the frontend (branches 2.1, 3.0 and master).
"""

from typing import Final

from doris_mcp_server.doris.guard.budget import Budget
from doris_mcp_server.doris.guard.forms import FormCursor, compiled, fits
from doris_mcp_server.doris.guard.lexer import Token, place
from doris_mcp_server.doris.guard.policy import Policy
from doris_mcp_server.doris.guard.verdicts import Verdict
from doris_mcp_server.doris.guard.writer import Sent, written
from doris_mcp_server.errors import StatementRefused

FORMS: Final = (
    "SHOW CATALOGS [filter]",
    "SHOW DATABASES|SCHEMAS [FROM|IN name] [filter]",
    "SHOW [FULL] TABLES [FROM|IN database] [filter]",
    "SHOW [FULL] VIEWS [FROM|IN database] [filter]",
    "SHOW TABLE STATUS [FROM|IN database] [filter]",
    "SHOW [FULL] COLUMNS|FIELDS FROM|IN table [FROM|IN database] [filter]",
    "SHOW INDEX|INDEXES|KEY|KEYS FROM|IN table [FROM|IN database]",
    "SHOW [TEMPORARY] PARTITIONS FROM table [filter] [order] [limit]",
    "SHOW DYNAMIC PARTITION TABLES [FROM|IN database]",
    "SHOW VIEW FROM|IN table [FROM|IN database]",
    "SHOW CONSTRAINTS FROM table",
    "SHOW [BRIEF] CREATE TABLE table",
    "SHOW CREATE VIEW table",
    "SHOW CREATE MATERIALIZED VIEW table [ON table]",
    "SHOW CREATE DATABASE|SCHEMA database",
    "SHOW DATA [ALL] [FROM table] [order]",
    "SHOW DATA SKEW FROM table [partitions]",
    "SHOW TABLE STATS table [anypartitions] [columns]",
    "SHOW COLUMN [CACHED] STATS table [columns] [anypartitions]",
    "SHOW COLUMN HISTOGRAM table columns",
    "SHOW INDEX STATS table name",
    "SHOW ALTER TABLE COLUMN|ROLLUP [FROM|IN database] [filter] [order] [limit]",
    "SHOW ALTER TABLE MATERIALIZED VIEW [FROM|IN database] [filter] [order] [limit]",
    "SHOW BUILD INDEX [FROM|IN database] [filter] [order] [limit]",
    "SHOW [AUTO] ANALYZE [table] [filter]",
    "SHOW [AUTO] ANALYZE number [filter]",
    "SHOW QUEUED ANALYZE JOBS [table] [filter]",
    "SHOW ANALYZE TASK STATUS number",
    "SHOW QUERY STATS [FOR database]",
    "SHOW QUERY STATS FROM table [ALL] [VERBOSE]",
    "SHOW DICTIONARIES [filter]",
    "SHOW DATA PROPERTIES properties",
    "SHOW DATA TYPES",
    "SHOW [FULL] [BUILTIN] FUNCTIONS [FROM|IN database] [LIKE text]",
    "SHOW GLOBAL [FULL] FUNCTIONS [LIKE text]",
    "SHOW [GLOBAL|SESSION|LOCAL] VARIABLES [filter]",
    "SHOW CHARSET [filter]",
    "SHOW CHAR|CHARACTER SET [filter]",
    "SHOW COLLATION [filter]",
    "SHOW [STORAGE] ENGINES",
    "DESC|DESCRIBE|EXPLAIN table [ALL]",
    "DESC|DESCRIBE|EXPLAIN table partitions",
)
SUBJECTS: Final = (
    "Allowed are SHOW CATALOGS, DATABASES, TABLES, VIEWS, TABLE STATUS, COLUMNS, INDEX, PARTITIONS, CONSTRAINTS, "
    "CREATE TABLE, CREATE VIEW, DATA, TABLE STATS, COLUMN STATS, FUNCTIONS and VARIABLES, and DESC."
)
_RIGHTS = "Privileges are not shown here: ask the operator of this Doris."
_MACHINES = "The cluster and its settings are not shown here: ask the operator of this Doris."
_OTHERS = "What others run is not shown here; explain_query tells about a statement of your own."
_READING = "EXPLAIN takes a SELECT or WITH; nothing that writes is explained, and nothing is run."
INSTEAD: Final = {
    "CATALOG": "Use list_catalogs; properties of catalogs hold credentials.",
    "GRANTS": _RIGHTS,
    "PRIVILEGES": _RIGHTS,
    "ROLES": _RIGHTS,
    "POLICY": _RIGHTS,
    "PROPERTY": _RIGHTS,
    "CONFIG": _MACHINES,
    "FRONTENDS": _MACHINES,
    "BACKENDS": _MACHINES,
    "BROKER": _MACHINES,
    "PROC": _MACHINES,
    "RESOURCES": _MACHINES,
    "REPOSITORIES": _MACHINES,
    "TABLETS": _MACHINES,
    "PROCESSLIST": _OTHERS,
    "PROFILE": _OTHERS,
    "LOAD": _OTHERS,
    "JOB": _OTHERS,
    "TRANSACTION": _OTHERS,
    "FUNCTION": "SHOW FUNCTIONS lists functions; get_table_context tells about a table.",
    "INSERT": _READING,
    "UPDATE": _READING,
    "DELETE": _READING,
    "ANALYZE": _READING,
}

_COMPILED = tuple((form, compiled(form)) for form in FORMS)
_WITH_DEFINITIONS = ("SHOW CREATE ", "SHOW [BRIEF] CREATE ", "SHOW VIEW ")
_WITH_VALUES = ("SHOW COLUMN ", "SHOW [TEMPORARY] PARTITIONS")
_EXPLAINING = ("EXPLAIN", "DESC", "DESCRIBE")
_PLANS = ("PARSED", "ANALYZED", "REWRITTEN", "LOGICAL", "OPTIMIZED", "PHYSICAL", "SHAPE", "MEMO", "DISTRIBUTED", "ALL")
_LEVELS = ("VERBOSE", "TREE", "GRAPH", "PLAN")


def explained(found: list[Token]) -> int | None:
    """Where the query behind EXPLAIN begins: 0 without EXPLAIN, None when this is SHOW or DESC of a table."""
    words = [token.word for token in found[:4]]
    if words[0] == "SHOW":
        return None
    if words[0] not in _EXPLAINING:
        return 0
    index = 1
    for choices in (_PLANS, _LEVELS, ("PROCESS",)):
        index += words[index : index + 1] != [] and words[index] in choices
    first = next((token for token in found[index:] if token.text != "("), None)
    return index if first is not None and first.word in ("SELECT", "WITH") else None


def read(sql: str, found: list[Token], policy: Policy, budget: Budget) -> tuple[Verdict, Sent]:
    """The verdict on a SHOW or DESC. Raises StatementRefused for a form that is not in the list, and, while columns
    are masked, for a form that shows values of columns."""
    furthest = 0
    nearest = FORMS[0]
    for form, elements in _COMPILED:
        cursor = FormCursor(sql, found, policy.dialect, budget)
        if fits(elements, cursor) and not cursor.at:
            return _verdict(sql, form, cursor, policy, budget)
        if cursor.index > furthest:
            furthest, nearest = cursor.index, form
    raise _refused(sql, found, furthest, nearest)


def _verdict(sql: str, form: str, cursor: FormCursor, policy: Policy, budget: Budget) -> tuple[Verdict, Sent]:
    kind, tables = "describe" if form.startswith("DESC") else "show", cursor.named()
    tells_values = form.startswith(_WITH_VALUES)
    hidden = policy.tables("values" if tells_values else kind, tables, (), budget.step)
    if hidden and tells_values:
        raise StatementRefused("This shows values of columns, and some are masked", hint=SUBJECTS)
    sent = written(sql, cursor.tokens, cursor.reading, policy.dialect)
    return Verdict(kind, tables, sent.text, form.startswith(_WITH_DEFINITIONS), hidden), sent


def _refused(sql: str, found: list[Token], furthest: int, nearest: str) -> StatementRefused:
    words = [token.text.upper() for token in found[1:4] if token.kind == "word"]
    instead = next((INSTEAD[word] for word in words if word in INSTEAD), None)
    at = place(sql, found[min(furthest, len(found) - 1)].start)
    if instead or furthest < 2:
        shown = " ".join(token.text.upper() for token in found[: furthest + 1])
        return StatementRefused(f"{shown[:40]} is not allowed", hint=instead or SUBJECTS, at=at)
    if furthest == len(found):
        return StatementRefused("The statement ends too early", hint=f"Write {nearest}.", at=at)
    return StatementRefused(f"{found[furthest].text[:40]} is not expected here", hint=f"Write {nearest}.", at=at)
