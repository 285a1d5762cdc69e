"""Whatever is sent keeps the rules of `sent_rules`: for the corpora, and for statements made of them.

The long form, with statements by the hundred thousand, is the command of `fuzz`.
"""

import random
from dataclasses import replace

import pytest

from doris_mcp_server.doris import guard
from doris_mcp_server.doris.guard.dialect import WORDS
from doris_mcp_server.doris.guard.policy import Policy

from .fuzz import PATIENCE, Maker, tried
from .sent_reader import Piece, Unreadable, ctes, cut, tables
from .sent_rules import KEYWORDS, POLICIES, VERSIONS, broken, judged
from .statements import legal, texts

STATEMENTS = 1_500  # for each version
SEED = 20_240
# QUALIFY where a word follows begins a clause, not an alias; of the others Doris makes values wherever one may stand.
MORE_THAN_NAMES = {"DUAL", "QUALIFY"}
VALUES = {"CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "CURRENT_USER", "SESSION_USER"} | {
    "LOCALTIME",
    "LOCALTIMESTAMP",
}
WITH_UNIT = {"DATEDIFF", "TIMESTAMPDIFF", "DATEADD", "TIMESTAMPADD"}

versions = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test judges how quick this machine is."""
    monkeypatch.setattr(guard, "MAX_SECONDS", PATIENCE)


@versions
def test_what_is_sent_of_the_corpora_keeps_the_rules(version: str) -> None:
    found = {sql: broken(sql, version) for sql in texts()}
    assert {sql: reason for sql, (_, reason) in found.items() if reason} == {}
    assert sum(sent for sent, _ in found.values()) > 400


@versions
def test_what_is_sent_of_made_statements_keeps_the_rules(version: str) -> None:
    found = list(tried(version, STATEMENTS, SEED))
    assert [(sql, reason) for sql, _, reason in found if reason] == []
    assert sum(sent for _, sent, _ in found) > STATEMENTS / 5


def test_the_same_seed_makes_the_same_statements() -> None:
    one, other, another = Maker(1), Maker(1), Maker(2)
    made = [one.statement() for _ in range(50)]
    assert [other.statement() for _ in range(50)] == made
    assert [another.statement() for _ in range(50)] != made


# --- words of the table as names


def _renamed(pieces: list[Piece], old: str, new: str) -> str:
    return " ".join(new if piece.text == old else piece.text for piece in pieces)


def _names(pieces: list[Piece]) -> list[str]:
    """What stands for a name only, wherever it stands: not called, no variable, no word of a hint, and without a text
    behind it, with which DATE 'x' would be a literal; nor the first argument of what takes a unit there."""
    edge = Piece("sign", "")
    around = [edge, *pieces, edge]
    plain = {p.text for p in pieces if p.kind == "word" and p.word not in WORDS | KEYWORDS and p.text[0].isalpha()}
    units = {pieces[i + 2].text for i, piece in enumerate(pieces[:-2]) if piece.word in WITH_UNIT}
    for before, piece, after in zip(around, around[1:], around[2:], strict=False):
        if (
            piece.text in units
            or after.text == "("
            or after.kind == "text"
            or before.text in ("[", "@", "{")
            or piece.word == "X"
        ):
            plain.discard(piece.text)
    return sorted(plain)


def _without_aliases(version: str) -> Policy:
    policy = POLICIES[version]
    return replace(policy, dialect=replace(policy.dialect, names_are_text=False))


@versions
def test_a_word_of_the_table_is_a_name_where_any_other_is_one(version: str) -> None:
    """The name is replaced throughout: what is sent is the same, with the word in backquotes."""
    policy = _without_aliases(version)
    free = sorted(WORDS - policy.dialect.reserved - VALUES - MORE_THAN_NAMES)
    chance = random.Random(SEED)
    refused, other, total = [], [], 0
    for row in legal():
        verdict = judged(row.sql, policy)
        if verdict is None or any(text in row.sql for text in ("/*+", "@@", "information_schema")):
            continue  # words of hints and variables are sent as they are, and some tables are closed
        pieces = cut(verdict.sent, raw=version in ("2.1", "3.0"))
        if any(piece.word == "R" for piece in pieces):
            continue  # r'..' is one token
        for old in _names(pieces):
            word = chance.choice(free)
            new = chance.choice((word, word.lower()))
            total += 1
            again = judged(_renamed(pieces, old, new), policy)
            if again is None:
                refused.append(_renamed(pieces, old, new))
            elif again.sent != _renamed(pieces, old, f"`{new}`"):
                other.append(again.sent)
    assert other == []
    assert refused == []
    assert total > 500


# --- the reader itself


@pytest.mark.parametrize(
    "sent",
    [
        *("SELECT  1", "SELECT 1 ", " SELECT 1", "SELECT\n1", "SELECT 1;", "SELECT 1 -- a", "SELECT /* a */ 1"),
        *("SELECT ?", "SELECT größe", "SELECT \u00a0", "SELECT 'a", "SELECT `a", "SELECT 1 /*+ ORDERED */"),
        *("SELECT /*+ A  B */ 1", "SELECT /*+ SET_VAR(a=1) */ 1", "SELECT /*+ORDERED*/ 1", "SELECT a := 1"),
        *("SELECT # 1", "SELECT \\", "SELECT */ 1", "SELECT 1--1"),
    ],
)
def test_the_reader_reads_nothing_but_the_strictest_form(sent: str) -> None:
    with pytest.raises(Unreadable):
        cut(sent, raw=True)


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ("SELECT * FROM a, `b c`.d x, (e JOIN f ON g = h, i) WHERE j IN (SELECT k, l FROM m)", "a b c.d e f i m"),
        ("SELECT EXTRACT(YEAR FROM a), TRIM(b FROM c), d FROM e JOIN [shuffle] f", "e f"),
        ("SELECT a FROM b LATERAL VIEW explode(c) d AS e, f JOIN g USING (h, i), j", "b g j"),
        ("SELECT * FROM ((SELECT 1, 2 FROM a) UNION (SELECT 3)) x, LATERAL unnest(b) y, c ORDER BY d, e", "a c"),
        ("WITH a AS (SELECT 1 FROM b), c (d, e) AS (SELECT 2, 3) SELECT * FROM a, c GROUP BY f, g", "a b c"),
    ],
)
def test_the_reader_finds_tables(sent: str, found: str) -> None:
    named = {".".join(path) for path in tables(cut(sent, raw=False))}
    assert " ".join(sorted(named)) == found


def test_the_reader_finds_ctes() -> None:
    assert ctes(cut("WITH a AS (SELECT 1), `b` (c, d) AS (SELECT 2) SELECT e AS f FROM a", raw=False)) == {"a", "b"}
