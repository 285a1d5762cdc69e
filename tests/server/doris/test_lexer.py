"""Properties of the lexer that no list of examples shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doris_mcp_server.doris.guard import lexer
from doris_mcp_server.doris.guard.dialect import UNKNOWN, Dialect, dialect_of
from doris_mcp_server.doris.guard.lexer import MAX_TOKENS, Token, place
from doris_mcp_server.errors import StatementRefused


def tokens(sql: str, dialect: Dialect = UNKNOWN) -> list[Token]:
    return lexer.tokens(sql, dialect)


PIECES = ["'", '"', "`", "\\", ";", "--", "#", "/*", "*/", "\n", "\r", " ", "r", "a", "(", ")", ":=", "{", "中"]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_any_text_is_cut_or_refused(sql: str) -> None:
    try:
        found = tokens(sql)
    except StatementRefused:
        return
    assert all(sql[token.start :].startswith(token.text) for token in found)
    assert all(token.kind != "end" for token in found)


@given(st.text(max_size=40), st.sampled_from("'\""))
def test_a_quoted_string_hides_nothing_and_nothing_of_it_shows(value: str, quote: str) -> None:
    literal = quote + value.replace("\\", "\\\\").replace(quote, quote * 2) + quote
    sql = f"SELECT {literal} FROM t"
    try:
        found = tokens(sql)
    except StatementRefused:
        return
    assert [token.text for token in found] == ["SELECT", literal, "FROM", "t"]


@given(st.text(alphabet=st.characters(exclude_characters="`\0", exclude_categories=["Cs"]), max_size=40))
def test_second_statement_is_found_behind_any_name(name: str) -> None:
    with pytest.raises(StatementRefused):
        tokens(f"SELECT `{name}`; DROP TABLE t")


def test_comments_and_the_closing_separator_are_no_tokens() -> None:
    found = tokens("/* a */ SELECT 1 -- b\n # c\n ; -- d")
    assert [token.text for token in found] == ["SELECT", "1"]


RAW = r"SELECT r'\d+' FROM bar WHERE x = 'r'"


@pytest.mark.parametrize("version", [None, (2, 1, 7), (3, 0, 3)])
def test_a_raw_string_is_one_token_where_doris_has_them(version: tuple[int, int, int] | None) -> None:
    assert [token.text for token in tokens(RAW, dialect_of(version)) if token.kind == "raw"] == [r"r'\d+'"]


def test_to_later_versions_a_raw_string_is_a_name_and_a_string() -> None:
    assert [token.text for token in tokens(RAW, dialect_of((4, 0, 1)))][1:3] == ["r", r"'\d+'"]


@pytest.mark.parametrize(("version", "kinds"), [((3, 0, 3), ["word", "string"]), ((4, 0, 1), ["hex"]), (None, ["hex"])])
def test_hexadecimal_strings_by_version(version: tuple[int, int, int] | None, kinds: list[str]) -> None:
    assert [token.kind for token in tokens("SELECT X'1F'", dialect_of(version))][1:] == kinds


@pytest.mark.parametrize(
    "letter",
    list("\u00a0\u200b\u2028\u3000\ufeff\x0b\x0c\x1c\x7f\x85\u0131\u0130\u017f\u212a\u20ac\U0001f600\u037e\uff08\\?"),
)
def test_what_has_no_place_outside_of_quotes_is_refused_with_its_place(letter: str) -> None:
    for sql, column in ((f"SELECT a{letter}b", 9), (f"SELECT 1 {letter} FROM t", 10)):
        with pytest.raises(StatementRefused) as refused:
            tokens(sql)
        assert refused.value.at == (1, column)
    assert [token.text for token in tokens(f"SELECT '{letter * 2}', `a{letter}`")][1:] == [
        f"'{letter * 2}'",
        ",",
        f"`a{letter}`",
    ]


@pytest.mark.parametrize("name", ["größe", "表", "列名", "имя", "straße", "año", "a\u0301"])
def test_letters_of_any_language_are_names(name: str) -> None:
    assert [token.word for token in tokens(f"SELECT {name}")] == ["SELECT", "`"]


@pytest.mark.parametrize("number", ["1", "1.5", ".5", "5.", "1e10", "1.0E-5", "5.e3", "99999999999999999999"])
def test_numbers(number: str) -> None:
    assert [(token.kind, token.text) for token in tokens(f"SELECT {number} FROM t")][1] == ("number", number)


@pytest.mark.parametrize("sql", ["SELECT 1.FROM t", "SELECT 1.e FROM t", "SELECT 1.2.3", "SELECT 1..2", "SELECT 2.a"])
def test_a_number_whose_end_is_not_clear_is_refused(sql: str) -> None:
    with pytest.raises(StatementRefused, match="end of the number"):
        tokens(sql)


@pytest.mark.parametrize("quote", ["'", '"', "`"])
@pytest.mark.parametrize("times", [0, 1, 999, 1000, 1001, 2500])
def test_long_quoted_texts_are_read_in_pieces(quote: str, times: int) -> None:
    inside = ("a" + quote * 2) * times if quote != "`" else quote * 2 * min(times, 500)
    sql = f"SELECT {quote}{inside}{quote}, 1"
    assert [token.text for token in tokens(sql)][1:] == [f"{quote}{inside}{quote}", ",", "1"]
    with pytest.raises(StatementRefused, match="not closed"):
        tokens(f"SELECT {quote}{inside}, 1")


def test_comments_count_as_tokens() -> None:
    assert tokens("/**/" * (MAX_TOKENS - 1) + "a")
    with pytest.raises(StatementRefused, match="tokens"):
        tokens("/**/" * MAX_TOKENS + "a")


@pytest.mark.parametrize(
    ("text", "start", "found"), [("ab", 0, (1, 1)), ("ab", 1, (1, 2)), ("a\nbc", 3, (2, 2)), ("\n\na", 2, (3, 1))]
)
def test_places_are_counted_from_one(text: str, start: int, found: tuple[int, int]) -> None:
    assert place(text, start) == found
