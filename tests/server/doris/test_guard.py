"""The guard: what it refuses, what it accepts, and that its words say which."""

import json
from pathlib import Path
from typing import Any

import pytest

from doris_mcp_server.doris import guard
from doris_mcp_server.errors import StatementRefused

OWN = Path(__file__).with_name("statements.jsonl")
SHARED = Path(__file__).parents[4] / "shared" / "corpus" / "sql_guard.jsonl"
# SHOW, DESC and EXPLAIN have tools of their own; execute_query points to them.
OTHER_TOOLS = ("SHOW", "DESC", "EXPLAIN")


def text(case: dict[str, Any]) -> str:
    if case.get("sql") is not None:
        return str(case["sql"])
    build = case["build"]
    return str(build["prefix"] + build["unit"] * build["times"] + build["suffix"])


def cases() -> list[Any]:
    found = []
    for path in (OWN, SHARED):
        if not path.is_file():
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            case = json.loads(line)
            if not text(case).startswith("ARG "):
                found.append(pytest.param(case, id=f"{path.stem}:{number}"))
    return found


@pytest.mark.parametrize("case", cases())
def test_corpus(case: dict[str, Any]) -> None:
    sql = text(case)
    if case["expect"] in ("accept", "limit", "rbac") and not sql.startswith(OTHER_TOOLS):
        assert guard.check(sql).statement_kind in ("select", "union", "intersect", "except", "subquery")
        return
    with pytest.raises(StatementRefused) as refused:
        guard.check(sql)
    assert refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize(
    ("sql", "tool"),
    [
        ("SHOW TABLES FROM d", "list_tables"),
        ("show databases", "list_databases"),
        ("DESC d.t", "get_table_context"),
        ("DESCRIBE t", "get_table_context"),
        ("EXPLAIN SELECT 1", "explain_query"),
    ],
)
def test_refusal_names_the_right_tool(sql: str, tool: str) -> None:
    with pytest.raises(StatementRefused) as refused:
        guard.check(sql)
    assert tool in str(refused.value.hint)


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT 1; SELECT 2", "after the closing"),
        ("SELECT * FROM s3('uri'='x')", "s3()"),
        ("SELECT * FROM brand_new('uri'='x')", "brand_new()"),
        ("SELECT /*+ SET_VAR(a=1) */ 1", "hint"),
        ("SELECT 1 INTO OUTFILE 'x'", "INTO"),
        ("SELECT * FROM t FOR UPDATE", "LOCK"),
        ("WITH x AS (SELECT 1) DELETE FROM t", "Only SELECT"),
        ("SELECT " + "(" * 5000 + "1" + ")" * 5000, "deeply"),
        ("SELECT 1 WHERE" + " a=1 OR" * 19_999 + " a=1", "tokens"),
    ],
)
def test_refusal_names_the_reason(sql: str, words: str) -> None:
    with pytest.raises(StatementRefused, match=words.replace("(", r"\(").replace(")", r"\)")):
        guard.check(sql)


def test_verdict_names_the_tables() -> None:
    sql = "WITH x AS (SELECT * FROM d.t) SELECT * FROM x JOIN `c`.`d`.`u u` ON true WHERE a IN (SELECT 1 FROM v)"
    assert guard.check(sql) == guard.Verdict("select", ("c.d.u u", "d.t", "v"))


def test_explain_is_checked_like_the_statement_itself() -> None:
    assert guard.check_explainable("SELECT 1").statement_kind == "select"
    with pytest.raises(StatementRefused):
        guard.check_explainable("SELECT * FROM s3('uri'='x')")


def test_verdicts_are_remembered_also_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    accepted, refused = "SELECT 'remember me'", "DROP TABLE remember_me"
    verdict = guard.check(accepted)
    with pytest.raises(StatementRefused) as first:
        guard.check(refused)

    def fail(sql: str) -> Any:
        raise AssertionError("read again")

    monkeypatch.setattr(guard, "tokens", fail)
    assert guard.check(accepted) is verdict
    with pytest.raises(StatementRefused) as second:
        guard.check(refused)
    assert second.value is not first.value  # a shared exception would collect tracebacks
    assert second.value.as_dict() == first.value.as_dict()


def test_what_the_parser_cannot_digest_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> Any:
        raise KeyError("odd")

    monkeypatch.setattr(guard.sqlglot, "parse", fail)
    with pytest.raises(StatementRefused, match="cannot be parsed"):
        guard.check("SELECT 'a statement that is not cached'")
