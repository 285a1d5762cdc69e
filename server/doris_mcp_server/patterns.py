"""Patterns of names in the settings: which tables are open, which columns are masked.

A leaf beside `config`. `*` in a part stands for anything in that part; parts have dots between them.
"""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

_PART: Final = r"[^\s.,`?\[\]]+"
_TABLE: Final = re.compile(rf"{_PART}(?:\.{_PART}){{2}}")
_COLUMN: Final = re.compile(rf"(?:{_PART}\.){{0,3}}[^\s.,`?*\[\]]+")


def tables(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """The patterns as they are. ValueError for one that does not say catalog, database and table."""
    for pattern in patterns:
        if not _TABLE.fullmatch(pattern):
            raise ValueError(f"{pattern!r} is not catalog.database.table, with * in any part: internal.ssb.*")
    return patterns


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
