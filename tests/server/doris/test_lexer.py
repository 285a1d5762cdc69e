"""Properties of the lexer that no list of examples shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doris_mcp_server.doris.lexer import for_parser, tokens
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
    assert for_parser(sql, found) == r"SELECT  '\d+' FROM bar WHERE x = 'r'"
