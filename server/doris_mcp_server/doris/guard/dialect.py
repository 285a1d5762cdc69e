"""What a version of Doris reads as what: its words, and whether a second, older parser stands behind the first.

`words.tsv` has each word of Doris' lexers (DorisLexer.g4 and the rule nonReserved of DorisParser.g4, branches 2.1, 3.0,
4.0 and master): a reserved one is never a name unless it stands in backquotes, any other may be one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

Version = tuple[int, int, int]
COLUMNS: Final = ("2.1", "3.0", "4.0", "master")
# Reserved, but no query has a use for it, and agents do name columns so.
FREE_IN_QUERIES: Final = frozenset({"LIST"})
# Not in the table, and still more than names to some version: 4.1 has the first words as keywords, and before that
# FROM takes `dual` off the front of any name behind it (apache/doris#59003).
ALSO_QUOTED: Final = frozenset({"ASOF", "MATCH_CONDITION", "UNNEST", "ORDINALITY", "WINDOW", "DUAL"})


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one cluster reads a text. `version` is None while it is not known: what is sent must read the same in all.

    `reserved` are the words that cannot be names. `two_parsers`: what the first parser refuses, an older one reads.
    `raw_strings`: r'..' is a string. `hex_strings`: x'..' is a string. Both are None where that is not known.
    `names_are_text`: a column without an alias is called by the text of its expression.
    """

    version: Version | None
    reserved: frozenset[str]
    two_parsers: bool
    raw_strings: bool | None
    hex_strings: bool | None
    names_are_text: bool

    @property
    def release(self) -> str:
        """The version as text, such as 3.0.3."""
        return ".".join(map(str, self.version or ()))

    def lacks(self, since: Version | None) -> bool:
        """Whether only the older parser might take what came with `since` (None: what no version has)."""
        return self.two_parsers and self.version is not None and (since is None or self.version < since)


@cache
def dialect_of(version: Version | None) -> Dialect:
    """The dialect of a version as `capabilities` finds it."""
    if version is None:
        # A word that some version leaves free may be a name: it is sent in backquotes, and so a name to all of them.
        reserved_in_all = frozenset[str].intersection(*(_reserved((column,)) for column in COLUMNS))
        return Dialect(None, reserved_in_all, True, None, None, True)
    if version < (3, 1, 0):
        return Dialect(version, _reserved(("2.1",) if version < (3, 0, 0) else ("3.0",)), True, True, False, False)
    if version < (4, 0, 0):
        return Dialect(version, _reserved(("3.0", "4.0")), True, None, None, True)
    columns = ("4.0",) if version < (4, 1, 0) else ("4.0", "master")
    return Dialect(version, _reserved(columns), False, False, True, True)


def _reserved(columns: Iterable[str]) -> frozenset[str]:
    return frozenset[str]().union(*(_table()[column] for column in columns)) - FREE_IN_QUERIES


@cache
def _table() -> dict[str, frozenset[str]]:
    """The reserved words of each column of the table; under "" all words, reserved or not."""
    words: dict[str, set[str]] = {column: set() for column in ("", *COLUMNS)}
    for line in files(__package__).joinpath("words.tsv").read_text(encoding="ascii").splitlines()[1:]:
        word, kind, versions = line.split("\t")
        words[""].add(word)
        for column in versions.split(",") if kind == "reserved" else ():
            words[column].add(word)
    return {column: frozenset(found) for column, found in words.items()}


WORDS: Final = _table()[""] | ALSO_QUOTED
"""Words that some parser could take for something else than a name: as names they are sent in backquotes."""
UNKNOWN: Final = dialect_of(None)
