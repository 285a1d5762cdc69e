"""A statement's form, written as people write it, and whether tokens fit it.

In a form capitals stand as they are, `|` is a choice, [ ] may be left out, and small letters are read by the functions
in PIECES.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from doris_mcp_server.doris.guard.lexer import NUMBER, STRING
from doris_mcp_server.doris.guard.policy import Path
from doris_mcp_server.doris.guard.reading import Cursor

_COMPARISONS: Final = ("=", "!=", "<>", "<", "<=", ">", ">=")


class FormCursor(Cursor):
    """A place in the tokens, moved on by whatever fits there; and the table and database named on the way."""

    database: Path = ()

    def named(self) -> tuple[Path, ...]:
        """The tables, sorted. Where one has a database before it and another behind it, it may be either."""
        tables = {path for path, _ in self.reading.tables}
        if not self.database:
            return tuple(sorted(tables))
        own = {table for table in tables if len(table) > 1}
        return tuple(sorted(own | {(*self.database, table[-1]) for table in tables}))

    def one_name(self) -> bool:
        if not self.may_name[self.index]:
            return False
        self.name()
        return True

    def path(self, most: int) -> Path:
        """Up to `most` names with dots between, without backticks; empty if there is none."""
        if not self.may_name[self.index]:
            return ()
        parts = [self.part_of_path()]
        while len(parts) < most and self.at == ".":
            self.index += 1
            if not self.may_name[self.index]:
                return ()
            parts.append(self.part_of_path())
        return tuple(parts)


def _name(cursor: FormCursor) -> bool:
    return cursor.one_name()


def _text(cursor: FormCursor) -> bool:
    return cursor.take(STRING)


def _number(cursor: FormCursor) -> bool:
    return cursor.take(NUMBER)


def _table(cursor: FormCursor) -> bool:
    start = cursor.index
    table = cursor.path(3)
    if table:
        cursor.reading.tables.append((table, start))
    return bool(table)


def _database(cursor: FormCursor) -> bool:
    cursor.database = cursor.path(2)
    return bool(cursor.database)


def _names(cursor: FormCursor) -> bool:
    """( a, b )"""
    if not (cursor.take("(") and cursor.one_name()):
        return False
    while cursor.take(","):
        if not cursor.one_name():
            return False
    return cursor.take(")")


def _partitions(cursor: FormCursor) -> bool:
    cursor.take("TEMPORARY")
    return cursor.take("PARTITION", "PARTITIONS") and (cursor.one_name() or _names(cursor))


def _partitions_or_all(cursor: FormCursor) -> bool:
    if cursor.words[cursor.index + 1 : cursor.index + 4] == ["(", "*", ")"] and cursor.take("PARTITION", "PARTITIONS"):
        cursor.index += 3
        return True
    return _partitions(cursor)


def _properties(cursor: FormCursor) -> bool:
    """( 'a' = 'b' )"""
    return cursor.take("(") and cursor.take(STRING) and cursor.take("=") and cursor.take(STRING) and cursor.take(")")


def _filter(cursor: FormCursor) -> bool:
    """LIKE 'x', or WHERE with comparisons of a column and a literal: nothing that could call or read something."""
    if cursor.take("LIKE"):
        return cursor.take(STRING)
    if not (cursor.take("WHERE") and _comparison(cursor)):
        return False
    while cursor.take("AND", "OR"):
        if not _comparison(cursor):
            return False
    return True


def _comparison(cursor: FormCursor) -> bool:
    # Here a reserved word can be nothing else than a name, and it is sent in backquotes.
    if cursor.index < len(cursor.tokens) and cursor.tokens[cursor.index].kind == "word":
        cursor.may_name[cursor.index] = True
    if not cursor.one_name():
        return False
    cursor.take("NOT")
    return cursor.take("LIKE", *_COMPARISONS) and cursor.take(STRING, NUMBER)


def _order(cursor: FormCursor) -> bool:
    if not (cursor.take("ORDER") and cursor.take("BY")):
        return False
    while True:
        if not (cursor.one_name() or cursor.take(NUMBER)):
            return False
        cursor.take("ASC", "DESC")
        if not cursor.take(","):
            return True


def _limit(cursor: FormCursor) -> bool:
    if not (cursor.take("LIMIT") and cursor.take(NUMBER)):
        return False
    return cursor.take(NUMBER) if cursor.take("OFFSET", ",") else True


PIECES: Final[dict[str, Callable[[FormCursor], bool]]] = {
    "table": _table,
    "database": _database,
    "name": _name,
    "text": _text,
    "number": _number,
    "columns": _names,
    "partitions": _partitions,
    "anypartitions": _partitions_or_all,
    "properties": _properties,
    "filter": _filter,
    "order": _order,
    "limit": _limit,
}
Element = tuple[str, ...] | Callable[[FormCursor], bool] | list[Any]


def compiled(form: str) -> list[Element]:
    """A form as elements: a choice of words, a piece, or a list of elements that may be left out."""
    elements: list[Element] = []
    inside = elements
    for bracket, word, closing in re.findall(r"(\[?)([\w|]+)(\]?)", form):
        if bracket:
            inside = []
            elements.append(inside)
        inside.append(tuple(word.split("|")) if word.isupper() else PIECES[word])
        if closing:
            inside = elements
    return elements


def fits(elements: list[Element], cursor: FormCursor) -> bool:
    """Whether the tokens go through all of `elements`; if not, the cursor stays at the first that is wrong."""
    for element in elements:
        start = cursor.index
        if isinstance(element, list):
            # What may be left out is left out when nothing of it is there.
            if not fits(element, cursor) and cursor.index > start:
                return False
        elif not (cursor.take(*element) if isinstance(element, tuple) else element(cursor)):
            return False
    return True
