"""A statement cut into tokens the way Doris cuts it, and refused wherever two readers could cut it differently.

Outside of quotes and comments stand words, numbers, signs, and blanks of four kinds; nothing else. Comments end here:
they are not sent. Source: DorisLexer.g4 of the frontend (branches 2.1, 3.0, 4.0 and master). No step here works on the
text for long without letting other threads run: quoted texts are read in pieces, the rest is short matches.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from doris_mcp_server.doris.guard import hints
from doris_mcp_server.doris.guard.dialect import Dialect
from doris_mcp_server.errors import Place, StatementRefused

MAX_BYTES: Final = 1 << 20
MAX_TOKENS: Final = 25_000  # comments are counted, too
MAX_CODE: Final = 1 << 17  # characters outside strings and comments
MAX_NAME: Final = 1_024  # Doris' own names end at 256; a number or an alias may be longer

_GRAMMAR = r"""
    (?P<blank>[ \t\r\n]+)
  | (?P<comment>/\*)
  | (?P<line>--[^\n]*|\#[^\n]*)
  | (?P<number>(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?(?![\w$.\u0080-\U0010ffff]))
  | (?P<prefixed>[rRxX](?=['"]))
  | (?P<quote>['"`])
  | (?P<end>;)
  | (?P<assign>:=)
  | (?P<template>\{[\#%{])
  | (?P<word>[\w$\u0080-\U0010ffff]+)
  | (?P<sign><=>|<=|<>|<|>=|>|!=|!>|!<|!|==|=|&&|&|\|\||\||->>|->|-|@@|@|[+*/%^~()\[\]{},.:])
  | (?P<odd>.)
"""
_TOKEN = re.compile(_GRAMMAR, re.ASCII | re.DOTALL | re.VERBOSE)
# What may follow the opening quote, up to the closing one, in pieces of a thousand escapes.
_DOUBLED = r"[^{0}]*(?:{0}{0}[^{0}]*){{0,1000}}"
_ESCAPED = r"[^{0}\\]*(?:(?:\\.|{0}{0})[^{0}\\]*){{0,1000}}"
_NAME = {"`": re.compile(_DOUBLED.format("`"))}
_STRINGS = {quote: re.compile(_ESCAPED.format(quote), re.DOTALL) for quote in "'\""} | _NAME
_STRINGS_WITHOUT_ESCAPES = {quote: re.compile(_DOUBLED.format(quote)) for quote in "'\""} | _NAME
_ESCAPED_QUOTE = re.compile(r"\\['\"]")
_ODD_BREAK = re.compile("[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_TWO_UNITS: Final = re.compile("[\U00010000-\U0010ffff]")
# Letters that become ASCII when upper and lower case are changed: what is a keyword to one reader is a name to another.
_BECOMES_ASCII: Final = frozenset("\u0130\u0131\u017f\u212a")

ONE_STATEMENT: Final = "Send one SELECT or WITH statement at a time."
PLAIN_COMMENTS: Final = "Leave the comments out and send the statement again."
SHORTER: Final = "Put long value lists into a join or a subquery."
IN_QUOTES: Final = "Outside of quotes there may be letters, digits, signs of SQL, blanks, tabs and line breaks only."


class Token(NamedTuple):
    """`kind` is word, name (`a`), string, raw (r'..'), hex (x'..'), number, sign or hint.

    `text` stands at `start` of the statement, and `end` is behind it; a hint's text is the one to be sent. `word` is
    what a grammar compares: a word of ASCII letters in upper case, a sign, or one sign for all tokens of a kind.
    """

    kind: str
    text: str
    start: int
    end: int
    word: str


NAME, STRING, NUMBER, HINT = "`", "'", "0", "/*+"
_WORD_OF_KIND: Final = {"name": NAME, "string": STRING, "raw": STRING, "hex": STRING, "number": NUMBER, "hint": HINT}


def tokens(sql: str, dialect: Dialect) -> list[Token]:
    """The tokens of the one statement in `sql`, without comments and the closing `;`. StatementRefused."""
    _check_text(sql)
    found: list[Token] = []
    two_units = _TWO_UNITS.search(sql)
    code = 0
    ended = False
    for kind, start, end in _cut(sql, _STRINGS):
        if kind in ("comment", "line"):
            if _check_comment(sql, kind, start, end) and found and found[-1].word in ("SELECT", HINT):
                found.append(_hint(sql, start, end, two_units))
        elif ended:
            words = "There is more than one statement" if kind == "end" else "There is text after the closing `;`"
            raise StatementRefused(words, hint=ONE_STATEMENT, at=place(sql, start))
        elif kind == "end":
            ended = True
        else:
            token = _token(sql, kind, start, end, dialect)
            found += token
            code += 0 if token[0].word == STRING else end - start
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
    match = _TOKEN.match
    while position < size:
        found = match(sql, position)
        assert found is not None  # `odd` takes whatever nothing else takes
        kind, start, position = found.lastgroup or "odd", position, found.end()
        if kind == "blank":
            continue
        if kind in ("quote", "prefixed"):
            opening = position - 1 if kind == "quote" else position
            raw = kind == "prefixed" and sql[start] in "rR"
            position = _end_of_raw(sql, opening) if raw else _end_of_quoted(sql, opening, quoted[sql[opening]])
            kind = "name" if sql[start] == "`" else "string" if kind == "quote" else "raw" if raw else "hex"
        elif kind == "comment":
            position = sql.find("*/", start + 2) + 2
        if position <= start + 1 and kind in ("name", "string", "raw", "hex", "comment"):
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


def _end_of_raw(sql: str, start: int) -> int:
    return sql.find(sql[start], start + 1) + 1


def _token(sql: str, kind: str, start: int, end: int, dialect: Dialect) -> list[Token]:
    text = sql[start:end]
    if kind == "word":
        return [Token(kind, text, start, end, _checked_word(sql, text, start, end))]
    if kind == "sign":
        return [Token(kind, text, start, end, text)]
    if kind in _WORD_OF_KIND:
        if len(text) > MAX_NAME and kind in ("name", "number"):
            raise _too_long(sql, start)
        if kind == "raw":
            return _raw(sql, text, start, end, dialect)
        if kind == "hex" and (dialect.hex_strings is False or not re.fullmatch(r"[0-9a-fA-F]*", text[2:-1])):
            return _word_and_string(text, start, end)
        return [Token(kind, text, start, end, _WORD_OF_KIND[kind])]
    if kind == "open":
        words, hint = f"A comment or quote ({text}) is not closed", "Close it, or double it."
    elif kind == "template":
        words, hint = f"Template braces ({text}) are not SQL", "Fill the template in first."
    elif kind == "assign":
        words, hint = "Variables cannot be assigned (:=)", "Use a CTE or a window function."
    elif text == "?":
        words, hint = "There are no values for placeholders (?)", "Write the values into the statement."
    else:
        raise _odd(sql, start)
    raise StatementRefused(words, hint=hint, at=place(sql, start))


def _checked_word(sql: str, text: str, start: int, end: int) -> str:
    if len(text) > MAX_NAME:
        raise _too_long(sql, start)
    if not text.isascii():
        for index, letter in enumerate(text, start):
            if letter > "\x7f" and (letter in _BECOMES_ASCII or unicodedata.category(letter)[0] not in "LMN"):
                raise _odd(sql, index)
        return NAME  # Doris has no keyword with such a letter
    if text.isdigit() and sql[end : end + 1] == ".":
        # `1.FROM t`: a number and a word to one reader, a name with a qualifier to another.
        words, hint = f"The end of the number {text[:40]} is not clear", "Put a blank behind it, or `0` behind the dot."
        raise StatementRefused(words, hint=hint, at=place(sql, start))
    return text.upper()


def _too_long(sql: str, start: int) -> StatementRefused:
    words = f"A name or number is longer than {MAX_NAME:,} characters"
    return StatementRefused(words, hint="Shorten it.", at=place(sql, start))


def _odd(sql: str, start: int) -> StatementRefused:
    letter = sql[start]
    code = f"U+{ord(letter):04X}"
    shown = f"{letter} ({code})" if letter.isprintable() and not letter.isspace() else code
    hint = f"{IN_QUOTES} A name with other characters stands in backquotes."
    return StatementRefused(f"The character {shown} has no place outside of quotes", hint=hint, at=place(sql, start))


def _raw(sql: str, text: str, start: int, end: int, dialect: Dialect) -> list[Token]:
    """Doris 2.1 and 3.0 have raw strings; to later ones the letter is a name, and an ordinary string follows it."""
    if text[-2] == "\\" or sql[end : end + 1] == text[1]:
        words, hint = "The end of a raw string (r'..') is not clear", "Write it as an ordinary string, \\ doubled."
        raise StatementRefused(words, hint=hint, at=place(sql, start))
    if dialect.raw_strings is False:
        return _word_and_string(text, start, end)
    return [Token("raw", text, start, end, STRING)]


def _word_and_string(text: str, start: int, end: int) -> list[Token]:
    return [
        Token("word", text[0], start, start + 1, text[0].upper()),
        Token("string", text[1:], start + 1, end, STRING),
    ]


def _hint(sql: str, start: int, end: int, two_units: re.Match[str] | None) -> Token:
    # Doris finds a hint by counting UTF-16 units where its lexer counts characters: behind one that takes two units it
    # would take the text before the hint for the hint.
    if two_units is not None and two_units.start() < start:
        words, hint = "A hint behind a character above U+FFFF is not read as it stands", "Leave the hint out."
        raise StatementRefused(words, hint=hint, at=place(sql, start))
    return Token("hint", hints.canonical(sql[start:end]), start, end, HINT)


def _check_text(sql: str) -> None:
    if len(sql) > MAX_BYTES:
        raise StatementRefused("The statement is longer than 1 MiB", hint="Send a shorter one.")
    try:
        size = len(sql) if sql.isascii() else len(sql.encode())
    except UnicodeEncodeError as error:
        words = "The statement is not valid Unicode"
        raise StatementRefused(words, hint="Send it as UTF-8 text.", at=place(sql, error.start)) from None
    if size > MAX_BYTES:
        raise StatementRefused("The statement is longer than 1 MiB", hint="Send a shorter one.")
    if "\0" in sql:
        raise StatementRefused("The statement holds a NUL byte", hint="Leave it out.", at=place(sql, sql.index("\0")))


def _check_comment(sql: str, kind: str, start: int, end: int) -> bool:
    """Whether it is a hint. StatementRefused for what is more than a comment, or not clearly one."""
    text = sql[start:end]
    wrong = _wrong_with_line_comment(text) if kind == "line" else _wrong_with_block_comment(text)
    if wrong:
        hint = "Leave the hint out." if text.startswith("/*+") else PLAIN_COMMENTS
        raise StatementRefused(wrong, hint=hint, at=place(sql, start))
    return text.startswith("/*+")


def _wrong_with_block_comment(text: str) -> str | None:
    if text.startswith("/*!"):
        return "Executable comments (/*! */) are not allowed"
    if text.startswith("/*+"):
        return None if hints.is_allowed(text) else f"Of optimizer hints only {hints.ALLOWED} are allowed"
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
