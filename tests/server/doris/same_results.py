"""The tables that the corpora's queries read, and those queries written in other ways: what is sent must give the same.

No query says what its columns are. So each table has the columns that any query could mean, in databases of one type
each; a query runs where the types suit it.
"""

import random
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Set
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from pymysql.err import MySQLError

from doris_mcp_server.doris import guard
from doris_mcp_server.errors import StatementRefused

from .sent_reader import Piece, cut, tables
from .sent_rules import KEYWORDS, POLICIES
from .statements import legal, own

Ask = Callable[[str, str], Awaitable[tuple[list[tuple[Any, ...]], list[Any]]]]
"""Give columns, as a driver describes them, and rows of a statement in a database."""
VERSION: Final = "4.0"  # columns are called by the text of their expression
LONGEST: Final = 1_000
GAPS: Final = ("\n", "  ", "\t", " /* a, b */ ", " -- it's\n", "\r\n", "/**/ ")
_PLAIN: Final = re.compile(r"[a-z_][a-z0-9_]*", re.IGNORECASE)
# They sleep, make many rows, call themselves for ever, or say something else each time.
_LEFT_OUT: Final = re.compile(
    r"\bsleep\b|\d{6}|numbers|recursive [\w`]"
    r"|information_schema|TABLESAMPLE|rand|uuid|now|cur(?:rent_?)?(?:date|time)|localtime|utc_|unix_",
    re.IGNORECASE,
)
# Names to Doris, numbers to both engines here.
_OTHERWISE: Final = re.compile(r"`0x[0-9A-F]+`")
_AT_THE_EDGE: Final = re.compile(r"^(?:\s|/\*.*?\*/|--[^\n]*\n)+|(?:\s|/\*[^*]*\*/|(?:--|#)[^\n]*)+$")


class Query(NamedTuple):
    """`variants` are the query as it stands, and with comments and odd blanks."""

    name: str
    variants: list[str]
    pieces: list[Piece]


def queries() -> list[Query]:
    """The accepted queries of the corpora that take no time, and mean the same at any time."""
    found = []
    for row in (*legal(), *own()):
        text = sent(row.sql)
        if text is not None and not _LEFT_OUT.search(text) and not _OTHERWISE.search(text) and len(text) < LONGEST:
            pieces = cut(text, raw=False)
            # The demo engine knows SHOW in one form only.
            others = [] if pieces[0].word in ("SHOW", "DESC", "DESCRIBE") else [spread(row.name, pieces)]
            found.append(Query(row.name, [row.sql, *others], pieces))
    return found


def sent(sql: str) -> str | None:
    try:
        return guard.check(sql, POLICIES[VERSION]).sent
    except StatementRefused:
        return None


def named(column: str) -> str:
    """The name of a column without what an engine takes into it: the comments beside its expression.

    A column of a string alone is called by its value in Doris, and by its text or a part of it here; MariaDB leaves a
    sign + out.
    """
    inside = _AT_THE_EDGE.sub("", _AT_THE_EDGE.sub("", column).removeprefix("+"))
    return "a string" if inside[:1] in ("'", '"') else inside


def spread(seed: str, pieces: list[Piece]) -> str:
    """The same tokens with comments and odd blanks between them, where Doris lets some stand."""
    chance = random.Random(seed)
    text = ""
    for piece, after in zip(pieces, [*pieces[1:], Piece("sign", "")], strict=True):
        shift = piece.text == after.text and piece.text in ("<", ">")
        glued = shift or after.text in ("(", ".") or piece.text in (".", "@", "@@") or after.kind == "hint"
        # What is one word to the demo engine: GROUP BY, UNION ALL, GROUPING SETS.
        gaps = (" ",) if after.word in ("BY", "ALL", "SETS") else (" ", *GAPS)
        text += piece.text + ("" if glued else chance.choice(gaps))
    return text


def needed(reserved: Set[str]) -> list[tuple[str, list[str]]]:
    """Each table of one name, with all the columns that queries of it could mean, but no `reserved` words."""
    columns: dict[str, dict[str, None]] = {}
    for query in queries():
        for path in sorted(tables(query.pieces)):
            if len(path) == 1 and _PLAIN.fullmatch(path[0]):
                columns.setdefault(path[0].lower(), {}).update(dict.fromkeys(_columns(query.pieces)))
    plain = {table: [name for name in names if name not in reserved] for table, names in columns.items()}
    return [(table, names) for table, names in plain.items() if names and table not in reserved]


def _columns(pieces: list[Piece]) -> Iterator[str]:
    for piece, after in zip(pieces, [*pieces[1:], Piece("sign", "")], strict=True):
        name = piece.called.lower()
        keyword = piece.kind == "word" and piece.word in KEYWORDS
        if piece.kind in ("word", "name") and not keyword and after.text not in ("(", ".") and _PLAIN.fullmatch(name):
            yield name


@dataclass
class Ran:
    """How many queries an engine could run as they were written, how many texts were then sent otherwise, and what
    came out wrong."""

    queries: int = 0
    changed: int = 0
    wrong: list[tuple[str, object]] = field(default_factory=list)


async def compare(ask: Ask, databases: Iterable[str], asked: list[Query]) -> Ran:
    """Ask each query as written and as sent, in the first database where it runs. `ask` raises MySQLError."""
    ran = Ran()
    for query in asked:
        database = await _suits(ask, databases, query.variants[0])
        if database is None:
            continue
        ran.queries += 1
        for sql in query.variants:
            text = sent(sql) or ""
            ran.changed += text != sql
            theirs, ours = await _told(ask, database, sql), await _told(ask, database, text)
            if theirs != ours:
                ran.wrong.append((sql, [pair for pair in zip(theirs, ours, strict=True) if pair[0] != pair[1]]))
    return ran


async def _suits(ask: Ask, databases: Iterable[str], sql: str) -> str | None:
    """A database in which a query runs, and says the same each time."""
    for database in databases:
        told = await _told(ask, database, sql)
        if told[0] != "refused":
            return database if told == await _told(ask, database, sql) else None
    return None


async def _told(ask: Ask, database: str, sql: str) -> tuple[object, object]:
    """Names and types of the columns, and the rows in an order of their own."""
    try:
        columns, rows = await ask(database, sql)
    except MySQLError as error:
        return "refused", str(error)
    return [(named(name), kind) for name, kind, *_ in columns], sorted(map(repr, rows))
