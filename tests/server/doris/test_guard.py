"""The guard: what it refuses, what it accepts, and that its words say which."""

import asyncio
import contextlib
import gc
import sys
import threading
from dataclasses import replace
from typing import Any

import pytest

from doris_mcp_server.doris import guard
from doris_mcp_server.doris.guard.budget import Budget
from doris_mcp_server.doris.guard.lexer import MAX_TOKENS
from doris_mcp_server.doris.guard.policy import POLICY
from doris_mcp_server.doris.guard.verdicts import REMEMBERED, Memory, Verdict
from doris_mcp_server.errors import StatementRefused

from .statements import Row, corpus, illegal, large, legal

LIMIT = 20.0  # seconds: generous, the machine may be busy


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test judges how quick this machine is."""
    monkeypatch.setattr(guard, "MAX_SECONDS", LIMIT)


def named(rows: list[Row]) -> list[Any]:
    return [pytest.param(row, id=row.name) for row in rows]


def refusal(sql: str) -> StatementRefused:
    with pytest.raises(StatementRefused) as refused:
        guard.check(sql)
    assert refused.value.message
    assert refused.value.hint
    return refused.value


@pytest.mark.parametrize("row", named(corpus() + legal() + illegal()))
def test_statements(row: Row) -> None:
    if row.accept:
        assert guard.check(row.sql).kind
    else:
        refusal(row.sql)


def test_there_are_enough_legal_queries() -> None:
    assert len({row.sql for row in legal()}) >= 300


@pytest.mark.parametrize(
    ("sql", "words", "at"),
    [
        ("SELECT 1; SELECT 2", "after the closing", (1, 11)),
        ("SELECT *\nFROM t,\n  s3('uri'='x')", "s3()", (3, 3)),
        ("SELECT *\nFROM brand_new('uri'='x')", "brand_new() cannot be read from", (2, 6)),
        ("SELECT /*+ SET_VAR(a=1) */ 1", "optimizer hints", (1, 8)),
        ("SELECT 1\n INTO OUTFILE 'x'", "INTO", (2, 2)),
        ("SELECT a,\n b FROM WHERE c", "cannot be parsed: WHERE", (2, 9)),
        ("SELECT 1 +", "cannot be parsed", (1, 10)),
        ("SELECT /* x */ 'a' 'it''s' FROM t t t", "cannot be parsed", (1, 37)),
        ("SELECT sleep(a) FROM t", "0 to 60 seconds", (1, 8)),
        ("WITH x AS (SELECT 1) DELETE FROM t", "cannot be parsed: DELETE", (1, 22)),
        ("DROP TABLE t", "not DROP", (1, 1)),
        ("SELECT `a", "not closed", (1, 8)),
        ("SELECT 1\n\0", "NUL", (2, 1)),
        ("SELECT '\ud800'", "Unicode", (1, 9)),
        ("SELECT " + "(" * 5000 + "1" + ")" * 5000, "deeply", None),
        ("SELECT `" + "a" * 2000 + "`", "longer than 1,024", (1, 8)),
        ("SELECT " + "a, " * MAX_TOKENS, "tokens", (1, 37_506)),
        ("SELECT " + "abcdefghijklmnopqrstuvwxyz, " * 8_000, "characters besides", (1, 135_920)),
    ],
)
def test_refusal_names_the_reason_and_the_place(sql: str, words: str, at: tuple[int, int] | None) -> None:
    refused = refusal(sql)
    assert words in refused.message
    assert refused.at == at
    assert refused.as_dict().get("at") == (at and {"line": at[0], "column": at[1]})


@pytest.mark.parametrize(
    ("sql", "hint"),
    [
        ("USE d", "arguments"),
        ("SWITCH c", "argument"),
        ("SET a = 1", "arguments of the tool"),
        ("VALUES (1)", "SELECT * FROM (VALUES"),
        ("DROP TABLE t", "SELECT or WITH"),
        ("SELECT * FROM t JOIN brand_new() x", "explode()"),
        ("SELECT * FROM numbers('number'='10000000')", "1,000,000"),
    ],
)
def test_refusal_says_what_would_be_accepted(sql: str, hint: str) -> None:
    assert hint in str(refusal(sql).hint)


@pytest.mark.parametrize(
    ("sql", "hint"),
    [
        ("SELECT a, FROM t", "Something is missing before FROM"),
        ("SELECT key FROM t", "key is a reserved word of Doris"),
        ("SELECT (1", "closing parenthesis is missing"),
        ("SELECT /*+ SET_VAR(a=1) */ 1", "Leave the hint out"),
        ("SELECT 1 /*! x */", "Leave the comments out"),
    ],
)
def test_a_hint_is_about_what_is_wrong(sql: str, hint: str) -> None:
    assert hint in str(refusal(sql).hint)


@pytest.mark.parametrize(
    ("sql", "verdict"),
    [
        (
            "WITH x AS (SELECT * FROM d.t) SELECT * FROM x JOIN `c`.`d`.`u u` ON true WHERE a IN (SELECT 1 FROM v)",
            ("select", ("c.d.u u", "d.t", "v")),
        ),
        ("SELECT a FROM t UNION SELECT b FROM t", ("union", ("t",))),
        ("SELECT 1 INTERSECT SELECT 2 EXCEPT SELECT 3", ("except", ())),
        ("SELECT 1 UNION SELECT 2 INTERSECT SELECT 3", ("union", ())),
        ("EXPLAIN VERBOSE SELECT * FROM t@branch(b) PARTITION (p) TABLET(1) x", ("explain", ("t",))),
        ("(SELECT 1)", ("subquery", ())),
        ("(SELECT 1 UNION SELECT 2)", ("subquery", ())),
        ("(SELECT 1) UNION (SELECT 2)", ("union", ())),
    ],
)
def test_verdict_names_kind_and_tables(sql: str, verdict: tuple[str, tuple[str, ...]]) -> None:
    found = guard.check(sql)
    assert (found.kind, found.tables) == verdict


@pytest.mark.parametrize(
    "name", ["order-id", "2nd", "größe", "with blank", "it's", 'say "x"', "tick``tick", "表", "a;b"]
)
def test_names_of_any_kind(name: str) -> None:
    quoted = f"`{name}`"
    sql = f"SELECT {quoted}, t.{quoted} AS {quoted} FROM {quoted}.{quoted}.{quoted} t WHERE {quoted} = 1"
    plain = name.replace("``", "`")
    assert guard.check(sql).tables == (f"{plain}.{plain}.{plain}",)


@pytest.mark.parametrize("name", ["s3", "S3", "load_file", "ai_x", "BenchMark"])
@pytest.mark.parametrize("form", ["{}", "`{}`", "`{}` ", "{}/**/", "d.{}", "d.`{}`"])
def test_refused_functions_however_they_are_written(name: str, form: str) -> None:
    assert name.lower() in refusal(f"SELECT {form.format(name)}('x')").message


def test_verdicts_are_remembered_also_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    accepted, refused = "SELECT 'remember me'", "DROP TABLE remember_me"
    verdict = guard.check(accepted)
    first = refusal(refused)

    def fail(*args: object) -> Any:
        raise AssertionError("read again")

    monkeypatch.setattr(guard, "tokens", fail)
    assert guard.check(accepted) is verdict
    second = refusal(refused)
    assert second is not first  # a shared exception would collect tracebacks
    assert second.as_dict() == first.as_dict()


def test_another_policy_is_asked_anew() -> None:
    sql = "SELECT * FROM brand_new('a'='b')"
    refusal(sql)
    wider = replace(POLICY, row_functions=POLICY.row_functions | {"brand_new"})
    assert guard.check(sql, wider).kind == "select"
    refusal(sql)


def test_memory_is_bounded() -> None:
    memory = Memory()
    for number in range(REMEMBERED + 1):
        memory.keep(f"SELECT {number}", POLICY, Verdict("select", (), "SELECT 1"))
    assert memory.get("SELECT 0", POLICY) is None
    assert memory.get(f"SELECT {REMEMBERED}", POLICY)
    memory.keep(long := f"SELECT '{'a' * 20_000}'", POLICY, Verdict("select", (), "SELECT 1"))
    assert memory.get(long, POLICY) is None


@pytest.mark.parametrize("row", named([row for row in large() if not row.accept]))
async def test_work_without_end_is_refused(row: Row) -> None:
    with pytest.raises(StatementRefused):
        await guard.judge(row.sql)


@pytest.mark.parametrize("row", named([row for row in large() if row.accept and len(row.sql) < 400_000]))
def test_reading_ends_when_its_time_is_over(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_SECONDS", 0)
    assert "takes more than 0 s" in refusal(row.sql).message


@pytest.mark.parametrize("row", named([row for row in large() if row.accept]))
async def test_the_loop_goes_on_while_a_large_statement_is_read(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the midst of reading the reader waits for the event loop to come round: it would wait for ever for itself."""
    came_round = threading.Event()

    class Waiting(Budget):
        def step(self) -> None:
            super().step()
            assert came_round.wait(LIMIT)

    monkeypatch.setattr(guard, "Budget", Waiting)
    judging = asyncio.create_task(guard.judge(row.sql))
    await asyncio.sleep(0)
    assert not judging.done()
    came_round.set()
    assert (await judging).kind


