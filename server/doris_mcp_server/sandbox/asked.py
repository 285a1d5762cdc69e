"""What a SHOW or DESC is given and what it gives; the pieces their forms are written with."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from doris_mcp_server.sandbox.describe import size_of
from doris_mcp_server.sandbox.faults import fault
from doris_mcp_server.sandbox.names import Names, Place, unquote
from doris_mcp_server.sandbox.table import Table

NAME = r"(?:`[^`]+`|[\w$-]+)"
PATH = rf"(?P<a>{NAME})(?:\s*\.\s*(?P<b>{NAME}))?(?:\s*\.\s*(?P<c>{NAME}))?"
TEXT = r"(?:'[^']*'|\"[^\"]*\")"
FILTER = rf"(?: LIKE (?P<like>{TEXT})| WHERE `?(?P<where>\w+)`?\s*(?P<how>=|LIKE)\s*(?P<wanted>{TEXT}))?"
# Which partitions are meant is read and not heeded: statistics here are of whole tables.
PARTITIONS = r"(?:\s+PARTITIONS?\s*(?:\([^)]*\)|[\w`]+))?"
DATABASE = rf"(?:(?P<cat>{NAME})\s*\.\s*)?(?P<db>{NAME})"


@dataclass(frozen=True, slots=True)
class Answer:
    """A small result: column names and rows of text (or None)."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


@dataclass(slots=True)
class Facts:
    """What only the running engine knows: row counts by (catalog, database, table), and where it listens."""

    counts: Mapping[tuple[str, str, str], int]
    port: int = 9030
    http_port: int = 8030

    def rows(self, table: Table) -> int:
        return self.counts.get(table.path, 0)

    def size(self, table: Table) -> int:
        return size_of(table, self.rows(table))


@dataclass(frozen=True, slots=True)
class Asked:
    """One statement: how it matched its form, who asks, from where, and what there is to know."""

    found: re.Match[str]
    names: Names
    place: Place
    facts: Facts

    def given(self, group: str) -> str | None:
        """A name of the statement, without its quotes."""
        text = self.found[group] if group in self.found.re.groupindex else None
        return unquote(text) if text else None

    @property
    def like(self) -> Callable[[str], bool]:
        """Whether a name is one that LIKE lets through; without LIKE, all are."""
        pattern = self.given("like")
        return like(pattern) if pattern is not None else lambda name: True

    def table(self, command: str = "SHOW") -> Table:
        """The table of the statement. Raises Doris' errors."""
        parts = [unquote(self.found[group]) for group in "abc" if self.found[group]]
        name = parts.pop()
        database = parts.pop() if parts else self.given("database") or self.place.database
        catalog = parts.pop() if parts else self.place.catalog
        return self.names.find_table(self.names.find_catalog(catalog), database, name, command)

    def database(self) -> Place:
        """The database of the statement, else the current one. Raises Doris' errors."""
        catalog = self.names.find_catalog(self.given("cat") or self.place.catalog)
        return Place(catalog, self.names.find_database(catalog, self.given("db") or self.place.database))

    def listing(self, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Answer:
        """The rows that WHERE lets through; it names a column of the answer. Raises Doris' error for another."""
        where, wanted = self.given("where"), self.given("wanted")
        if where is None or wanted is None:
            return Answer(columns, rows)
        folded = [column.lower() for column in columns]
        if where.lower() not in folded:
            raise fault(f"Unknown column '{where}' in 'where clause'")
        at = folded.index(where.lower())
        fits = like(wanted) if self.found["how"].upper() == "LIKE" else wanted.__eq__
        return Answer(columns, [row for row in rows if fits(row[at])])

    def answer(self, show: str, *rows: Mapping[str, Any], otherwise: str | None = "") -> Answer:
        """Rows by column name, in the order of this line of Doris; `otherwise` where a row does not tell."""
        columns = self.names.schema.show[show]
        return self.listing(columns, [tuple(row.get(name, otherwise) for name in columns) for row in rows])


def form(text: str) -> re.Pattern[str]:
    """A statement's form; a space in it stands for any white space."""
    return re.compile(text.replace(" ", r"\s+"), re.IGNORECASE | re.DOTALL)


def like(pattern: str) -> Callable[[str], bool]:
    """MySQL's LIKE, blind to case: % is any text, _ one character, a backslash takes both literally."""
    pieces = re.findall(r"\\.|.", pattern, re.DOTALL)
    text = "".join({"%": ".*", "_": "."}.get(p) or re.escape(p[-1]) for p in pieces)
    compiled = re.compile(text, re.IGNORECASE | re.DOTALL)
    return lambda name: compiled.fullmatch(name) is not None


Show = Callable[[Asked], Answer]
Forms = tuple[tuple[re.Pattern[str], Show], ...]
