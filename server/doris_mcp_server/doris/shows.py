"""SHOW, DESC and EXPLAIN: the forms that only tell about data, listed one by one and matched on our own tokens.

sqlglot reads few of them, so the list is the grammar. What tells about other people's statements, privileges, the
configuration or the machines is not on it. Source: DorisParser.g4 of the frontend (branches 2.1, 3.0 and master).
"""

import re
from collections.abc import Callable
from typing import Any, Final

from doris_mcp_server.doris.lexer import Token, place
from doris_mcp_server.doris.verdicts import Verdict
from doris_mcp_server.errors import StatementRefused

# Capitals stand as they are, `|` is a choice, [ ] may be left out, small letters are read by the functions in _PIECES.
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
    "SHOW TABLE STATS table [partitions] [columns]",
    "SHOW COLUMN [CACHED] STATS table [columns] [partitions]",
    "SHOW COLUMN HISTOGRAM table columns",
    "SHOW INDEX STATS table name",
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
_RIGHTS = "Privileges are not shown here: ask whoever runs this Doris."
_MACHINES = "The cluster and its settings are not shown here: ask whoever runs this Doris."
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

_EXPLAINING = ("EXPLAIN", "DESC", "DESCRIBE")
_PLANS = ("PARSED", "ANALYZED", "REWRITTEN", "LOGICAL", "OPTIMIZED", "PHYSICAL", "SHAPE", "MEMO", "DISTRIBUTED", "ALL")
_LEVELS = ("VERBOSE", "TREE", "GRAPH", "PLAN")
_COMPARISONS = (("=",), ("!", "="), ("<", ">"), ("<", "="), (">", "="), ("<",), (">",))


def explained(found: list[Token]) -> int | None:
    """Where the query behind EXPLAIN begins: 0 without EXPLAIN, None when this is SHOW or DESC of a table."""
    cursor = _Cursor(found)
    if cursor.word("SHOW"):
        return None
    if not cursor.word(*_EXPLAINING):
        return 0
    cursor.word(*_PLANS)
    cursor.word(*_LEVELS)
    cursor.word("PROCESS")
    first = next((token for token in found[cursor.index :] if token.text != "("), None)
    if first is not None and first.kind == "word" and first.text.upper() in ("SELECT", "WITH"):
        return cursor.index
    return None


def read(sql: str, found: list[Token]) -> Verdict:
    """The verdict on a SHOW or DESC. StatementRefused for what is no form of the list."""
    furthest = 0
    nearest = FORMS[0]
    for form, elements in _COMPILED:
        cursor = _Cursor(found)
        if _fits(elements, cursor) and cursor.index == len(found):
            return Verdict("describe" if form.startswith("DESC") else "show", cursor.named(), " CREATE " in form)
        if cursor.index > furthest:
            furthest, nearest = cursor.index, form
    raise _refused(sql, found, furthest, nearest)


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


class _Cursor:
    """A place in the tokens, moved on by whatever fits there; and the table and database named on the way."""

    def __init__(self, found: list[Token]) -> None:
        self._found = found
        self.index = 0
        self.table: str | None = None
        self.database: str | None = None

    def named(self) -> tuple[str, ...]:
        if self.table is None:
            return ()
        return (f"{self.database}.{self.table}",) if self.database else (self.table,)

    def word(self, *choices: str) -> bool:
        return self._take(lambda token: token.kind == "word" and token.text.upper() in choices)

    def sign(self, *signs: str) -> bool:
        """All of `signs`, or none."""
        start = self.index
        end = start + len(signs)
        if [token.text for token in self._found[start:end] if token.kind == "other"] != list(signs):
            return False
        self.index = end
        return True

    def name(self) -> bool:
        return self._take(lambda token: token.kind == "name" or (token.kind == "word" and not token.text.isdigit()))

    def text(self) -> bool:
        return self._take(lambda token: token.kind == "string")

    def number(self) -> bool:
        return self._take(lambda token: token.kind == "word" and token.text.isdigit())

    def path(self, most: int) -> str | None:
        """Up to `most` names with dots between, as written without backticks; None if there is none."""
        start = self.index
        if not self.name():
            return None
        for _ in range(most - 1):
            if not self.sign("."):
                break
            if not self.name():
                return None
        return "".join(_bare(token) for token in self._found[start : self.index])

    def _take(self, fits: Callable[[Token], bool]) -> bool:
        if self.index < len(self._found) and fits(self._found[self.index]):
            self.index += 1
            return True
        return False


