"""Statements by the hundred thousand for the guard, made of the corpora: what it sends is held against `sent_rules`.

    python -m tests.server.doris.fuzz --statements 100000 --seed 1

makes so many for each version (`--version 3.0` for one of them), prints how many were sent, each statement with which
something is wrong, and ends with 1 if there was any. The same seed makes the same statements.
"""

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from doris_mcp_server.doris import guard
from doris_mcp_server.doris.guard.dialect import WORDS, dialect_of
from doris_mcp_server.doris.guard.lexer import tokens
from doris_mcp_server.errors import StatementRefused

from .sent_rules import POLICIES, VERSIONS, broken, judged
from .statements import illegal, texts

LONGEST: Final = 1_500
PATIENCE: Final = 60.0  # seconds a statement may take, on whatever machine
GAPS: Final = (
    (" ",),
    (" ", "", "\n"),
    (" ", " ", "\n", "\t", "\r\n", "  ", "/* c */", "-- c\n", " # c\n", "/**/", " /* 'x */ "),
    (*[" "] * 30, "/*+ ORDERED */", "/* ; */", "-- \u00e9 `\n", "/* /*+ */", ""),
)  # one of them for a whole statement
ODD_GAPS: Final = (
    "/*", "*/", "--", "--\n", "#\n", "/* /* */", "/*! x */", "/*!50000 */", "/*+ SET_VAR(a=1) */", "/*+ */",
    "/* + x */", "--+ x\n", "-- \\\n", "-- \r", "#;\n", "\r", "\f", "\v", "\0", "\u00a0", "\u2028", "\u3000",
    "\u200b", "\ufeff", "\x1c", "/*+ leading(a, b) */", "/*+ USE_MV(`a`) */", "/*+ NO_USE_MV */", "/*/", "-- c", "; ",
    ";", "/*;*/",
)  # fmt: skip
ODD_NAMES: Final = (
    "größe", "表", "имя", "ﬁ", "ſelect", "\u212aey", "L\u0131MIT", "\u0130n", "😀", "a\u0301", "ß", "a$b", "$", "_",
    "0x1F", "1e", "1a", "9t", "dualx", "DUALFROM", "x", "r", "X", "R", "`a``b`", "`ſelect`", "`a;b`", "`--`", "`/*`",
    "``", "`\\`", "` `", "`\n`", "`😀`", "@@x", "@x", "__doris_a", "secret",
)  # fmt: skip
ODD_TEXTS: Final = (
    "''", "'a'", '"a"', "'it''s'", "'\\''", "'\\\\'", "'\\", "'a\nb'", "';'", "'--'", "'/*'", "'*/'", "'😀'", '"\\""',
    "'", '"', "`", "r'\\d'", "r'\\'", 'R"a"', "r''", "x'1F'", "X'zz'", "x''", "x'1'", "x\"1f\"", "N'a'", "_utf8'a'",
    "'a' 'b'", "''''", "'\\'; DROP TABLE t -- '", "'\u2028'", "'`'", "\"'\"",
)  # fmt: skip
ODD_NUMBERS: Final = (
    "1", "1.", ".5", "1.5", "1e3", "1.e", "1e", "1..2", "00", "1.5e-3", "1E+5", "0x1", "1_0", "99999999999999999999",
)  # fmt: skip
PHRASES: Final = (
    "SELECT", "FROM secret", ", secret", "JOIN secret", "(SELECT * FROM secret)", "FROM", "UNION", "AS", "FROM dual",
    "dual", "VALUES", "(1)", "LATERAL VIEW explode(a) s AS b, secret", "TABLESAMPLE(1 ROWS)", "PARTITION (p)",
    "@branch(b)", "INDEX i", "WITH", "RECURSIVE", "OVER (PARTITION BY a)", "OVER w", "INTERVAL 1 DAY", "KEY k",
    "EXTRACT(YEAR FROM a)", "CASE WHEN a THEN b END", "CAST(a AS INT)", "IS NULL", "NOT", "EXISTS", "IN", "LIKE",
    "QUALIFY", "ESCAPE", "MATCH_ANY", "SEPARATOR", "XOR", "DIV", "MOD", "FOR VERSION AS OF 1", "USING (a)",
    "ON a = b", "(", ")", ",", ".", "[", "]", "{", "}", "->", "->>", "||", "&&", "<<", ">>", "==", "!>", "!<", "<=>",
    "!", "~", "^", "%", "@", "@@", ":", ":=", "?", "\\", "*", "/", "-", "+", "=", "INTO OUTFILE 'x'", "{% x %}",
    "{{ x }}", "[shuffle]", "FOR UPDATE", "WINDOW w AS ()", "[skew]", "ASOF JOIN",
)  # fmt: skip


