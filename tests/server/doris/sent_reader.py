"""A second reader of what is sent to Doris: it cuts a text by the rules of Doris' lexers, and knows no grammar.

It shares nothing with the guard but the table of words, so the guard's own mistakes are not repeated here. Source:
DorisLexer.g4 of the frontend.
"""

import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Final, NamedTuple

_PIECE: Final = re.compile(
    r"""
    (?P<gap>[ ])
  | (?P<hint>/\*\+.*?\*/)
  | (?P<wrong>--|/\*|\*/|;|\#|\?|\\|:=|[^\x20-\x7e])
  | (?P<text>'(?:\\.|''|[^'\\])*'|"(?:\\.|""|[^"\\])*")
  | (?P<name>`(?:``|[^`])*`)
  | (?P<number>(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)(?:[eE][+-]?[0-9]+)?(?![A-Za-z0-9_$]))
  | (?P<word>[A-Za-z0-9_$]+)
  | (?P<sign><=>|->>|->|<=|<>|>=|!=|!>|!<|==|&&|\|\||@@|[-<>!=&|@+*/%^~()\[\]{},.:])
    """,
    re.VERBOSE | re.DOTALL,
)
_RAW: Final = re.compile(r"[rR](?:'[^']*'|\"[^\"]*\")")
_HINT: Final = re.compile(r"/\*\+ (?:[\w.,{}()\[\]-]|'[^'*/\\]*'|\"[^\"*/\\]*\"|`[^`]*`| (?! ))+ \*/", re.ASCII)
_ENDS_FROM: Final = frozenset(
    {
        "WHERE",
        "GROUP",
        "HAVING",
        "ORDER",
        "LIMIT",
        "QUALIFY",
        "UNION",
        "INTERSECT",
        "EXCEPT",
        "MINUS",
        "WINDOW",
        "SELECT",
    }
)
# FROM in their parentheses is none of a query.
_WITH_FROM: Final = frozenset({"EXTRACT", "TRIM", "SUBSTRING", "SUBSTR", "MID"})


class Unreadable(Exception):
    """A text that is not written as the guard writes."""


class Piece(NamedTuple):
    """`kind` is word, name (`a`), text, number, sign or hint; `word` is a word in upper case, or the text itself."""

    kind: str
    text: str

    @property
    def word(self) -> str:
        return self.text.upper() if self.kind == "word" else self.text

    @property
    def called(self) -> str:
        """A name without its backquotes."""
        return self.text[1:-1].replace("``", "`") if self.kind == "name" else self.text


def cut(sent: str, *, raw: bool) -> list[Piece]:
    """The pieces of a text; `raw`: r'..' is a string without escapes. Its letter is a piece of its own, as that of
    x'..' is. Unreadable: a comment, a `;`, a blank too many, or a character that has no place outside of quotes."""
    found: list[Piece] = []
    position, gap = 0, True
    while position < len(sent):
        if raw and (match := _RAW.match(sent, position)):
            found += Piece("word", match[0][0]), Piece("text", match[0][1:])
            position, gap = match.end(), False
            continue
        match = _PIECE.match(sent, position)
        if match is None or match.lastgroup == "wrong" or (match.lastgroup == "gap" and gap):
            raise Unreadable(f"{sent[position : position + 10]!r} at {position}")
        position, gap = match.end(), match.lastgroup == "gap"
        if match.lastgroup == "hint" and not (_HINT.fullmatch(match[0]) and found and _takes_hint(found[-1])):
            raise Unreadable(f"the hint {match[0]!r}")
        if not gap:
            found.append(Piece(str(match.lastgroup), match[0]))
    if gap:
        raise Unreadable("a blank at the end")
    return found


def _takes_hint(piece: Piece) -> bool:
    return piece.word == "SELECT" or piece.kind == "hint"


def tables(pieces: list[Piece]) -> set[tuple[str, ...]]:
    """The names in the lists behind FROM and JOIN that are not called, as paths: tables and CTEs."""
    found = set()
    for index in _sources(pieces):
        path, end = _path(pieces, index)
        if path and not (end < len(pieces) and pieces[end].text == "("):
            found.add(path)
    return found


def ctes(pieces: list[Piece]) -> set[str]:
    """The names in front of AS ( and of (a, b) AS (."""
    found = set()
    for index, piece in enumerate(pieces):
        if piece.word == "AS" and index and [p.text for p in pieces[index + 1 : index + 2]] == ["("]:
            before = index - 1
            while pieces[before].text != "(" and pieces[index - 1].text == ")":
                before -= 1
            found.add(pieces[before - (pieces[index - 1].text == ")")].called)
    return found


def _path(pieces: list[Piece], index: int) -> tuple[tuple[str, ...], int]:
    """The names with dots between that begin at `index`, and where they end."""
    parts: list[str] = []
    while index < len(pieces) and pieces[index].kind in ("word", "name"):
        parts.append(pieces[index].called)
        index += 1
        if index == len(pieces) or pieces[index].text != ".":
            break
        index += 1
    return tuple(parts), index


def _sources(pieces: list[Piece]) -> Iterator[int]:
    """Where something to read from begins. Of each open bracket is known: whether FROM is none of a query there, and
    whether a comma is one between sources."""
    brackets = [(False, False)]
    begins = False
    for index, piece in enumerate(pieces):
        word = piece.word
        no_query, listed = brackets[-1]
        if begins and piece.text == "[":  # JOIN [shuffle] t
            begins = False
            brackets.append((True, True))
            continue
        if begins and word == "LATERAL":
            continue
        if begins and word in ("SELECT", "WITH", "VALUES"):
            brackets[-1] = (no_query, False)
        elif begins and piece.text != "(":
            yield index
        if piece.text in ("(", "[", "{"):
            brackets.append((pieces[index - 1].word in _WITH_FROM, begins and piece.text == "("))
            begins = begins and piece.text == "("
            continue
        begins = False
        if piece.text in (")", "]", "}"):
            closed = brackets.pop()
            begins = piece.text == "]" and closed == (True, True)
        elif word == "JOIN" or (word == "FROM" and not no_query):
            brackets[-1] = (no_query, True)
            begins = True
        elif word == "VIEW" and pieces[index - 1].word == "LATERAL":
            brackets[-1] = (no_query, False)  # what follows are names of columns
        elif word in _ENDS_FROM:
            brackets[-1] = (no_query, False)
        elif word == "," and listed:
            begins = True


class Words:
    """The table of words: `known` are all of it, `reserved` those that are names to no version."""

    def __init__(self) -> None:
        text = files("doris_mcp_server.doris.guard").joinpath("words.tsv").read_text(encoding="ascii")
        self.rows = [
            (word, kind, versions.split(",")) for word, kind, versions in map(str.split, text.splitlines()[1:])
        ]
        self.known = frozenset(word for word, _, _ in self.rows)
        self.always = frozenset(word for word, kind, versions in self.rows if (kind, len(versions)) == ("reserved", 4))


WORDS: Final = Words()