def _bare(token: Token) -> str:
    return token.text[1:-1].replace("``", "`") if token.kind == "name" else token.text


def _table(cursor: _Cursor) -> bool:
    cursor.table = cursor.path(3)
    return cursor.table is not None


def _database(cursor: _Cursor) -> bool:
    cursor.database = cursor.path(2)
    return cursor.database is not None


def _names(cursor: _Cursor) -> bool:
    """( a, b )"""
    if not (cursor.sign("(") and cursor.name()):
        return False
    while cursor.sign(","):
        if not cursor.name():
            return False
    return cursor.sign(")")


def _partitions(cursor: _Cursor) -> bool:
    cursor.word("TEMPORARY")
    return cursor.word("PARTITION", "PARTITIONS") and (cursor.name() or _names(cursor))


def _filter(cursor: _Cursor) -> bool:
    """LIKE 'x', or WHERE with comparisons of a column and a literal: nothing that could call or read something."""
    if cursor.word("LIKE"):
        return cursor.text()
    if not (cursor.word("WHERE") and _comparison(cursor)):
        return False
    while cursor.word("AND", "OR"):
        if not _comparison(cursor):
            return False
    return True


def _comparison(cursor: _Cursor) -> bool:
    if not cursor.name():
        return False
    cursor.word("NOT")
    compares = cursor.word("LIKE") or any(cursor.sign(*signs) for signs in _COMPARISONS)
    return compares and (cursor.text() or cursor.number())


def _order(cursor: _Cursor) -> bool:
    if not (cursor.word("ORDER") and cursor.word("BY")):
        return False
    while True:
        if not (cursor.name() or cursor.number()):
            return False
        cursor.word("ASC", "DESC")
        if not cursor.sign(","):
            return True


def _limit(cursor: _Cursor) -> bool:
    if not (cursor.word("LIMIT") and cursor.number()):
        return False
    return cursor.number() if cursor.word("OFFSET") or cursor.sign(",") else True


_PIECES: Final[dict[str, Callable[[_Cursor], bool]]] = {
    "table": _table,
    "database": _database,
    "name": _Cursor.name,
    "text": _Cursor.text,
    "columns": _names,
    "partitions": _partitions,
    "filter": _filter,
    "order": _order,
    "limit": _limit,
}
Element = tuple[str, ...] | Callable[[_Cursor], bool] | list[Any]


def _compiled(form: str) -> list[Element]:
    """A form as elements: a choice of words, a piece, or a list of elements that may be left out."""
    elements: list[Element] = []
    inside = elements
    for bracket, word, closing in re.findall(r"(\[?)([\w|]+)(\]?)", form):
        if bracket:
            inside = []
            elements.append(inside)
        inside.append(tuple(word.split("|")) if word.isupper() else _PIECES[word])
        if closing:
            inside = elements
    return elements


def _fits(elements: list[Element], cursor: _Cursor) -> bool:
    for element in elements:
        start = cursor.index
        if isinstance(element, list):
            # What may be left out is left out when nothing of it is there.
            if not _fits(element, cursor) and cursor.index > start:
                return False
        elif not (cursor.word(*element) if isinstance(element, tuple) else element(cursor)):
            return False
    return True


_COMPILED: Final = tuple((form, _compiled(form)) for form in FORMS)
