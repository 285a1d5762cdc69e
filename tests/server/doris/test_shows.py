"""SHOW, DESC and EXPLAIN: which forms get through, as what, and where the others are sent."""

from dataclasses import replace

import pytest

from doris_mcp_server.doris import guard
from doris_mcp_server.doris.guard import shows
from doris_mcp_server.doris.guard.dialect import UNKNOWN
from doris_mcp_server.doris.guard.lexer import tokens
from doris_mcp_server.doris.guard.verdicts import Verdict
from doris_mcp_server.errors import StatementRefused

from .statements import HERE

EXAMPLES = {
    # small letters of a form → what may stand there
    "filter": ["LIKE 'a%'", "WHERE state = 'NORMAL' AND rows >= 5 OR name NOT LIKE 'x'", "WHERE `a b` != 'c'"],
    "order": ["ORDER BY a", "ORDER BY a DESC, 2 ASC"],
    "limit": ["LIMIT 5", "LIMIT 5, 10", "LIMIT 5 OFFSET 10"],
    "partitions": ["PARTITION p1", "PARTITIONS (p1, `p-2`)", "TEMPORARY PARTITION (p1)"],
    "columns": ["(a)", "(a, `b-c`, 2nd)"],
    "table": ["t", "d.t", "c.d.t", "`c`.`d e`.`größe`", "2024_orders"],
    "database": ["d", "c.d", "`my-db`"],
    "name": ["x", "`x y`"],
    "text": ["'a%'", '"it""s"'],
    "number": ["1", "10001"],
    "anypartitions": ["PARTITION p1", "PARTITIONS (p1, `p-2`)", "PARTITION (*)", "PARTITIONS(*)"],
    "properties": ["('entire_warehouse' = 'true')", '("db_names"="a,b")'],
}


def spelled(form: str) -> list[str]:
    """The form without and with what may be left out, and with each example of each piece."""
    found = []
    for keep in (False, True):
        for turn in range(5):
            words: list[str] = []
            left_out = False
            for part in form.split():
                left_out = left_out or (part.startswith("[") and not keep)
                bare = part.strip("[]")
                choices = bare.split("|") if bare.isupper() else EXAMPLES[bare]
                if not left_out:
                    words.append(choices[turn % len(choices)])
                left_out = left_out and not part.endswith("]")
            found.append(" ".join(words))
    return found


@pytest.mark.parametrize("form", shows.FORMS)
def test_every_form_gets_through_however_it_is_written(form: str) -> None:
    for sql in spelled(form):
        verdict = guard.check(sql)
        assert verdict.kind == ("describe" if form.startswith("DESC") else "show"), sql
        assert verdict.ddl == (" CREATE " in form or form.startswith("SHOW VIEW ")), sql
        assert guard.check(f"/* x */ {sql.lower()} ;").kind == verdict.kind, sql
        with pytest.raises(StatementRefused):
            guard.check(f"{sql} (SELECT 1)")


@pytest.mark.parametrize(
    ("sql", "verdict"),
    [
        ("SHOW TABLES FROM d", Verdict("show", (), "")),
        ("DESC d.t", Verdict("describe", (("d", "t"),), "")),
        ("EXPLAIN t", Verdict("describe", (("t",),), "")),
        ("SHOW INDEX FROM `a``b` FROM d", Verdict("show", (("d", "a`b"),), "")),
        ("SHOW CREATE TABLE c.d.t", Verdict("show", (("c", "d", "t"),), "", ddl=True)),
        ("EXPLAIN SELECT * FROM a, d.b", Verdict("explain", (("a",), ("d", "b")), "")),
        ("DESCRIBE WITH x AS (SELECT 1) SELECT * FROM x", Verdict("explain", (), "")),
        ("EXPLAIN ((SELECT 1))", Verdict("explain", (), "")),
    ],
)
def test_verdict(sql: str, verdict: Verdict) -> None:
    assert guard.check(sql) == replace(verdict, sent=sql)


@pytest.mark.parametrize("plan", ["", "PARSED", "analyzed", "REWRITTEN", "LOGICAL", "OPTIMIZED", "PHYSICAL", "ALL"])
@pytest.mark.parametrize("level", ["", "VERBOSE", "TREE", "GRAPH", "PLAN", "plan process"])
def test_levels_of_explain(plan: str, level: str) -> None:
    assert guard.check(f"EXPLAIN {plan} {level} SELECT 1").kind == "explain"


@pytest.mark.parametrize(
    ("sql", "words", "hint", "column"),
    [
        ("SHOW GRANTS FOR 'root'", "SHOW GRANTS is not allowed", "Privileges", 6),
        ("SHOW FRONTEND CONFIG", "SHOW FRONTEND is not allowed", "ask the operator of", 6),
        ("SHOW PROCESSLIST", "SHOW PROCESSLIST", "explain_query", 6),
        ("SHOW FULL PROCESSLIST", "SHOW FULL PROCESSLIST", "explain_query", 11),
        ("SHOW CREATE CATALOG c", "SHOW CREATE CATALOG", "list_catalogs", 13),
        ("SHOW NONSENSE", "SHOW NONSENSE is not allowed", "SHOW CATALOGS", 6),
        ("SHOW", "SHOW is not allowed", "SHOW CATALOGS", 1),
        ("SHOW TABLES FROM", "ends too early", "Write SHOW [FULL] TABLES [FROM|IN database]", 13),
        ("SHOW TABLES FROM d LIKE x", "x is not expected", "Write SHOW [FULL] TABLES", 25),
        ("SHOW TABLES WHERE a IN (1)", "IN is not expected", "Write SHOW [FULL] TABLES", 21),
        ("DESC FUNCTION brand_new()", "FUNCTION", "get_table_context", 15),
        ("EXPLAIN DELETE FROM t", "EXPLAIN DELETE", "takes a SELECT", 9),
        ("DESC a.b.c.d", ". is not expected", "Write DESC|DESCRIBE|EXPLAIN table", 11),
    ],
)
def test_refusal_says_what_helps_instead(sql: str, words: str, hint: str, column: int) -> None:
    with pytest.raises(StatementRefused) as refused:
        guard.check(sql)
    assert words in refused.value.message
    assert hint in str(refused.value.hint)
    assert refused.value.at == (1, column)


def test_where_the_query_behind_explain_begins() -> None:
    assert shows.explained(tokens("SELECT 1", UNKNOWN)) == 0
    assert shows.explained(tokens("EXPLAIN ALL VERBOSE (SELECT 1)", UNKNOWN)) == 3
    assert shows.explained(tokens("EXPLAIN verbose", UNKNOWN)) is None
    assert shows.explained(tokens("SHOW TABLES", UNKNOWN)) is None


def test_the_page_for_operators_lists_every_form() -> None:
    page = (HERE.parents[2] / "docs" / "guard.md").read_text(encoding="utf-8")
    assert [form for form in shows.FORMS if form not in page] == []
