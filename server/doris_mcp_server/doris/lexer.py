"""A statement cut into tokens the way Doris cuts it, and refused wherever two readers could cut it differently.

sqlglot's tokenizer is not Doris': raw strings, nested comments, comment continuation and template braces can hide
a second statement from it. Source: DorisLexer.g4 of the frontend (branches 3.0 and master).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from doris_mcp_server.errors import StatementRefused

MAX_BYTES: Final = 1 << 20
MAX_TOKENS: Final = 25_000  # 20,000 chained ORs cost sqlglot more than a second

_QUOTED = r"""'[^'\\]*(?:(?:\\.|'')[^'\\]*)*'|"[^"\\]*(?:(?:\\.|"")[^"\\]*)*\""""
_QUOTED_WITHOUT_ESCAPES = r"""'(?:[^']|'')*'|"(?:[^"]|"")*\""""
_GRAMMAR = r"""
    (?P<block>/\*.*?\*/) | (?P<open>/\*)
  | (?P<line>--[^\n]*|\#[^\n]*)
  | (?P<raw>(?<![\w$@`'"\u0080-\U0010ffff])[rR](?:'[^']*'|"[^"]*"))
  | (?P<string>%s)
  | (?P<name>`(?:[^`]|``)*`)
  | (?P<quote>['"`])
  | (?P<end>;)
  | (?P<assign>:=)
  | (?P<template>\{[\#%%{])
  | (?P<word>[\w$@\u0080-\U0010ffff]+)
  | (?P<other>\S)
"""
# ASCII classes on purpose: an odd blank (U+00A0, U+200B, U+2028) is text to Doris, so it is text here.
_FLAGS = re.ASCII | re.DOTALL | re.VERBOSE
_TOKEN = re.compile(_GRAMMAR % _QUOTED, _FLAGS)
_TOKEN_WITHOUT_ESCAPES = re.compile(_GRAMMAR % _QUOTED_WITHOUT_ESCAPES, _FLAGS)
_ESCAPED_QUOTE = re.compile(r"\\['\"]")
_ODD_BREAK = re.compile("[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_HINT_PART = r"(?:LEADING\s*\([\w\s.`{}\[\],]*\)|ORDERED|BROADCAST|SHUFFLE)"
_HARMLESS_HINT = re.compile(rf"/\*\+\s*{_HINT_PART}(?:[\s,]+{_HINT_PART})*\s*\*/", re.IGNORECASE | re.ASCII)

ONE_STATEMENT: Final = "Send one SELECT or WITH statement at a time."
PLAIN_COMMENTS: Final = "Leave the comments out and send the statement again."


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` is a group name of the grammar; `text` stands at `start` of the statement."""

    kind: str
    text: str
    start: int


def tokens(sql: str) -> list[Token]:
    """The tokens of the one statement in `sql`, without comments, hints and the closing `;`. StatementRefused."""
    _check_text(sql)
    found: list[Token] = []
    ended = False
    for token in _cut(sql, _TOKEN):
        if token.kind == "end":
            if ended:
                raise StatementRefused("There is more than one statement", hint=ONE_STATEMENT)
            ended = True
        elif ended:
            raise StatementRefused("There is text after the closing `;`", hint=ONE_STATEMENT)
        else:
            found.append(token)
            if len(found) > MAX_TOKENS:
                words = f"The statement has more than {MAX_TOKENS:,} tokens"
                raise StatementRefused(words, hint="Put long value lists into a join or a subquery.")
    if not found:
        raise StatementRefused("There is no statement", hint=ONE_STATEMENT)
    if _ESCAPED_QUOTE.search(sql):
        _check_without_escapes(sql)
    return found


def for_parser(sql: str, found: list[Token]) -> str:
    """`sql` with the `r` of raw strings blanked: sqlglot does not know them, and would read an alias."""
    for token in found:
        if token.kind == "raw":
            sql = f"{sql[: token.start]} {sql[token.start + 1 :]}"
    return sql


def _cut(sql: str, grammar: re.Pattern[str]) -> Iterator[Token]:
    for match in grammar.finditer(sql):
        kind, text = match.lastgroup or "other", match.group()
        if kind == "block":
            _check_block_comment(text)
        elif kind == "line":
            _check_line_comment(text)
        elif kind in ("open", "quote"):
            raise StatementRefused(f"A comment or quote ({text}) is not closed", hint="Close it, or double it.")
        elif kind == "template":
            raise StatementRefused(f"Template braces ({text}) are not SQL", hint="Fill the template in first.")
        else:
            if kind == "raw":
                _check_raw_string(sql, match)
            yield Token(kind, text, match.start())


def _check_text(sql: str) -> None:
    if len(sql) > MAX_BYTES:
        raise StatementRefused("The statement is longer than 1 MiB", hint="Send a shorter one.")
    try:
        size = len(sql.encode())
    except UnicodeEncodeError:
        raise StatementRefused("The statement is not valid Unicode", hint="Send it as UTF-8 text.") from None
    if size > MAX_BYTES:
        raise StatementRefused("The statement is longer than 1 MiB", hint="Send a shorter one.")
    if "\0" in sql:
        raise StatementRefused("The statement holds a NUL byte", hint="Leave it out.")


def _check_block_comment(text: str) -> None:
    if text.startswith("/*!"):
        raise StatementRefused("Executable comments (/*! */) are not allowed", hint=PLAIN_COMMENTS)
    if text.startswith("/*+"):
        if not _HARMLESS_HINT.fullmatch(text):
            words = "Of optimizer hints only LEADING, ORDERED, BROADCAST and SHUFFLE are allowed"
            raise StatementRefused(words, hint="Leave the hint out; limits are arguments of the tool.")
    elif "/*" in text[2:]:
        raise StatementRefused("Nested comments are not allowed", hint=PLAIN_COMMENTS)


def _check_line_comment(text: str) -> None:
    body = text.removesuffix("\r")
    # Doris goes on with the comment after a backslash; it ends one at \r; other readers at other breaks; and it
    # knows no # comments, so what stands in one must be harmless if read as code.
    if body.endswith("\\") or _ODD_BREAK.search(body) or (body.startswith("#") and ";" in body):
        raise StatementRefused("The end of a line comment is not clear", hint=PLAIN_COMMENTS)


def _check_raw_string(sql: str, match: re.Match[str]) -> None:
    """Doris 2.1 reads r'..' as a name and an ordinary string: both readings must end at the same quote."""
    quote = match.group()[1]
    if match.group()[-2] == "\\" or sql[match.end() : match.end() + 1] == quote:
        hint = "Write it as an ordinary string with doubled backslashes."
        raise StatementRefused("The end of a raw string (r'..') is not clear", hint=hint)


def _check_without_escapes(sql: str) -> None:
    """With sql_mode NO_BACKSLASH_ESCAPES a string ends earlier: no second statement may come to light then."""
    ended = False
    for match in _TOKEN_WITHOUT_ESCAPES.finditer(sql):
        if ended and match.lastgroup not in ("block", "line"):
            hint = "Double the quote ('') instead of escaping it with a backslash."
            raise StatementRefused("A string with \\' and `;` can be read in two ways", hint=hint)
        ended = ended or match.lastgroup == "end"