class Maker:
    """Makes statements, the same from the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        found = [sql for sql in texts() + [row.sql for row in illegal()] if len(sql) < LONGEST]
        self._base = _cut(found)
        self._legal = _cut([sql for sql in found if judged(sql, POLICIES["unknown"])])
        counted = Counter(text for pieces in self._base for text in pieces)
        self._common = [text for text, _ in counted.most_common(500)]
        self._words = sorted(WORDS)
        self._pools: list[Callable[[], str]] = [
            *[self._one_of(PHRASES)] * 4,
            *[self._one_of(self._common)] * 4,
            *[self._word] * 3,
            *map(self._one_of, (ODD_NAMES, ODD_TEXTS, ODD_NUMBERS, ODD_GAPS)),
        ]

    def statement(self) -> str:
        pick = self._random.choice
        pieces = list(pick(self._legal if self._random.random() < 0.8 else self._base))
        if self._random.random() < 0.3:
            self._rename(pieces)
        for _ in range(pick((0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 5))):
            pick((self._insert, self._insert, self._replace, self._delete, self._swap, self._graft))(pieces)
        gaps = pick((GAPS[0], *GAPS))
        return "".join(text + self._gap(text, gaps) for text in pieces)

    def _gap(self, text: str, gaps: tuple[str, ...]) -> str:
        gap = self._random.choice(gaps)
        return gap if gap or self._random.random() < 0.05 or not (text[-1:].isalnum() or text[-1:] == "_") else " "

    def _one_of(self, choices: "tuple[str, ...] | list[str]") -> Callable[[], str]:
        return lambda: self._random.choice(choices)

    def _word(self) -> str:
        word = self._random.choice(self._words)
        return self._random.choice((word, word.lower(), word.title()))

    def _odd(self) -> str:
        return self._random.choice(self._pools)()

    def _place(self, pieces: list[str]) -> int:
        return self._random.randrange(len(pieces))

    def _insert(self, pieces: list[str]) -> None:
        pieces.insert(self._random.randrange(len(pieces) + 1), self._odd())

    def _replace(self, pieces: list[str]) -> None:
        pieces[self._place(pieces)] = self._odd()

    def _delete(self, pieces: list[str]) -> None:
        if len(pieces) > 1:
            del pieces[self._place(pieces)]

    def _swap(self, pieces: list[str]) -> None:
        one, other = self._place(pieces), self._place(pieces)
        pieces[one], pieces[other] = pieces[other], pieces[one]

    def _graft(self, pieces: list[str]) -> None:
        """A part of another statement."""
        other = self._random.choice(self._base)
        start, place = self._place(other), self._random.randrange(len(pieces) + 1)
        pieces[place:place] = other[start : start + self._random.randrange(1, 9)]

    def _rename(self, pieces: list[str]) -> None:
        """Another name wherever one stands: a word of the table, or an odd one."""
        old = self._random.choice(pieces)
        if old.isidentifier() and old.upper() not in WORDS:
            new = self._random.choice((self._word, self._one_of(ODD_NAMES)))()
            pieces[:] = [new if text == old else text for text in pieces]


def _cut(texts: list[str]) -> list[list[str]]:
    found = []
    for sql in texts:
        try:
            pieces = [token.text for token in tokens(sql, dialect_of((2, 1, 8)))]
        except StatementRefused:
            pieces = sql.split(" ")
        if pieces:
            found.append(pieces)
    return found


def tried(version: str, statements: int, seed: int) -> Iterator[tuple[str, bool, str]]:
    """Each statement, whether it is sent to this version, and what is wrong with that."""
    maker = Maker(seed)
    for _ in range(statements):
        sql = maker.statement()
        yield (sql, *broken(sql, version))


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz what the guard sends.")
    parser.add_argument("--statements", type=int, default=100_000, help="for each version")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--version", choices=list(VERSIONS), action="append")
    asked = parser.parse_args()
    guard.MAX_SECONDS = PATIENCE  # type: ignore[misc]  # the machine may be slow
    wrong = 0
    for version in asked.version or VERSIONS:
        sent = 0
        for sql, is_sent, reason in tried(version, asked.statements, asked.seed):
            sent += is_sent
            if reason:
                wrong += 1
                print(f"{version}: {reason}\n    {sql!r}", flush=True)
        print(f"{version}: {asked.statements:,} statements, {sent:,} sent, {wrong:,} wrong so far", flush=True)
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
