"""Properties of the lexer that no list of examples shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doris_mcp_server.doris.guard.lexer import MAX_TOKENS, Code, place, tokens
from doris_mcp_server.errors import StatementRefused

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


def test_a_raw_string_is_one_token_and_plain_to_the_parser() -> None:
    sql = r"SELECT r'\d+' FROM bar WHERE x = 'r'"
    found = tokens(sql)
    assert [token.kind for token in found].count("raw") == 1
    assert Code(sql, found).text == r"SELECT  '\d+' FROM bar WHERE x = 'r'"


@given(st.lists(st.sampled_from([*PIECES, "SELECT", "'x'", "-- c\n", "/* c */", "1"]), max_size=30).map("".join))
def test_the_parser_gets_the_same_tokens_and_no_comments(sql: str) -> None:
    try:
        found = tokens(sql)
    except StatementRefused:
        return
    code = Code(sql, found)
    again = tokens(code.text)
    assert [token.text for token in again if token.kind != "raw"] == [
        t.text.lstrip("rR") if t.kind == "raw" else t.text for t in found
    ]
    assert [code.place(token.start) for token in again] == [place(sql, token.start) for token in found]


@pytest.mark.parametrize("quote", ["'", '"', "`"])
@pytest.mark.parametrize("times", [0, 1, 999, 1000, 1001, 2500])
def test_long_quoted_texts_are_read_in_pieces(quote: str, times: int) -> None:
    inside = ("a" + quote * 2) * times if quote != "`" else quote * 2 * min(times, 500)
    sql = f"SELECT {quote}{inside}{quote}, 1"
    assert [token.text for token in tokens(sql)][1:] == [f"{quote}{inside}{quote}", ",", "1"]
    with pytest.raises(StatementRefused, match="not closed"):
        tokens(f"SELECT {quote}{inside}, 1")


def test_long_strings_are_short_for_the_parser() -> None:
    sql = "SELECT '" + "a" * 1000 + "' AS b"
    assert Code(sql, tokens(sql)).text == "SELECT '' AS b"


def test_comments_count_as_tokens() -> None:
    assert tokens("/**/" * (MAX_TOKENS - 1) + "a")
    with pytest.raises(StatementRefused, match="tokens"):
        tokens("/**/" * MAX_TOKENS + "a")


@pytest.mark.parametrize(
    ("text", "start", "found"), [("ab", 0, (1, 1)), ("ab", 1, (1, 2)), ("a\nbc", 3, (2, 2)), ("\n\na", 2, (3, 1))]
)
def test_places_are_counted_from_one(text: str, start: int, found: tuple[int, int]) -> None:
    assert place(text, start) == found
