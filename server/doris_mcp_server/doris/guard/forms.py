"""A statement's form, written as people write it, and whether tokens fit it.

In a form capitals stand as they are, `|` is a choice, [ ] may be left out, and small letters are read by the functions
in PIECES.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from doris_mcp_server.doris.guard.lexer import Token
from doris_mcp_server.doris.guard.verdicts import Path

_COMPARISONS = (("=",), ("!", "="), ("<", ">"), ("<", "="), (">", "="), ("<",), (">",))


class Cursor:
    """A place in the tokens, moved on by whatever fits there; and the table and database named on the way."""

    def __init__(self, found: list[Token]) -> None:
        self._found = found
        self.index = 0
        self.tables: list[Path] = []
        self.database: Path = ()

    def named(self) -> tuple[Path, ...]:
        """The tables, sorted. Where one has a database before it and another behind it, it may be either."""
        if not self.database:
            return tuple(sorted(set(self.tables)))
        own = {table for table in self.tables if len(table) > 1}
        return tuple(sorted(own | {(*self.database, table[-1]) for table in self.tables}))

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

    def path(self, most: int) -> Path:
        """Up to `most` names with dots between, as written without backticks; empty if there is none."""
        start = self.index
        if not self.name():
            return ()
        for _ in range(most - 1):
            if not self.sign("."):
                break
            if not self.name():
                return ()
        return tuple(bare(token) for token in self._found[start : self.index : 2])

    def _take(self, fits: Callable[[Token], bool]) -> bool:
        if self.index < len(self._found) and fits(self._found[self.index]):
            self.index += 1
            return True
        return False


def bare(token: Token) -> str:
    """A name without the backticks it was written in."""
    return token.text[1:-1].replace("``", "`") if token.kind == "name" else token.text


def _table(cursor: Cursor) -> bool:
    table = cursor.path(3)
    cursor.tables += [table] if table else []
    return bool(table)


def _database(cursor: Cursor) -> bool:
    cursor.database = cursor.path(2)
    return bool(cursor.database)


def _names(cursor: Cursor) -> bool:
    """( a, b )"""
    if not (cursor.sign("(") and cursor.name()):
        return False
    while cursor.sign(","):
        if not cursor.name():
            return False
    return cursor.sign(")")


def _partitions(cursor: Cursor) -> bool:
    cursor.word("TEMPORARY")
    return cursor.word("PARTITION", "PARTITIONS") and (cursor.name() or _names(cursor))


def _filter(cursor: Cursor) -> bool:
    """LIKE 'x', or WHERE with comparisons of a column and a literal: nothing that could call or read something."""
    if cursor.word("LIKE"):
        return cursor.text()
    if not (cursor.word("WHERE") and _comparison(cursor)):
        return False
    while cursor.word("AND", "OR"):
        if not _comparison(cursor):
            return False
    return True


def _comparison(cursor: Cursor) -> bool:
    if not cursor.name():
        return False
    cursor.word("NOT")
    compares = cursor.word("LIKE") or any(cursor.sign(*signs) for signs in _COMPARISONS)
    return compares and (cursor.text() or cursor.number())


def _order(cursor: Cursor) -> bool:
    if not (cursor.word("ORDER") and cursor.word("BY")):
        return False
    while True:
        if not (cursor.name() or cursor.number()):
            return False
        cursor.word("ASC", "DESC")
        if not cursor.sign(","):
            return True


def _limit(cursor: Cursor) -> bool:
    if not (cursor.word("LIMIT") and cursor.number()):
        return False
    return cursor.number() if cursor.word("OFFSET") or cursor.sign(",") else True


PIECES: Final[dict[str, Callable[[Cursor], bool]]] = {
    "table": _table,
    "database": _database,
    "name": Cursor.name,
    "text": Cursor.text,
    "columns": _names,
    "partitions": _partitions,
    "filter": _filter,
    "order": _order,
    "limit": _limit,
}
Element = tuple[str, ...] | Callable[[Cursor], bool] | list[Any]


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


def fits(elements: list[Element], cursor: Cursor) -> bool:
    """Whether the tokens go through all of `elements`; if not, the cursor stays at the first that is wrong."""
    for element in elements:
        start = cursor.index
        if isinstance(element, list):
            # What may be left out is left out when nothing of it is there.
            if not fits(element, cursor) and cursor.index > start:
                return False
        elif not (cursor.word(*element) if isinstance(element, tuple) else element(cursor)):
            return False
    return True
