"""Which tables are open to callers, and which columns they see masked: an operator's rules, above Doris' own rights.

A statement is judged twice where columns are masked: for the tables it reads, then for what it does with their columns
(`doris.guard.masked`). A result is masked by the names of its columns.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, NamedTuple

from doris_mcp_server.doris.guard import judge
from doris_mcp_server.doris.guard.masked import fold
from doris_mcp_server.doris.guard.policy import POLICY
from doris_mcp_server.doris.guard.verdicts import Verdict
from doris_mcp_server.doris.pool import Column, Rows
from doris_mcp_server.errors import StatementRefused
from doris_mcp_server.patterns import fits

MASK: Final = "***"
INTERNAL: Final = "internal"  # Doris' name for its own catalog
STATISTICS: Final = "__internal_schema"  # where Doris keeps values of other tables: statistics, the audit log
LISTED: Final = 5

Where = tuple[str | None, str | None]
"""Catalog and database that names without them mean; None: nobody knows."""


class Judged(NamedTuple):
    """An accepted statement, and the columns to be masked in its result, by their folded names."""

    verdict: Verdict
    masked: frozenset[str]


class Rules:
    """`allowed` and `masked` are patterns as in the settings; without any, everything is open, and nothing masked."""

    def __init__(self, allowed: Iterable[str] = (), masked: Iterable[str] = ()) -> None:
        self._allowed = [_parts(pattern) for pattern in allowed]
        self._masked = [(tuple(fold(part) for part in table), fold(column)) for *table, column in map(_parts, masked)]

    def __bool__(self) -> bool:
        return bool(self._allowed or self._masked)

    def where(self, catalog: str | None, database: str | None, default: str | None) -> Where:
        """Where a statement is to run, of an account with this default database.

        While tables are closed that is not the account's default catalog: nobody told us its name.
        """
        if catalog is not None:
            return catalog, database
        return INTERNAL if self._allowed else None, database or default

    async def judge(self, sql: str, where: Where) -> Judged:
        """StatementRefused by the guard, for a closed table, and for what shows more of a masked column than a mask."""
        verdict = await judge(sql)
        if not self:
            return Judged(verdict, frozenset())
        paths = [_whole(path, where) for path in verdict.paths]
        self._check(verdict, paths)
        masked = frozenset(column for path in paths for column in self._masked_of(path))
        if masked:
            verdict = await judge(sql, replace(POLICY, masked=masked))
        return Judged(verdict, masked)

    def check_table(self, catalog: str | None, database: str, table: str) -> None:
        """StatementRefused for one that is closed."""
        if not self._is_open(path := (catalog, database, table)):
            raise self._closed(path)

    def shows(self, *path: str) -> bool:
        """Whether something is open in a catalog, in a database of it, or this table of that."""
        return not self._allowed or any(fits(pattern[: len(path)], path) for pattern in self._allowed)

    def _check(self, verdict: Verdict, paths: list[tuple[str | None, ...]]) -> None:
        if self._allowed and not paths and verdict.kind in ("show", "describe"):
            hint = "Use list_databases, list_tables and get_table_context: they show what is open."
            raise StatementRefused("Only some tables are open here, and this shows others, too", hint=hint)
        for path in paths:
            if not self._is_open(path):
                raise self._closed(path)
            if self._masked and (path[-2] == STATISTICS or ("$" in str(path[-1]) and self._masked_of(path))):
                raise StatementRefused(f"{_shown(path)} holds values of columns that are masked")

    def _is_open(self, path: tuple[str | None, ...]) -> bool:
        return not self._allowed or (
            len(path) == 3 and None not in path and any(fits(pattern, path) for pattern in self._allowed)
        )

    def _masked_of(self, path: tuple[str | None, ...]) -> list[str]:
        """The masked columns that a table may have. What is behind a `$` tells about the table before it."""
        folded = [part and fold(part).partition("$")[0] for part in path]
        return [column for table, column in self._masked if fits(table, folded)]

    def _closed(self, path: tuple[str | None, ...]) -> StatementRefused:
        patterns = ", ".join(".".join(pattern) for pattern in self._allowed[:LISTED])
        more = f" and {len(self._allowed) - LISTED} more" if len(self._allowed) > LISTED else ""
        return StatementRefused(f"The table {_shown(path)} is not open here", hint=f"Open are: {patterns}{more}.")


def mask(rows: Rows, judged: Judged) -> Rows:
    """A result with its masked columns as text that says nothing. StatementRefused when one of them is not found."""
    if not judged.masked:
        return rows
    hidden = [fold(column.name.strip("`")) in judged.masked for column in rows.columns]
    if sum(hidden) < judged.verdict.masked:
        raise StatementRefused("The result does not say which of its columns are masked", hint="Leave those out.")
    columns = [Column(c.name, "VARCHAR") if hide else c for c, hide in zip(rows.columns, hidden, strict=True)]
    masked = [tuple(MASK if hide else v for v, hide in zip(row, hidden, strict=True)) for row in rows.rows]
    return replace(rows, columns=columns, rows=masked)


def _parts(pattern: str) -> tuple[str, ...]:
    return tuple(pattern.split("."))


def _whole(path: tuple[str, ...], where: Where) -> tuple[str | None, ...]:
    """A table as it is written with what it means before it: catalog, database, table, and no less."""
    return (*where[: max(3 - len(path), 0)], *path)


def _shown(path: tuple[str | None, ...]) -> str:
    return ".".join(part for part in path if part)


OPEN: Final = Rules()
"""Everything that Doris lets the caller see."""
