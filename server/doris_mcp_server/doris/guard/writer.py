"""The statement that is sent: rewritten from the tokens that were judged.

Between two tokens stands one blank, or nothing where the caller wrote nothing and no lexer could join them. Comments
are left out, names that could be taken for more stand in backquotes, strings are as they were, to the byte. Doris calls
a column without an alias by the text of its expression: where that text changes, the column gets an alias of that name.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from typing import Final

from doris_mcp_server.doris.guard.dialect import WORDS, Dialect
from doris_mcp_server.doris.guard.lexer import MAX_NAME, Token, place
from doris_mcp_server.doris.guard.reading import Reading, Role, Shape

_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Signs that no lexer joins with what stands beside them.
_ALONE: Final = frozenset("(),[].{}")
_JOINED: Final = frozenset({(">", ">"), ("<", "<")})
LONGEST_ALIAS: Final = MAX_NAME // 2  # so that it stays a name with all its backquotes doubled
_PLACE: Final = re.compile(r"(\bline )(\d{1,9})(, ?pos(?:ition)?:? ?)(\d{1,9})\b")


class Sent:
    """The text to be sent. `starts` has, for each token, where it begins there and where in the caller's text."""

    def __init__(self, sql: str, text: str, starts: list[tuple[int, int]]) -> None:
        self.text = text
        self._sql = sql
        self._starts = starts

    def in_words_of_caller(self, words: str, before: int = 0) -> str:
        """What Doris says of the text, with the places (line from 1, position from 0) where the caller has them.

        `before`: characters that were sent in front of it.
        """
        return _PLACE.sub(partial(self._moved, before), words)

    def _moved(self, before: int, found: re.Match[str]) -> str:
        lines = self.text.split("\n")
        line, position = int(found[2]), int(found[4])
        if not 1 <= line <= len(lines):
            return found[0]
        offset = sum(len(earlier) + 1 for earlier in lines[: line - 1]) + position - (before if line == 1 else 0)
        index = bisect_right(self._starts, (offset, len(self._sql))) - 1
        at = place(self._sql, self._starts[max(index, 0)][1])
        return f"{found[1]}{at.line}{found[3]}{at.column - 1}"


def is_placed(words: str) -> bool:
    """Whether an error of Doris names a place."""
    return _PLACE.search(words) is not None


def written(sql: str, tokens: Sequence[Token], reading: Reading, dialect: Dialect) -> Sent:
    """The text to be sent for the tokens of `sql`, which `reading` is the account of."""
    unnamed = _unnamed(reading) if dialect.names_are_text else {}
    pieces: list[str] = []
    starts: list[tuple[int, int]] = []
    size = 0
    before: Token | None = None
    alias = ""
    for index, token in enumerate(tokens):
        text = _text(token, role, before) if (role := reading.roles[index]) else token.text
        if before is not None and (alias or token.start != before.end or not _may_touch(before, token)):
            text = f" {text}"
        starts.append((size, token.start))
        pieces.append(text)
        alias = ""
        if index + 1 in unnamed:
            first = unnamed[index + 1]
            alias = _alias("".join(pieces[first:]).lstrip(" "), sql[tokens[first].start : token.end])
            pieces[-1] += alias
        size += len(pieces[-1])
        before = token
    return Sent(sql, "".join(pieces), starts)


def _unnamed(reading: Reading) -> dict[int, int]:
    """The items whose column name is their text: index after the last token → index of the first."""
    items = (item for select in reading.selects for item in select.items)
    return {
        item.end: item.start
        for item in items
        if item.shape in (Shape.OTHER, Shape.LITERAL) and not item.has_alias and item.end - item.start > 1
    }


def _alias(sent: str, of_caller: str) -> str:
    if sent == of_caller or len(of_caller) > LONGEST_ALIAS:
        return ""
    doubled = of_caller.replace("`", "``")
    return f" AS `{doubled}`"


def _text(token: Token, role: int, before: Token | None) -> str:
    if token.kind != "word":
        return token.text
    plain = _PLAIN_NAME.fullmatch(token.text) is not None
    if role == Role.FUNCTION:
        return token.text if plain else f"`{token.text}`"
    dual = token.word.startswith("DUAL") and before is not None and before.word == "FROM"
    return f"`{token.text}`" if dual or not plain or token.word in WORDS else token.text


def _may_touch(before: Token, token: Token) -> bool:
    signs = (before.kind == "sign") + (token.kind == "sign")
    if signs == 1:
        return True
    return signs == 2 and (before.text in _ALONE or token.text in _ALONE or (before.text, token.text) in _JOINED)
