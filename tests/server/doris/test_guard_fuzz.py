"""Queries made by a grammar get through, with any blanks and comments between; what spoils them does not."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doris_mcp_server.doris import guard
from doris_mcp_server.doris.guard.dialect import UNKNOWN
from doris_mcp_server.doris.guard.lexer import tokens
from doris_mcp_server.doris.guard.policy import POLICY
from doris_mcp_server.errors import StatementRefused

NAMES_ARE_NO_TEXT = replace(POLICY, dialect=replace(UNKNOWN, names_are_text=False))

T = TypeVar("T")
Pieces = list[str]
FUZZ = settings(max_examples=150, deadline=None, derandomize=True)

TABLES = ["orders", "d.orders", "c.d.orders", "`my-db`.`2024_größe`", "表", "`odd;name`"]
TABLE = "\0"  # stands in the pieces where a table stands, until one is chosen
NAMES = ["a", "b", "x.a", "`order-id`", "`2nd`", "`it's`", "größe", "`--`"]
JOINS = ["JOIN", "LEFT JOIN", "LEFT SEMI JOIN", "FULL OUTER JOIN", "JOIN [shuffle]"]
GAPS = [" ", "\n", "\t ", " /* c; it's */ ", " -- c ' ;\n", " # c\n", "\r\n"]
FUNCTIONS = ["sum", "coalesce", "bitmap_union_count", "array_sort", "my_udf", "date_trunc", "json_extract"]

gaps = st.randoms(use_true_random=False)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\\\0"), max_size=8)
quoted = st.builds(lambda text, quote: quote + text.replace(quote, quote * 2) + quote, texts, st.sampled_from("'\""))
amounts = st.one_of(st.integers(0, 99).map(str), st.sampled_from(NAMES))
literals = st.one_of(st.integers(0, 10**40).map(str), st.sampled_from(["1.5", "NULL", "TRUE", "1e3"]), quoted)


def pieces(*parts: Any) -> st.SearchStrategy[Pieces]:
    """Words and strategies, one after the other."""
    made = [st.just([part]) if isinstance(part, str) else part for part in parts]
    return st.tuples(*made).map(lambda lists: [piece for one in lists for piece in one])


def one(strategy: st.SearchStrategy[str]) -> st.SearchStrategy[Pieces]:
    return strategy.map(lambda piece: [piece])


def maybe(*parts: Any) -> st.SearchStrategy[Pieces]:
    return st.one_of(st.just([]), pieces(*parts))


def bigger_value(value: st.SearchStrategy[Pieces]) -> st.SearchStrategy[Pieces]:
    return st.one_of(
        pieces("(", value, ")"),
        pieces(value, one(st.sampled_from(["+", "*", "%"])), value),
        pieces(one(st.sampled_from(FUNCTIONS)), "(", value, ",", value, ")"),
        pieces("CASE", "WHEN", value, "=", value, "THEN", value, "ELSE", value, "END"),
        pieces("CAST", "(", value, "AS", one(st.sampled_from(["INT", "DECIMAL(9, 2)", "ARRAY<STRING>"])), ")"),
        pieces("array_map", "(", "v", "->", value, ",", value, ")"),
        pieces("date_add", "(", value, ",", "INTERVAL", one(amounts), "DAY", ")"),
        pieces("[", value, ",", value, "]"),
        pieces("sum", "(", value, ")", "OVER", "(", "PARTITION", "BY", value, "ORDER", "BY", value, "DESC", ")"),
    )


plain_values = st.one_of(one(st.sampled_from(NAMES)), one(literals))
values = st.recursive(plain_values, bigger_value, max_leaves=6)
conditions = st.one_of(
    pieces(values, one(st.sampled_from(["=", "<>", ">=", "<=>", "LIKE", "MATCH_ANY", "REGEXP"])), values),
    pieces(values, "IS", "NOT", "NULL"),
    pieces(values, "BETWEEN", values, "AND", values),
    pieces(values, "IN", "(", values, ",", values, ")"),
)


def bigger_query(query: st.SearchStrategy[Pieces]) -> st.SearchStrategy[Pieces]:
    return st.one_of(
        pieces("SELECT", "*", "FROM", "(", query, ")", "y"),
        pieces("SELECT", values, "FROM", TABLE, "x", "WHERE", "a", "IN", "(", query, ")"),
        pieces("SELECT", "(", query, ")", "AS", "z"),
        pieces("WITH", "y", "AS", "(", query, ")", "SELECT", "*", "FROM", "y", "JOIN", TABLE, "ON", "true"),
        pieces("(", query, ")", one(st.sampled_from(["UNION ALL", "INTERSECT", "EXCEPT", "MINUS"])), "(", query, ")"),
    )


simple_queries = pieces(
    "SELECT",
    maybe("DISTINCT"),
    values,
    maybe(",", values, "AS", "z"),
    "FROM",
    TABLE,
    maybe("PARTITION", "(", "p1", ")"),
    "x",
    maybe("LATERAL", "VIEW", "explode", "(", values, ")", "e", "AS", "f"),
    maybe(one(st.sampled_from(JOINS)), TABLE, "w", "ON", conditions),
    maybe("WHERE", conditions, "AND", conditions),
    maybe("GROUP", "BY", values, maybe("HAVING", conditions)),
    maybe("ORDER", "BY", values, "DESC"),
    maybe("LIMIT", "5"),
)
shapes = st.recursive(simple_queries, bigger_query, max_leaves=3)


@st.composite
def queries(draw: Callable[[st.SearchStrategy[T]], T]) -> Pieces:
    """A legal query as pieces between which anything blank may stand."""
    return [draw(st.sampled_from(TABLES)) if piece == TABLE else piece for piece in draw(shapes)]


def written(query: Pieces, gaps: random.Random | None = None) -> str:
    return "".join(piece + (gaps.choice(GAPS) if gaps else " ") for piece in query)


def refused(sql: str) -> None:
    with pytest.raises(StatementRefused):
        guard.check(sql)


@FUZZ
@given(queries(), gaps)
def test_legal_queries_get_through(query: Pieces, gap: random.Random) -> None:
    named = {piece.replace("`", "") for piece in query if piece in TABLES}
    assert guard.check(written(query, gap)).tables == tuple(sorted(named))
    assert guard.check(f"EXPLAIN {written(query)};").kind == "explain"


@FUZZ
@given(queries(), gaps)
def test_blanks_and_comments_change_no_token(query: Pieces, gap: random.Random) -> None:
    one_way, another = written(query), written(query, gap)
    found = [token.text for token in tokens(one_way, UNKNOWN)]
    assert [token.text for token in tokens(another, UNKNOWN)] == found
    # Without the aliases that keep the names of columns.
    assert guard.check(another, NAMES_ARE_NO_TEXT).sent == guard.check(one_way, NAMES_ARE_NO_TEXT).sent


@FUZZ
@given(queries(), st.sampled_from(["SELECT 1", "DROP TABLE t", "SET a = 1", ";", "'", "x"]), gaps)
def test_a_second_statement_is_refused(query: Pieces, second: str, gap: random.Random) -> None:
    refused(written([*query, ";", second], gap))


@FUZZ
@given(
    queries(),
    st.sampled_from(
        [
            "INSERT INTO t",
            "INSERT OVERWRITE TABLE t",
            "CREATE TABLE t AS",
            "CREATE VIEW v AS",
            "EXPLAIN INSERT INTO t",
            "WITH w AS (SELECT 1) INSERT INTO t",
            "COPY INTO t FROM",
            "PLAN REPLAYER DUMP",
            "PREPARE s FROM",
            "CREATE JOB j ON SCHEDULE EVERY 1 DAY DO INSERT INTO t",
        ]
    ),
    gaps,
)
def test_a_write_is_refused(query: Pieces, write: str, gap: random.Random) -> None:
    refused(written([write, *query], gap))


@FUZZ
@given(
    queries(),
    st.sampled_from(["INTO OUTFILE 's3://b/'", "INTO DUMPFILE '/x'", "INTO @v", "FOR UPDATE", "LOCK IN SHARE MODE"]),
    gaps,
)
def test_a_way_out_at_the_end_is_refused(query: Pieces, way: str, gap: random.Random) -> None:
    refused(written([*query, *way.split(" ")], gap))


@FUZZ
@given(
    queries(),
    st.sampled_from(["s3", "`s3`", "S3", "local", "http", "query", "brand_new", "`brand_new`", "d.brand_new"]),
    st.sampled_from(["()", "('a' = 'b')", "(a)"]),
    gaps,
)
def test_a_table_function_instead_of_a_table_is_refused(
    query: Pieces, name: str, arguments: str, gap: random.Random
) -> None:
    places = [number for number, piece in enumerate(query) if piece in TABLES]
    spoiled = list(query)
    spoiled[gap.choice(places)] = name + gap.choice(["", " ", "/* */"]) + arguments
    refused(written(spoiled, gap))


@FUZZ
@given(
    queries(),
    st.sampled_from(
        [
            "/*! x */",
            "/*!50000 UNION SELECT 1 */",
            "/*+ SET_VAR(query_timeout = 1) */",
            "/*+ ORDERED SET_VAR(a = 1) */",
            "/* /* x */",
            "/*",
            "'",
            "`",
            ":=",
            "{% x %}",
            "\0",
            ";",
        ]
    ),
    gaps,
)
def test_what_can_be_read_in_two_ways_is_refused_anywhere(query: Pieces, odd: str, gap: random.Random) -> None:
    place = gap.randrange(len(query))
    refused(written([*query[:place], odd, *query[place:]], gap))
