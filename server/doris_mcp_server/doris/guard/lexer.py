"""A statement cut into tokens the way Doris cuts it, and refused wherever two readers could cut it differently.

sqlglot's tokenizer is not Doris': raw strings, nested comments, comment continuation and template braces can hide
a second statement from it. Source: DorisLexer.g4 of the frontend (branches 3.0 and master). No step here works on
the text for long without letting other threads run: quoted texts are read in pieces, the rest is short matches.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from doris_mcp_server.errors import Place, StatementRefused

MAX_BYTES: Final = 1 << 20
MAX_TOKENS: Final = 25_000  # comments are counted, too; 20,000 chained ORs cost sqlglot more than a second
MAX_CODE: Final = 1 << 17  # characters outside strings and comments
MAX_WORD: Final = 1_024  # Doris' own names end at 256; a number or an alias may be longer
MAX_HINT: Final = 2_048
SHOWN_STRING: Final = 256

_GRAMMAR = r"""
    (?P<blank>\s+)
  | (?P<comment>/\*)
  | (?P<line>--[^\n]*|\#[^\n]*)
  | (?P<raw>(?<![\w$@`'"\u0080-\U0010ffff])[rR](?:'[^']*'|"[^"]*"))
  | (?P<quote>['"`])
  | (?P<end>;)
  | (?P<assign>:=)
  | (?P<template>\{[\#%{])
  | (?P<word>[\w$@\u0080-\U0010ffff]+)
  | (?P<other>.)
"""
# ASCII classes on purpose: an odd blank (U+00A0, U+200B, U+2028) is text to Doris, so it is text here.
_TOKEN = re.compile(_GRAMMAR, re.ASCII | re.DOTALL | re.VERBOSE)
# What may follow the opening quote, up to the closing one, in pieces of a thousand escapes.
_DOUBLED = r"[^{0}]*(?:{0}{0}[^{0}]*){{0,1000}}"
_ESCAPED = r"[^{0}\\]*(?:(?:\\.|{0}{0})[^{0}\\]*){{0,1000}}"
_NAME = {"`": re.compile(_DOUBLED.format("`"))}
_STRINGS = {quote: re.compile(_ESCAPED.format(quote), re.DOTALL) for quote in "'\""} | _NAME
_STRINGS_WITHOUT_ESCAPES = {quote: re.compile(_DOUBLED.format(quote)) for quote in "'\""} | _NAME
_TEXTS = ("string", "raw")
_ESCAPED_QUOTE = re.compile(r"\\['\"]")
_ODD_BREAK = re.compile("[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_NAMES = r"\((?:[\w\s.{}\[\],]|`[^`()=]*`)*\)"
_HINT_PART = rf"(?:LEADING\s*{_NAMES}|(?:NO_)?USE_MV(?:\s*{_NAMES})?|ORDERED|BROADCAST|SHUFFLE)"
_HARMLESS_HINT = re.compile(rf"/\*\+\s*{_HINT_PART}(?:[\s,]+{_HINT_PART})*\s*\*/", re.IGNORECASE | re.ASCII)

ONE_STATEMENT: Final = "Send one SELECT or WITH statement at a time."
PLAIN_COMMENTS: Final = "Leave the comments out and send the statement again."
SHORTER: Final = "Put long value lists into a join or a subquery."


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` is word, name (`a`), string, raw (r'..'), assign or other; `text` stands at `start` of the statement."""

    kind: str
    text: str
    start: int


class Code:
    """Tokens as one text for the parser: no comments, one blank where the statement has any, long strings cut.

    What the lexer took for a comment the parser never sees, so they cannot disagree about it. `selects` is how many
    times it reads SELECT.
    """

    def __init__(self, sql: str, found: list[Token]) -> None:
        self._sql = sql
        self.tokens = found
        self._starts: list[int] = []
        pieces: list[str] = []
        size, end = 0, found[0].start
        for token in found:
            text = _for_parser(token)
            if token.start != end:
                text = f" {text}"
            self._starts.append(size)
            pieces.append(text)
            size += len(text)
            end = token.start + len(token.text)
        self.text = "".join(pieces)
        self.selects = sum(token.kind == "word" and token.text.upper() == "SELECT" for token in found)

    def place_of(self, token: Token) -> Place:
        """Where in the statement a token begins."""
        return place(self._sql, token.start)

    def place(self, offset: int) -> Place:
        """Where in the statement the token at `offset` of `text` begins."""
        return place(self._sql, self.tokens[max(bisect_right(self._starts, offset) - 1, 0)].start)


def tokens(sql: str) -> list[Token]:
    """The tokens of the one statement in `sql`, without comments, hints and the closing `;`. StatementRefused."""
    _check_text(sql)
    found: list[Token] = []
    code = 0
    ended = False
    for kind, start, end in _cut(sql, _STRINGS):
        if kind in ("comment", "line"):
            _check_comment(sql, kind, start, end)
        elif ended:
            words = "There is more than one statement" if kind == "end" else "There is text after the closing `;`"
            raise StatementRefused(words, hint=ONE_STATEMENT, at=place(sql, start))
        elif kind == "end":
            ended = True
        else:
            found.append(_token(sql, kind, start, end))
            code += 0 if kind in _TEXTS else end - start
            if code > MAX_CODE:
                words = f"The statement has more than {MAX_CODE:,} characters besides strings and comments"
                raise StatementRefused(words, hint=SHORTER, at=place(sql, start))
    if not found:
        raise StatementRefused("There is no statement", hint=ONE_STATEMENT)
    if _ESCAPED_QUOTE.search(sql):
        _check_without_escapes(sql)
    return found


def place(sql: str, start: int) -> Place:
    """Line and column of the character at `start`."""
    return Place(sql.count("\n", 0, start) + 1, start - sql.rfind("\n", 0, start))


def _cut(sql: str, quoted: Mapping[str, re.Pattern[str]]) -> Iterator[tuple[str, int, int]]:
    """Kind, start and end of whatever is not blank. A comment or quote that is not closed: `open`, one character."""
    position, size, count = 0, len(sql), 0
    while position < size:
        match = _TOKEN.match(sql, position)
        assert match is not None  # `other` takes whatever nothing else takes
        kind, start, position = match.lastgroup or "other", position, match.end()
        if kind == "blank":
            continue
        if kind == "quote":
            position = _end_of_quoted(sql, start, quoted[sql[start]])
            kind = "name" if sql[start] == "`" else "string"
        elif kind == "comment":
            position = sql.find("*/", start + 2) + 2
        if position <= start + 1 and kind in ("name", "string", "comment"):
            kind, position = "open", start + 1
        count += 1
        if count > MAX_TOKENS:
            words = f"The statement has more than {MAX_TOKENS:,} tokens"
            raise StatementRefused(words, hint=SHORTER, at=place(sql, start))
        yield kind, start, position


def _end_of_quoted(sql: str, start: int, inside: re.Pattern[str]) -> int:
    """Where the text quoted at `start` ends, its closing quote included; 0 if it is not closed."""
    position = start + 1
    while (match := inside.match(sql, position)) and match.end() > position:
        position = match.end()
    return position + 1 if sql[position : position + 1] == sql[start] else 0


def _token(sql: str, kind: str, start: int, end: int) -> Token:
    text = sql[start:end]
    if kind == "open":
        words, hint = f"A comment or quote ({text}) is not closed", "Close it, or double it."
    elif kind == "template":
        words, hint = f"Template braces ({text}) are not SQL", "Fill the template in first."
    elif kind == "raw" and (text[-2] == "\\" or sql[end : end + 1] == text[1]):
        # Doris 2.1 reads r'..' as a name and an ordinary string: both readings must end at the same quote.
        words, hint = "The end of a raw string (r'..') is not clear", "Write it as an ordinary string, \\ doubled."
    elif kind in ("word", "name") and len(text) > MAX_WORD:
        words, hint = f"A name or number is longer than {MAX_WORD:,} characters", "Shorten it."
    else:
        return Token(kind, text, start)
    raise StatementRefused(words, hint=hint, at=place(sql, start))


def _for_parser(token: Token) -> str:
    # sqlglot does not know raw strings, and would read an alias.
    text = f" {token.text[1:]}" if token.kind == "raw" else token.text
    # It reads strings character by character; what a long one says decides nothing.
    return "''" if token.kind in _TEXTS and len(text) > SHOWN_STRING else text


def _check_text(sql: str) -> None:
    if len(sql) > MAX_BYTES:
        raise StatementRefused("The statement is longer than 1 MiB", hint="Send a shorter one.")
    try:
        size = len(sql.encode())
    except UnicodeEncodeError as error:
        words = "The statement is not valid Unicode"
        raise StatementRefused(words, hint="Send it as UTF-8 text.", at=place(sql, error.start)) from None
    if size > MAX_BYTES:
        raise StatementRefused("The statement is longer than 1 MiB", hint="Send a shorter one.")
    if "\0" in sql:
        raise StatementRefused("The statement holds a NUL byte", hint="Leave it out.", at=place(sql, sql.index("\0")))


def _check_comment(sql: str, kind: str, start: int, end: int) -> None:
    text = sql[start:end]
    wrong = _wrong_with_line_comment(text) if kind == "line" else _wrong_with_block_comment(text)
    if wrong:
        raise StatementRefused(wrong, hint=PLAIN_COMMENTS, at=place(sql, start))


def _wrong_with_block_comment(text: str) -> str | None:
    if text.startswith("/*!"):
        return "Executable comments (/*! */) are not allowed"
    if text.startswith("/*+"):
        if len(text) <= MAX_HINT and _HARMLESS_HINT.fullmatch(text):
            return None
        return "Of optimizer hints only LEADING, ORDERED, BROADCAST, SHUFFLE, USE_MV and NO_USE_MV are allowed"
    return "Nested comments are not allowed" if "/*" in text[2:] else None


def _wrong_with_line_comment(text: str) -> str | None:
    body = text.removesuffix("\r")
    # Doris goes on with the comment after a backslash; it ends one at \r; other readers at other breaks; and it
    # knows no # comments, so what stands in one must be harmless if read as code.
    if body.endswith("\\") or _ODD_BREAK.search(body) or (body.startswith("#") and ";" in body):
        return "The end of a line comment is not clear"
    return None


def _check_without_escapes(sql: str) -> None:
    """With sql_mode NO_BACKSLASH_ESCAPES a string ends earlier: no second statement may come to light then."""
    ended = False
    for kind, start, _ in _cut(sql, _STRINGS_WITHOUT_ESCAPES):
        if ended and kind not in ("comment", "line"):
            words, hint = "A string with \\' and `;` can be read in two ways", "Double the quote ('') instead."
            raise StatementRefused(words, hint=hint, at=place(sql, start))
        ended = ended or kind == "end"
