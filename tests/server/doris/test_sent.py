"""The text that is sent: row by row for our corpora, word by word for the table, rule by rule for the writer."""

from collections import Counter

import pytest

from doris_mcp_server.doris import guard
from doris_mcp_server.doris.guard.dialect import dialect_of
from doris_mcp_server.doris.guard.lexer import place, tokens
from doris_mcp_server.errors import StatementRefused

from .fuzz import PATIENCE
from .sent_reader import WORDS
from .sent_rules import POLICIES, VERSIONS
from .statements import SentRow, legal, sent_rows, texts

versions = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test judges how quick this machine is."""
    monkeypatch.setattr(guard, "MAX_SECONDS", PATIENCE)


def sent(sql: str, version: str = "4.1") -> str:
    return guard.check(sql, POLICIES[version]).sent


def refusal(sql: str, version: str = "4.1") -> StatementRefused:
    with pytest.raises(StatementRefused) as refused:
        guard.check(sql, POLICIES[version])
    return refused.value


# --- the corpora


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in sent_rows()])
def test_rows(row: SentRow) -> None:
    for version in row.versions:
        if row.sent is None:
            assert refusal(row.sql, version).message == row.says
        else:
            assert sent(row.sql, version) == row.sent


def test_every_row_says_what_becomes_of_it_at_every_version() -> None:
    seen: dict[str, list[str]] = {}
    for row in sent_rows():
        assert (row.sent is None) != (row.says is None), row
        seen.setdefault(row.sql, []).extend(row.versions)
    assert {sql: found for sql, found in seen.items() if sorted(found) != sorted(VERSIONS)} == {}
    assert min(Counter(row.kind for row in sent_rows()).values()) >= 6


# --- the table of words

COLUMNS = {
    "unknown": {"2.1", "3.0", "4.0", "master"},
    "2.1": {"2.1"},
    "3.0": {"3.0"},
    "4.0": {"4.0"},
    "4.1": {"4.0", "master"},
}  # of the table, for each version; between two releases a word must be free in both
LITERALS = {"NULL", "TRUE", "FALSE"}
# Without parentheses they are values, too, and no names where a value may stand.
VALUES = {"CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "CURRENT_USER", "SESSION_USER"}
VALUES |= {"LOCALTIME", "LOCALTIMESTAMP"}
REFUSED_ANYWHERE = {"INTO"}
FREE_IN_QUERIES = {"LIST"}  # reserved, but no query has a use for it
AS_COLUMN = (
    ("SELECT {} FROM t", "SELECT `{}` FROM t"),
    ("SELECT a FROM t WHERE {} = 1", "SELECT a FROM t WHERE `{}` = 1"),
    ("SELECT a, t.{0}.b FROM t ORDER BY {0}, a", "SELECT a, t.`{0}`.b FROM t ORDER BY `{0}`, a"),
)
AS_NAME = (
    ("SELECT a {} FROM t", "SELECT a `{}` FROM t"),
    ("SELECT a AS {}, b FROM t", "SELECT a AS `{}`, b FROM t"),
    ("SELECT a FROM {}", "SELECT a FROM `{}`"),
    ("SELECT a FROM d.{0}, {0}.u", "SELECT a FROM d.`{0}`, `{0}`.u"),
    ("SELECT a FROM t {} WHERE b", "SELECT a FROM t `{}` WHERE b"),
    ("SELECT a FROM t AS {} JOIN u", "SELECT a FROM t AS `{}` JOIN u"),
    ("WITH {0} AS (SELECT 1) SELECT * FROM {0}", "WITH `{0}` AS (SELECT 1) SELECT * FROM `{0}`"),
)


def reserved(version: str) -> set[str]:
    by_column = [
        {word for word, kind, found in WORDS.rows if kind == "reserved" and column in found}
        for column in COLUMNS[version]
    ]
    # What some version leaves free may be a name while the version is not known.
    kept = set.intersection(*by_column) if version == "unknown" else set.union(*by_column)
    return kept - FREE_IN_QUERIES


@versions
def test_a_word_that_is_free_is_a_name(version: str) -> None:
    free = WORDS.known - reserved(version)
    cases = [(word, *form) for word in free - VALUES for form in AS_COLUMN]
    cases += [(word, *form) for word in free - {"DUAL"} for form in AS_NAME]  # see test_dual
    wrong = {}
    for word, sql, expected in cases:
        for written in (word, word.lower()):
            try:
                found = sent(sql.format(written), version)
            except StatementRefused as refused:
                found = str(refused)
            if found != expected.format(written):
                wrong[sql.format(written)] = found
    assert wrong == {}
    assert len(free) > 250


@versions
def test_a_word_that_is_reserved_is_refused_and_the_hint_has_it_in_backquotes(version: str) -> None:
    words = reserved(version)
    hints = {w: refusal(f"SELECT {w} FROM t", version).hint or "" for w in words - LITERALS - REFUSED_ANYWHERE}
    assert {word: hint for word, hint in hints.items() if f"write it in backquotes, `{word}`" not in hint} == {}
    assert len(words) > 150
    for word in sorted(words):
        assert sent(f"SELECT `{word}`, `{word.lower()}` x FROM `{word}`", version)


@versions
@pytest.mark.parametrize("word", sorted(LITERALS | VALUES))
def test_a_word_that_is_a_value_is_sent_as_it_is(word: str, version: str) -> None:
    assert sent(f"SELECT {word}, a = {word} FROM t", version) == f"SELECT {word}, a = {word} FROM t"


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("SELECT case FROM t", "case"),
        ("SELECT key, value FROM t", "key"),
        ("SELECT a FROM t WHERE interval > 1", "interval"),
        ("SELECT default FROM t", "default"),
        ("SELECT a FROM select", "select"),
        ("SELECT a, FROM t", "FROM"),
        ("SELECT a FROM t WHERE order = 1", "order"),
    ],
)
def test_the_hint_names_the_word_that_was_meant_as_a_name(sql: str, named: str) -> None:
    assert f"`{named}`" in (refusal(sql).hint or "")


# --- what stands between the tokens


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT a,b FROM t", "SELECT a,b FROM t"),
        ("  SELECT \t a\r\n,\n b FROM t ; ", "SELECT a , b FROM t"),
        ("SELECT/**/a/* x */,b FROM t", "SELECT a ,b FROM t"),
        ("SELECT a--x\nFROM t", "SELECT a FROM t"),
        ("SELECT a#x\nFROM t -- y", "SELECT a FROM t"),
        ("SELECT'a'FROM`t`", "SELECT 'a' FROM `t`"),
        ("SELECT a`b`,'c'\"d\"FROM t", "SELECT a `b`,'c' \"d\" FROM t"),
        ("SELECT(a)FROM(SELECT 1)t", "SELECT(a)FROM(SELECT 1)t"),
        ("SELECT a FROM t WHERE a>=-1", "SELECT a FROM t WHERE a>= -1"),
        ("SELECT a FROM t WHERE b=@@c", "SELECT a FROM t WHERE b= @@c"),
        ("SELECT CAST(a AS ARRAY<ARRAY<INT>>) FROM t", "SELECT CAST(a AS ARRAY<ARRAY<INT>>) FROM t"),
        ("SELECT a FROM t WHERE a>>1<<2", "SELECT a FROM t WHERE a>>1<<2"),
        ("SELECT a FROM t WHERE a> >1", "SELECT a FROM t WHERE a> >1"),
        ("SELECT 'a\n\t b', `c\n d` FROM t", "SELECT 'a\n\t b', `c\n d` FROM t"),
        ("SELECT '', '''', 'it''s', 'a\\'b', \"\\\\\" FROM t", "SELECT '', '''', 'it''s', 'a\\'b', \"\\\\\" FROM t"),
    ],
)
def test_gaps(sql: str, text: str) -> None:
    assert sent(sql) == text


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT a - -1 FROM t", "SELECT a - -1 FROM t"),
        ("SELECT a FROM t WHERE a-/**/-1", "SELECT a FROM t WHERE a- -1"),
        ("SELECT a FROM t WHERE a/ /**/b", "SELECT a FROM t WHERE a/ b"),
        ("SELECT a FROM t WHERE a-/*x*/-b/*y*/-c", "SELECT a FROM t WHERE a- -b -c"),
    ],
)
def test_signs_never_make_a_comment_together(sql: str, text: str) -> None:
    assert sent(sql) == text


# --- names


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT NAME, Name, name FROM t", "SELECT `NAME`, `Name`, `name` FROM t"),
        ("SELECT DATE.VALUE FROM LABEL.DATE DATE", "SELECT `DATE`.`VALUE` FROM `LABEL`.`DATE` `DATE`"),
        ("SELECT plain, Plain_1, _p FROM T", "SELECT plain, Plain_1, _p FROM T"),
        ("SELECT größe, 表, a$b, 1a FROM naïve", "SELECT `größe`, `表`, `a$b`, `1a` FROM `naïve`"),
        ("SELECT `plain`, `a``b`, `Date` FROM t", "SELECT `plain`, `a``b`, `Date` FROM t"),
        ("SELECT 0x1F, 1e FROM t", "SELECT `0x1F`, `1e` FROM t"),
        ("SELECT @größe a, @date b FROM t", "SELECT @`größe` a, @`date` b FROM t"),
        ("SELECT @@Sql_Mode, @@session.date FROM t", "SELECT @@Sql_Mode, @@session.date FROM t"),
        ("SHOW FULL COLUMNS FROM date IN `value`", "SHOW FULL COLUMNS FROM `date` IN `value`"),
        ("SHOW VIEWS WHERE Comment = 'x' AND name LIKE 'y'", "SHOW VIEWS WHERE `Comment` = 'x' AND `name` LIKE 'y'"),
        ("DESC label.date ALL", "DESC `label`.`date` ALL"),
        ("EXPLAIN VERBOSE SELECT date FROM label", "EXPLAIN VERBOSE SELECT `date` FROM `label`"),
    ],
)  # fmt: skip
def test_names(sql: str, text: str) -> None:
    assert sent(sql) == text


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT Date(a), IF(a, b, c), Left(a, 1) FROM t", "SELECT Date(a), IF(a, b, c), Left(a, 1) FROM t"),
        ("SELECT d.date(a) x, date.f(a) y", "SELECT d.date(a) x, `date`.f(a) y"),
        ("SELECT größe(a) x, a$b(1) y, `date`(a) z", "SELECT `größe`(a) x, `a$b`(1) y, `date`(a) z"),
        ("SELECT 1 FROM t LATERAL VIEW explode(a) date AS b", "SELECT 1 FROM t LATERAL VIEW explode(a) `date` AS b"),
        ("SELECT CAST(a AS AGG_STATE<größe(INT)>) x", "SELECT CAST(a AS AGG_STATE<`größe`(INT)>) x"),
    ],
)  # fmt: skip
def test_names_of_functions(sql: str, text: str) -> None:
    assert sent(sql) == text


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT 1 FROM dual", "SELECT 1 FROM dual"),
        ("SELECT 1 FROM DUAL WHERE 1 = 1 LIMIT 1", "SELECT 1 FROM DUAL WHERE 1 = 1 LIMIT 1"),
        ("SELECT 1 FROM dual UNION SELECT 2 FROM dual", "SELECT 1 FROM dual UNION SELECT 2 FROM dual"),
        ("SELECT 1 FROM dual a", "SELECT 1 FROM `dual` a"),
        ("SELECT 1 FROM dual, t", "SELECT 1 FROM `dual`, t"),
        ("SELECT 1 FROM t, dual", "SELECT 1 FROM t, `dual`"),
        ("SELECT 1 FROM dual.t", "SELECT 1 FROM `dual`.t"),
        ("SELECT dual.a FROM dualX JOIN dualx", "SELECT `dual`.a FROM `dualX` JOIN dualx"),
    ],
)
@versions
def test_dual(sql: str, text: str, version: str) -> None:
    assert sent(sql, version) == text


# --- names of columns

UNNAMED = [
    ("SELECT a + 1, b FROM t", "SELECT a + 1, b FROM t"),
    ("SELECT a  + 1, b FROM t", "SELECT a + 1 AS `a  + 1` , b FROM t"),
    ("SELECT sum(value) FROM t", "SELECT sum(`value`) AS `sum(value)` FROM t"),
    ("SELECT max( /* x */ `a`) FROM t", "SELECT max( `a`) AS `max( /* x */ ``a``)` FROM t"),
    ("SELECT -\n1 UNION SELECT - 2", "SELECT - 1 AS `-\n1` UNION SELECT - 2"),
    ("SELECT (SELECT  1), x FROM t", "SELECT (SELECT 1) AS `(SELECT  1)` , x FROM t"),
    ("SELECT * FROM (SELECT value + 1 FROM t) u", "SELECT * FROM (SELECT `value` + 1 AS `value + 1` FROM t) u"),
    ("SELECT 1 IN (SELECT  1 FROM t)", "SELECT 1 IN (SELECT 1 FROM t) AS `1 IN (SELECT  1 FROM t)`"),
    ("SELECT DATE  '2024-01-01' FROM t", "SELECT DATE '2024-01-01' AS `DATE  '2024-01-01'` FROM t"),
]


@pytest.mark.parametrize(("sql", "text"), UNNAMED)
@pytest.mark.parametrize("version", ["unknown", "4.0", "4.1"])
def test_a_column_keeps_the_name_that_its_text_gives_it(sql: str, text: str, version: str) -> None:
    assert sent(sql, version) == text


@pytest.mark.parametrize(("sql", "text"), UNNAMED)
@pytest.mark.parametrize("version", ["2.1", "3.0"])
def test_no_alias_where_the_text_gives_no_name(sql: str, text: str, version: str) -> None:
    assert " AS `" not in sent(sql, version)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT t . Date FROM t",
        "SELECT *, t . * FROM t",
        "SELECT value + 1 x, value + 1 AS y, value  + 1 'z' FROM t",
        "SELECT 'a\n  b', 5., NULL, current_date FROM t",
        "SELECT a + " + "/**/a + " * 100 + "1 FROM t",  # longer than an alias may be
    ],
)
def test_no_alias_where_a_column_has_its_name_from_elsewhere(sql: str) -> None:
    assert sent(sql).count(" AS ") == sql.count(" AS ")


# --- hints, and strings with a letter before them


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        ("/*+ORDERED*/", "/*+ ORDERED */"),
        ("/*+  leading( t1   t2 )  */", "/*+ leading(t1 t2) */"),
        ("/*+ LEADING(t1 {t2\nt3}) , ORDERED */", "/*+ LEADING(t1 { t2 t3 }), ORDERED */"),
        ("/*+ USE_MV( `a b` ,c.d ) NO_USE_MV */", "/*+ USE_MV(`a b`, c.d) NO_USE_MV */"),
        ("/*+ leading(a shuffle[skew(a.k(1,'x'))] b) */", "/*+ leading(a shuffle [ skew(a.k(1, 'x')) ] b) */"),
        ("/*+ ORDERED *//*+ NO_USE_MV */", "/*+ ORDERED */ /*+ NO_USE_MV */"),
    ],
)
def test_hints_have_one_form(hint: str, text: str) -> None:
    assert sent(f"SELECT {hint} 1 FROM a, b") == f"SELECT {text} 1 FROM a, b"
    assert sent(f"SELECT{hint}1 FROM a, b") == f"SELECT {text} 1 FROM a, b"
    assert sent(f"SELECT 1 {hint} FROM a, b {hint}") == "SELECT 1 FROM a, b"  # a comment, to Doris, too


@pytest.mark.parametrize(
    ("sql", "version", "text"),
    [
        *((r"SELECT r'\d', R'' FROM t", version, r"SELECT r'\d', R'' FROM t") for version in ("unknown", "2.1", "3.0")),
        *((r"SELECT r'\d', R'' FROM t", version, r"SELECT r '\d', R '' FROM t") for version in ("4.0", "4.1")),
        *(("SELECT x'1F', X'' FROM t", version, "SELECT x'1F', X'' FROM t") for version in ("unknown", "4.0", "4.1")),
        *(("SELECT x'1F', X'' FROM t", version, "SELECT x '1F', X '' FROM t") for version in ("2.1", "3.0")),
        *(("SELECT x'1G' FROM t", version, "SELECT x '1G' FROM t") for version in VERSIONS),
    ],
)
def test_raw_and_hexadecimal_strings(sql: str, version: str, text: str) -> None:
    assert sent(sql, version) == text


# --- reading it once more


@versions
def test_what_is_sent_is_sent_as_it_is(version: str) -> None:
    for sql in texts():
        try:
            first = guard.check(sql, POLICIES[version])
        except StatementRefused:
            continue
        assert guard.check(first.sent, POLICIES[version]) == first


# --- places in Doris' errors

SQL = "SELECT a, -- note\n  'x\ny',\n\tnope  +  1\nFROM value"
SENT = "SELECT a, 'x\ny', nope + 1 AS `nope  +  1` FROM `value`"


async def told(words: str, before: str = "", sql: str = SQL) -> str:
    return await guard.in_words_of_caller(sql, POLICIES["4.1"], words, len(before))


def at(text: str, part: str, before: str = "") -> str:
    """The place where `part` begins in the text sent, as Doris counts."""
    found = place(before + text, (before + text).index(part))
    return f"line {found.line}, pos {found.column - 1}"


@pytest.mark.parametrize("before", ["", "EXPLAIN ", "EXPLAIN VERBOSE "])
@pytest.mark.parametrize(
    ("part", "there"),
    [
        ("SELECT", "line 1, pos 0"),
        ("a,", "line 1, pos 7"),
        ("'x", "line 2, pos 2"),
        ("nope + ", "line 4, pos 1"),
        ("+ 1", "line 4, pos 7"),
        ("1 AS", "line 4, pos 10"),
        ("`nope", "line 4, pos 10"),  # what was added belongs to the token before it
        ("FROM", "line 5, pos 0"),
        ("`value`", "line 5, pos 5"),
    ],
)
async def test_a_place_is_the_callers(part: str, there: str, before: str) -> None:
    assert sent(SQL) == SENT
    assert await told(f"no viable input ({at(SENT, part, before)})", before) == f"no viable input ({there})"


@pytest.mark.parametrize(
    ("words", "told_instead"),
    [
        ("Unknown column 'nope'", "Unknown column 'nope'"),
        ("mismatched input(line 2, pos 4) at (line 1, pos 7)", "mismatched input(line 4, pos 1) at (line 1, pos 7)"),
        ("line 2, position 4", "line 4, position 1"),
        ("line 2, pos: 4", "line 4, pos: 1"),
        ("(line 3, pos 0)", "(line 3, pos 0)"),  # there is no such line
        ("(line 0, pos 0)", "(line 0, pos 0)"),
        ("(line 2, pos 999)", "(line 5, pos 5)"),  # behind the end: the last token
        ("pipeline 2, pos 4", "pipeline 2, pos 4"),
    ],
)
async def test_words_with_any_places(words: str, told_instead: str) -> None:
    assert await told(words) == told_instead


async def test_a_place_of_what_was_sent_before_is_the_first() -> None:
    assert await told("(line 1, pos 3)", "EXPLAIN VERBOSE ") == "(line 1, pos 0)"


async def test_words_about_a_refused_statement_stay() -> None:
    assert await told("(line 2, pos 4)", sql="SELECT a\n FROM") == "(line 2, pos 4)"


@pytest.mark.parametrize("version", ["2.1", "3.0"])
async def test_every_token_is_found_again(version: str) -> None:
    """Without aliases the tokens of both texts go in step."""
    dialect = dialect_of(VERSIONS[version])
    checked = 0
    for row in legal():
        sql = row.sql.replace(" ", "\n  ", 3).replace(",", " /* , */ ,")
        try:
            text = guard.check(sql, POLICIES[version]).sent
        except StatementRefused:
            continue
        pairs = [(a, b) for a, b in zip(tokens(text, dialect), tokens(sql, dialect), strict=True) if a.kind != "hint"]
        places = [(place(text, a.start), place(sql, b.start)) for a, b in pairs]
        words = " ".join(f"line {sent.line}, pos {sent.column - 1}" for sent, _ in places)
        expected = " ".join(f"line {caller.line}, pos {caller.column - 1}" for _, caller in places)
        assert await guard.in_words_of_caller(sql, POLICIES[version], words) == expected
        checked += 1
    assert checked > 250
