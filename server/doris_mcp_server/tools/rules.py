"""Which tables are open to callers, and which columns they see masked: an operator's rules, above Doris' own rights.

The guard asks these rules while it judges a statement (`policy.TableRules`). A result is masked by the names of its
columns.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Final

from doris_mcp_server.doris.capabilities import Version
from doris_mcp_server.doris.guard import judge
from doris_mcp_server.doris.guard.dialect import dialect_of
from doris_mcp_server.doris.guard.policy import BY_TEXT, FROM_DICTIONARIES, POLICY, Path, Policy, Step, closer
from doris_mcp_server.doris.guard.verdicts import Verdict
from doris_mcp_server.doris.names import fold
from doris_mcp_server.doris.pool import Column, Rows
from doris_mcp_server.errors import StatementRefused
from doris_mcp_server.patterns import CLOSED_TABLES, fits

MASK: Final = "***"
INTERNAL: Final = "internal"  # Doris' name for its own catalog
STATISTICS: Final = "__internal_schema"  # where Doris keeps values of other tables: statistics, the audit log
LISTED: Final = 5
MAX_POLICIES: Final = 256  # of one worker: one for each version, catalog and database that statements run in

Where = tuple[str | None, str | None]
"""Catalog and database that names without them mean; None: nobody knows."""


class Rules:
    """`allowed`, `masked` and `closed` are patterns as in the settings, `refused` names of further functions.

    Without `allowed` everything is open but what is `closed`, and without `masked` nothing is masked.
    """

    def __init__(
        self,
        allowed: Iterable[str] = (),
        masked: Iterable[str] = (),
        closed: Iterable[str] = CLOSED_TABLES,
        refused: Iterable[str] = (),
    ) -> None:
        self._allowed = [_parts(pattern) for pattern in allowed]
        self._masked = [(tuple(fold(part) for part in table), fold(column)) for *table, column in map(_parts, masked)]
        closed = tuple(closed)
        self._close = closer(closed)
        self._refused = POLICY.refused_functions | {name.lower() for name in refused}
        # Of the tables that are closed by default there are neither dictionaries nor statistics.
        self._keeps_values = bool(self._allowed or self._masked or not set(closed) <= set(CLOSED_TABLES))
        if self._keeps_values:
            self._refused |= FROM_DICTIONARIES
        if self._masked:
            self._refused |= BY_TEXT
        self._policies: dict[tuple[Where, Version | None], Policy] = {}

    def where(self, catalog: str | None, database: str | None, default: str | None) -> Where:
        """Where a statement is to run, of an account with this default database.

        While tables are closed that is not the account's default catalog: nobody told us its name.
        """
        if catalog is not None:
            return catalog, database
        return INTERNAL if self._allowed else None, database or default

    async def judge(self, sql: str, where: Where, version: Version | None = None) -> Verdict:
        """What the guard says under these rules, for a cluster of this version.

        StatementRefused also for a closed table, and for what shows more of a masked column than a mask.
        """
        return await judge(sql, self.policy(where, version))

    def policy(self, where: Where, version: Version | None) -> Policy:
        """The guard's policy for statements that run there; always the same one, so that verdicts are remembered."""
        policy = self._policies.get((where, version))
        if policy is None:
            if len(self._policies) >= MAX_POLICIES:
                self._policies.clear()
            policy = self._policies[where, version] = replace(
                POLICY,
                refused_functions=self._refused,
                tables=partial(self._check, where),
                dialect=dialect_of(version),
            )
        return policy

    def check_table(self, catalog: str | None, database: str, table: str) -> None:
        """StatementRefused for one that is closed."""
        if not self._is_open(path := (catalog, database, table)):
            raise self._not_open(path)

    def shows(self, *path: str) -> bool:
        """Whether something is open in a catalog, in a database of it, or this table of that."""
        return not self._allowed or any(fits(pattern[: len(path)], path) for pattern in self._allowed)

    def _check(
        self, where: Where, kind: str, tables: tuple[Path, ...], perhaps: tuple[Path, ...], step: Step
    ) -> frozenset[str]:
        """As policy.TableRules, for statements that run there."""
        if self._allowed and not tables and kind in ("show", "describe"):
            hint = "Use list_databases, list_tables and get_table_context: they show what is open."
            raise StatementRefused("Only some tables are open here, and this shows others, too", hint=hint)
        paths = [_whole(path, where) for path in tables]
        doubtful = [_whole(path, where) for path in perhaps]
        for path in (*paths, *doubtful) if kind not in ("show", "describe") else ():
            step()
            self._close((path[0], *(part or "" for part in path[1:])))  # without a database, none is read
        masked: set[str] = set()
        for path in paths:
            step()
            masked.update(self._masked_of(path))
            if not self._is_open(path):
                raise self._not_open(path)
            if self._holds_values(path):
                raise StatementRefused(f"{_shown(path)} holds values of columns that are closed or masked")
        for path in doubtful:
            step()
            if not self._is_open(path) or self._masked_of(path):
                words = f"This Doris may read LATERAL VIEW with several columns as the table {_shown(path)}"
                raise StatementRefused(words, hint="Name the column like no table, or take one column at a time.")
        return frozenset(masked)

    def _holds_values(self, path: tuple[str | None, ...]) -> bool:
        """Whether a table holds values of others: statistics, partitions, and what a lake table has behind a $."""
        if path[-2] == STATISTICS:
            return self._keeps_values
        database, table = fold(path[-2] or ""), fold(str(path[-1]))
        bounds = database == "information_schema" and table == "partitions"
        return bool(self._masked) and (bounds or ("$" in table and bool(self._masked_of(path))))

    def _is_open(self, path: tuple[str | None, ...]) -> bool:
        return not self._allowed or (
            len(path) == 3 and None not in path and any(fits(pattern, path) for pattern in self._allowed)
        )

    def _masked_of(self, path: tuple[str | None, ...]) -> list[str]:
        """The masked columns that a table may have. What is behind a `$` tells about the table before it."""
        folded = [part and fold(part).partition("$")[0] for part in path]
        return [column for table, column in self._masked if fits(table, folded)]

    def _not_open(self, path: tuple[str | None, ...]) -> StatementRefused:
        patterns = ", ".join(".".join(pattern) for pattern in self._allowed[:LISTED])
        more = f" and {len(self._allowed) - LISTED} more" if len(self._allowed) > LISTED else ""
        return StatementRefused(f"The table {_shown(path)} is not open here", hint=f"Open are: {patterns}{more}.")


def mask(rows: Rows, verdict: Verdict) -> Rows:
    """A result with its masked columns as text that says nothing. StatementRefused when one of them is not found."""
    if not verdict.hidden:
        return rows
    hidden = [fold(column.name.strip("`")) in verdict.hidden for column in rows.columns]
    if sum(hidden) < verdict.masked:
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
"""What Doris lets the caller see, but what is closed by default."""