def test_many_hints_behind_a_long_text_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text before them is looked through once, and not by each."""
    looks: list[str] = []

    class Counting:
        def search(self, sql: str) -> None:
            looks.append(sql)

    monkeypatch.setattr("doris_mcp_server.doris.guard.lexer._TWO_UNITS", Counting())
    sql = f"SELECT '{'é' * 30_000}', 1 FROM (SELECT {'/*+ ORDERED */ ' * 1_000}2) x"
    assert guard.check(sql).kind == "select"
    assert looks == [sql]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM numbers('number' = '" + "9" * 5_000 + "')",
        "SELECT sleep(" + "9" * 1_000 + ")",
        "SELECT repeat('a', 1e999)",
    ],
)
def test_numbers_of_any_length_are_refused_not_failed_on(sql: str) -> None:
    refusal(sql)


async def test_what_takes_long_though_it_is_short_goes_to_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "INLINE_SECONDS", 0)
    readers: list[str] = []

    class Watched(Budget):
        def __init__(self, seconds: float) -> None:
            readers.append(threading.current_thread().name)
            super().__init__(seconds)

    monkeypatch.setattr(guard, "Budget", Watched)
    sql = "SELECT 'short', " + "1 + " * 200 + "1"
    assert (await guard.judge(sql)).kind == "select"
    assert readers == ["MainThread", "guard_0"]
    assert await guard.judge(sql) is await guard.judge(sql)
    assert len(readers) == 2  # remembered


async def test_long_statements_take_turns_and_short_ones_do_not_wait() -> None:
    long = [row.sql for row in large() if row.accept][:3]
    waiting = [asyncio.create_task(guard.judge(sql)) for sql in long]
    await asyncio.sleep(0)
    assert (await guard.judge("SELECT 'meanwhile'")).kind == "select"
    waiting[1].cancel()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(verdict, Verdict) for verdict in done] == [True, False, True]


@pytest.mark.parametrize("collecting", [True, False])
def test_reading_leaves_the_interpreter_as_it_was(collecting: bool) -> None:
    interval = sys.getswitchinterval()
    (gc.enable if collecting else gc.disable)()
    try:
        guard.check(f"SELECT 'collecting: {collecting}'")
        assert gc.isenabled() == collecting
    finally:
        gc.enable()
    assert sys.getswitchinterval() == interval


@pytest.mark.parametrize("row", named([row for row in large() if len(row.sql) < 200_000]))
def test_reading_leaves_little_garbage(row: Row) -> None:
    """A tree of 100,000 objects in circles would stop all threads for a long collection, later."""
    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(StatementRefused):
            guard.check(row.sql)
        assert gc.collect() < 1_000
    finally:
        gc.enable()
