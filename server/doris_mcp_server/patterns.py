"""Patterns of names in the settings: which tables are open, which columns are masked.

A leaf beside `config`. `*` in a part stands for anything in that part; parts have dots between them.
"""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

CLOSED_TABLES: Final = (
    "*.information_schema.processlist",
    "*.information_schema.active_queries",
    "*.information_schema.backend_active_tasks",
    "*.information_schema.profiling",
    "*.information_schema.routine_load_jobs",
    "*.information_schema.routines",
    "*.information_schema.*_privileges",
    "*.information_schema.backend_configuration",
    "*.information_schema.backend_kerberos_ticket_cache",
    "*.information_schema.encryption_keys",
    "*.information_schema.authentication_integrations",
    "*.mysql.*",
    "*.__internal_schema.audit_log",
)
"""Doris' own tables that show what SHOW may not show either: other people's statements, privileges, the configuration
of the machines, secrets. They are closed where the operator's setting does not say otherwise."""
NOTHING, DEFAULT = "none", "default"

_PART: Final = r"[^\s.,`?\[\]]+"
_TABLE: Final = re.compile(rf"{_PART}(?:\.{_PART}){{2}}")
_FUNCTION: Final = re.compile(r"[^\s.,`()'\"]+")
_COLUMN: Final = re.compile(rf"(?:{_PART}\.){{0,3}}[^\s.,`?*\[\]]+")


def tables(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """The patterns as they are. ValueError for one that does not say catalog, database and table."""
    for pattern in patterns:
        if not _TABLE.fullmatch(pattern):
            raise ValueError(f"{pattern!r} is not catalog.database.table, with * in any part: internal.ssb.*")
    return patterns


def closed_tables(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """The same; `default` stands for CLOSED_TABLES, as does an empty list, and `none` alone for no patterns at all."""
    if patterns == (NOTHING,):
        return ()
    given = patterns or (DEFAULT,)
    added = tables(tuple(pattern for pattern in given if pattern != DEFAULT))
    return (*CLOSED_TABLES, *added) if DEFAULT in given else added


def functions(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names as they are. ValueError for one that is no name of a function."""
    for name in names:
        if not _FUNCTION.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a function: my_udf")
    return names


def columns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """The patterns as they are. ValueError for one that is no column, alone or behind its table."""
    for pattern in patterns:
        if not _COLUMN.fullmatch(pattern):
            words = "is not a column, alone or behind its table, with * in any part before it: *.customer.c_phone"
            raise ValueError(f"{pattern!r} {words}")
    return patterns


def fits(pattern: Sequence[str], path: Sequence[str | None]) -> bool:
    """Whether the last parts of a path fit a pattern; a part nobody knows (None) may be anything."""
    ends = zip(reversed(pattern), reversed(path), strict=False)
    return all(part is None or fnmatchcase(part, wanted) for wanted, part in ends)
