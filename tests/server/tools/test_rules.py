"""Closed tables and masked columns: as rules, and through the tools on the demo engine."""

from dataclasses import replace
from typing import Any

import pytest

from doris_mcp_server.clusters import Caller
from doris_mcp_server.doris.pool import Column, Limits, Rows
from doris_mcp_server.doris.rows import Column as RowColumn
from doris_mcp_server.errors import StatementRefused
from doris_mcp_server.patterns import CLOSED_TABLES
from doris_mcp_server.tools import Context
from doris_mcp_server.tools.cache import ResultCache
from doris_mcp_server.tools.rules import MAX_POLICIES, Rules, mask

from .conftest import LIMIT, call

pytestmark = pytest.mark.asyncio(loop_scope="module")

SSB = (None, "ssb")


def under(context: Context, **rules: tuple[str, ...]) -> Context:
    return replace(context, rules=Rules(**rules))


async def refused(rules: Rules, sql: str, catalog: str | None = None, database: str | None = "ssb") -> StatementRefused:
    with pytest.raises(StatementRefused) as caught:
        await rules.judge(sql, rules.where(catalog, database, "ssb"))
    return caught.value


# --- closed tables ---

ALLOWED = ("internal.ssb.customer", "internal.ops.*", "lake.raw.click*")


@pytest.mark.parametrize(
    ("sql", "catalog", "database"),
    [
        ("SELECT 1", None, None),
        ("SELECT * FROM customer", None, "ssb"),
        ("SELECT * FROM customer", None, None),  # the account's default database
        ("SELECT * FROM ssb.customer c JOIN ops.anything", None, "other"),
        ("SELECT * FROM internal.ssb.customer", "lake", "raw"),
        ("SELECT * FROM clicks_2024", "lake", "raw"),
        ("WITH t AS (SELECT * FROM customer) SELECT * FROM t", None, "ssb"),
        ("EXPLAIN SELECT * FROM customer", None, "ssb"),
        ("SHOW CREATE TABLE customer", None, "ssb"),
        ("SHOW COLUMNS FROM customer FROM ssb", None, "ssb"),
        ("DESC internal.ops.t", None, None),
    ],
)
async def test_open_tables_are_read(sql: str, catalog: str | None, database: str | None) -> None:
    rules = Rules(ALLOWED)
    assert (await rules.judge(sql, rules.where(catalog, database, "ssb"))).hidden == frozenset()


@pytest.mark.parametrize(
    ("sql", "catalog", "database", "named"),
    [
        ("SELECT * FROM lineorder", None, "ssb", "internal.ssb.lineorder"),
        ("SELECT * FROM customer, lineorder", None, None, "internal.ssb.lineorder"),
        ("SELECT 1 FROM customer WHERE 1 IN (SELECT 1 FROM secret.t)", None, "ssb", "internal.secret.t"),
        ("SELECT * FROM customer", "lake", "ssb", "lake.ssb.customer"),
        ("SELECT * FROM customer", "lake", None, "lake.customer"),  # nobody knows in which database
        ("SELECT * FROM Customer", None, "ssb", "internal.ssb.Customer"),
        ("SELECT * FROM lake.ssb.customer", None, "ssb", "lake.ssb.customer"),
        ("SELECT * FROM `internal.ssb`.customer", None, "ssb", "internal.internal.ssb.customer"),
        ("SELECT * FROM `ops.x`", None, "ssb", "internal.ssb.ops.x"),
        ("SELECT * FROM information_schema.tables", None, "ssb", "internal.information_schema.tables"),
        ("SELECT * FROM t WHERE EXISTS (WITH t AS (SELECT 1) SELECT * FROM t)", None, "ssb", "internal.ssb.t"),
        ("WITH customer AS (SELECT 1) SELECT * FROM Customer", None, "ssb", "internal.ssb.Customer"),
        ("EXPLAIN SELECT * FROM lineorder", None, "ssb", "internal.ssb.lineorder"),
        ("SHOW CREATE TABLE lineorder", None, "ssb", "internal.ssb.lineorder"),
        ("SHOW COLUMNS FROM ops.t FROM ssb", None, "ssb", "internal.ssb.t"),
        ("SHOW COLUMNS FROM ssb.t FROM ops", None, "ssb", "internal.ssb.t"),
        ("SHOW CREATE MATERIALIZED VIEW v ON customer", None, "ssb", "internal.ssb.v"),
        ("DESC lineorder", None, "ssb", "internal.ssb.lineorder"),
    ],
)
async def test_closed_tables_are_refused_with_what_is_open(
    sql: str, catalog: str | None, database: str | None, named: str
) -> None:
    error = await refused(Rules(ALLOWED), sql, catalog, database)
    assert error.message == f"The table {named} is not open here"
    assert error.hint == "Open are: internal.ssb.customer, internal.ops.*, lake.raw.click*."


@pytest.mark.parametrize("sql", ["SHOW TABLES", "SHOW DATABASES", "SHOW DATA", "SHOW CREATE DATABASE ssb"])
async def test_what_lists_others_too_says_what_lists_the_open_ones(sql: str) -> None:
    assert "list_tables" in str((await refused(Rules(ALLOWED), sql)).hint)


async def test_a_long_list_is_not_told_whole() -> None:
    many = tuple(f"internal.ssb.t{number}" for number in range(20))
    assert "t4 and 15 more" in str((await refused(Rules(many), "SELECT * FROM x")).hint)


class Recorder:
    """A way to Doris that keeps what it is asked."""

    def __init__(self, *rows: tuple[Any, ...], columns: tuple[str, ...] = ("x",)) -> None:
        self.asked: list[tuple[str, str | None, str | None]] = []
        self.route = self
        self.database = "ssb"
        self._rows = Rows([RowColumn(name, "INT") for name in columns], list(rows), False, None, 1.0)

    def cluster(self, name: str | None) -> Any:
        return type("Cluster", (), {"capabilities": None})

    def way(self, cluster: str | None, caller: Any) -> Any:
        way: Any = type("Way", (), {"pool": self})
        return way

    async def query(self, sql: str, *, catalog: str | None, database: str | None, limits: Limits) -> Rows:
        self.asked.append((sql, catalog, database))
        return self._rows


async def test_while_tables_are_closed_a_name_means_the_same_to_doris() -> None:
    doris = Recorder()
    limits = Limits(LIMIT, 100, 1 << 20)
    context = Context(doris, limits, Caller("t"), rules=Rules(ALLOWED))  # type: ignore[arg-type]
    await call(context, "execute_query", sql="SELECT * FROM customer")
    await call(context, "execute_query", sql="SELECT * FROM clicks", catalog="lake", database="raw")
    await call(context, "explain_query", sql="SELECT * FROM ops.t", database="ssb")
    with pytest.raises(StatementRefused):
        await call(context, "execute_query", sql="SELECT * FROM lineorder")
    assert doris.asked == [
        ("SELECT * FROM customer", "internal", "ssb"),
        ("SELECT * FROM clicks", "lake", "raw"),
        ("EXPLAIN SELECT * FROM ops.t", "internal", "ssb"),
    ]


async def test_the_catalog_shows_what_is_open_on_the_demo_engine(context: Context) -> None:
    closed = under(context, allowed=("internal.ssb.cust*", "lake.raw.*"))
    assert {c["name"] for c in (await call(closed, "list_catalogs"))["catalogs"]} == {"internal", "lake"}
    assert (await call(closed, "list_databases"))["databases"] == ["ssb"]
    assert (await call(closed, "list_databases", catalog="lake"))["databases"] == ["raw"]
    assert [t["name"] for t in (await call(closed, "list_tables", database="ssb"))["tables"]] == ["customer"]
    assert (await call(closed, "list_tables", database="ops"))["tables"] == []
    assert (await call(closed, "get_table_context", table="customer"))["table"] == "customer"
    with pytest.raises(StatementRefused, match=r"internal\.ssb\.lineorder"):
        await call(closed, "get_table_context", table="lineorder")
    assert (await call(closed, "execute_query", sql="SELECT count(*) FROM customer"))["row_count"] == 1
    with pytest.raises(StatementRefused):
        await call(closed, "execute_query", sql="SELECT count(*) FROM lineorder")
    only = under(context, allowed=("lake.raw.clicks",))
    assert {c["name"] for c in (await call(only, "list_catalogs"))["catalogs"]} == {"lake"}
    assert (await call(only, "list_databases"))["databases"] == []


# --- what is closed without being told, and what else may not be called ---


@pytest.mark.parametrize(
    ("sql", "catalog", "database"),
    [
        ("SELECT * FROM information_schema.processlist", None, None),
        ("SELECT * FROM ProcessList", None, "INFORMATION_SCHEMA"),
        ("SELECT * FROM hive.information_schema.ACTIVE_QUERIES", "lake", "raw"),
        ("SELECT count(*) FROM user", None, "mysql"),
        ("WITH a AS (SELECT * FROM internal.__internal_schema.audit_log) SELECT * FROM a", None, None),
        ("EXPLAIN SELECT * FROM mysql.user", None, None),
    ],
)
async def test_tables_with_what_others_run_are_closed(sql: str, catalog: str | None, database: str | None) -> None:
    error = await refused(Rules(), sql, catalog, database)
    assert "is closed" in error.message
    assert error.hint


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM processlist",
        "DESC mysql.user",
        "SHOW COLUMNS FROM processlist FROM information_schema",
        "WITH user AS (SELECT 1) SELECT * FROM user",
    ],
)
async def test_other_tables_are_not(sql: str) -> None:
    assert (await Rules().judge(sql, SSB)).kind


async def test_an_operator_says_what_is_closed_instead() -> None:
    rules = Rules(closed=("internal.ssb.secret*",))
    assert (await rules.judge("SELECT * FROM mysql.user", SSB)).tables == ("mysql.user",)
    # The catalog of an account's default is not known: it may be the one of the pattern.
    for sql in ("SELECT * FROM secrets", "SELECT * FROM ssb.secrets", "EXPLAIN SELECT 1 FROM secrets"):
        error = await refused(rules, sql)
        assert error.message == "The table ssb.secrets is closed"
    await refused(rules, "SELECT * FROM secrets", "internal")
    assert (await rules.judge("SELECT * FROM ssb.secrets", ("hive", None))).kind == "select"
    assert (await Rules(closed=()).judge("SELECT * FROM information_schema.processlist", SSB)).kind == "select"


async def test_an_operator_says_what_else_may_not_be_called() -> None:
    rules = Rules(refused=("My_UDF",))
    assert "my_udf()" in (await refused(rules, "SELECT 1 + my_udf(a) FROM t")).message
    assert "embed()" in (await refused(rules, "SELECT embed('r', a) FROM t")).message
    assert (await Rules().judge("SELECT my_udf(a) FROM t", SSB)).kind == "select"


@pytest.mark.parametrize(
    "sql",
    [
        "SHOW COLUMN STATS hr.salaries",
        "SHOW COLUMN CACHED STATS hr.salaries (pay)",
        "SHOW COLUMN HISTOGRAM hr.salaries (pay)",
        "SHOW PARTITIONS FROM hr.salaries",
        "SELECT * FROM internal.__internal_schema.column_statistics",
        "SELECT dict_get('hr.d', 'pay', 1)",
    ],
)
async def test_values_of_a_closed_table_do_not_come_out_elsewhere(sql: str) -> None:
    await refused(Rules(closed=(*CLOSED_TABLES, "internal.hr.*")), sql)
    assert (await Rules().judge(sql, SSB)).kind


async def test_bounds_of_partitions_are_values_of_masked_columns() -> None:
    sql = "SELECT partition_description FROM information_schema.PARTITIONS"
    await refused(Rules((), ("c_phone",)), sql)
    assert (await Rules().judge(sql, SSB)).kind == "select"


@pytest.mark.parametrize(
    "sql", ["SHOW VIEW FROM t", "SHOW CREATE VIEW v", "SELECT view_definition FROM information_schema.VIEWS"]
)
async def test_answers_with_definitions_are_known_for_their_secrets(sql: str) -> None:
    assert (await Rules().judge(sql, SSB)).ddl


@pytest.mark.parametrize(
    "rules", [Rules(("internal.ssb.*",)), Rules((), ("c_phone",)), Rules(closed=(*CLOSED_TABLES, "*.hr.*"))]
)
async def test_dictionaries_are_copies_of_tables(rules: Rules) -> None:
    sql = "SELECT dict_get('hr.salary_dict', 'salary', 1)"
    assert "dict_get()" in (await refused(rules, sql)).message
    assert (await Rules().judge(sql, SSB)).kind == "select"


RECURSIVE = [
    "WITH RECURSIVE customer AS (SELECT (SELECT max(c_phone) FROM customer) p) SELECT p FROM customer",
    "WITH RECURSIVE customer AS (SELECT 1 WHERE EXISTS (SELECT 1 FROM customer)) SELECT * FROM customer",
    "WITH RECURSIVE customer AS (WITH y AS (SELECT * FROM customer) SELECT p FROM y) SELECT p FROM customer",
    "WITH RECURSIVE customer AS (SELECT * FROM customer UNION ALL SELECT 1) SELECT 1",
    "WITH RECURSIVE customer AS (SELECT 1 INTERSECT SELECT a FROM customer) SELECT 1",
    "WITH RECURSIVE customer AS (SELECT 1 UNION SELECT 2 UNION SELECT a FROM customer) SELECT 1",
    "WITH RECURSIVE customer AS (SELECT 1 UNION ALL SELECT a FROM customer EXCEPT VALUES (1)) SELECT 1",
    "WITH RECURSIVE customer AS (SELECT '' UNION ALL (WITH x AS (VALUES (1)) SELECT p FROM customer)) SELECT 1",
    "WITH RECURSIVE customer AS (SELECT (VALUES ('') UNION ALL SELECT max(p) FROM customer) AS p) SELECT 1",
    "WITH RECURSIVE customer AS (SELECT 1 WHERE 1 IN (VALUES (1) UNION ALL SELECT id FROM customer)) SELECT 1",
]


@pytest.mark.parametrize("sql", RECURSIVE)
async def test_what_only_looks_like_recursion_reads_the_table_of_that_name(sql: str) -> None:
    assert (await Rules().judge(sql, SSB)).tables == ("customer",)


async def test_recursion_reads_no_table_of_its_own_name() -> None:
    sql = "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 10) SELECT n FROM r"
    assert (await Rules().judge(sql, SSB)).tables == ()


@pytest.mark.parametrize(
    "sql", ["SELECT 1 FROM customer WHERE search('c_phone:25*')", "SELECT esquery(a, '{}') FROM t"]
)
async def test_functions_that_name_columns_in_a_text_are_refused_where_some_are_masked(sql: str) -> None:
    await refused(Rules((), ("c_phone",)), sql)
    assert (await Rules(ALLOWED).judge(sql.replace("FROM t", "FROM customer"), ("internal", "ssb"))).kind


async def test_an_older_parser_finds_no_closed_table_behind_a_lateral_view() -> None:
    sql = "SELECT 1 FROM schemata LATERAL VIEW explode_split('a,b', ',') t AS k, processlist"
    assert "is closed" in (await refused(Rules(), sql, None, "information_schema")).message


LATERAL = "SELECT k, v FROM customer LATERAL VIEW explode_map(m) x AS k, v"


async def test_a_second_column_of_a_lateral_view_is_a_table_to_an_older_parser() -> None:
    rules = Rules(ALLOWED)
    where = rules.where(None, "ssb", None)
    for version in (None, (2, 1, 7), (3, 0, 3)):
        with pytest.raises(StatementRefused, match=r"as the table internal\.ssb\.v"):
            await rules.judge(LATERAL, where, version)
    assert (await rules.judge(LATERAL, where, (4, 0, 1))).tables == ("customer",)
    assert (await Rules().judge(LATERAL, SSB)).tables == ("customer",)


async def test_a_policy_is_the_same_one_each_time_and_there_are_not_too_many() -> None:
    rules = Rules(ALLOWED)
    assert rules.policy(SSB, None) is rules.policy(SSB, None)
    assert rules.policy(SSB, (4, 0, 1)) is not rules.policy(SSB, None)
    for number in range(3 * MAX_POLICIES):
        rules.policy((None, f"d{number}"), None)
    assert len(rules._policies) <= MAX_POLICIES


# --- masked columns ---


@pytest.mark.parametrize(
    ("patterns", "sql", "masked"),
    [
        (("c_phone",), "SELECT * FROM anything", {"c_phone"}),
        (("customer.C_Phone",), "SELECT * FROM ssb.CUSTOMER", {"c_phone"}),
        (("ssb.customer.c_phone",), "SELECT * FROM customer", {"c_phone"}),
        (("*.customer.c_phone", "x"), "SELECT * FROM hive.a.customer, t", {"c_phone", "x"}),
        (("internal.ssb.c*.c_phone",), "SELECT * FROM customer", {"c_phone"}),  # the catalog may be that one
        (("hive.*.customer.c_phone",), "SELECT * FROM internal.ssb.customer", set()),
        (("customer.c_phone",), "SELECT c_phone AS p FROM supplier WHERE c_phone = 1", set()),
        (("other.customer.c_phone",), "SELECT * FROM ssb.customer", set()),
        (("c_phone",), "SELECT 1 AS c_phone", set()),
    ],
)
async def test_columns_are_masked_where_their_table_is_read(
    patterns: tuple[str, ...], sql: str, masked: set[str]
) -> None:
    assert (await Rules((), patterns).judge(sql, SSB)).hidden == masked


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT upper(c_phone) FROM customer",
        "SELECT c_phone AS p FROM (SELECT * FROM customer) t",
        "SELECT * FROM lake.db.`customer$files`",  # lower and upper bounds of each column
        "SELECT * FROM internal.__internal_schema.column_statistics",
        "EXPLAIN SELECT * FROM customer",
    ],
)
async def test_what_would_tell_of_a_masked_column_is_refused(sql: str) -> None:
    await refused(Rules((), ("customer.c_phone",)), sql)


async def test_results_are_masked_on_the_demo_engine(context: Context) -> None:
    masked = under(context, masked=("ssb.customer.C_PHONE", "c_nation"))
    plain = await call(
        context, "execute_query", sql="SELECT c_custkey, c_phone FROM customer ORDER BY c_custkey LIMIT 2"
    )
    sql = "SELECT c_custkey, c_phone FROM customer ORDER BY c_custkey LIMIT 2"
    answer = await call(masked, "execute_query", sql=sql)
    assert [row[0] for row in answer["rows"]] == [row[0] for row in plain["rows"]]
    assert [row[1] for row in answer["rows"]] == ["***", "***"]
    assert answer["columns"][1] == {"name": "c_phone", "type": "VARCHAR"}
    for sql in (
        "SELECT * FROM customer",
        "SELECT c.* FROM (SELECT * FROM customer) c",
        "WITH t AS (SELECT * FROM customer) SELECT c_nation, C_PHONE FROM t",
    ):
        answer = await call(masked, "execute_query", sql=sql)
        shown = {c["name"].lower(): {row[i] for row in answer["rows"]} for i, c in enumerate(answer["columns"])}
        assert shown["c_phone"] == shown["c_nation"] == {"***"}, sql
        assert not any("***" in values for name, values in shown.items() if name not in ("c_phone", "c_nation"))
    with pytest.raises(StatementRefused, match="c_phone is masked"):
        await call(masked, "execute_query", sql="SELECT count(*) FROM customer WHERE c_phone LIKE '1%'")
    assert (await call(masked, "explain_query", sql="SELECT c_phone FROM customer"))["plan"]
    with pytest.raises(StatementRefused, match="c_phone is masked"):
        await call(masked, "explain_query", sql="SELECT 1 FROM customer WHERE c_phone LIKE '1%'")


async def test_a_null_is_masked_too_and_a_kept_result_was() -> None:
    doris = Recorder((1, None), (2, "12"), columns=("id", "C_Phone"))
    results = ResultCache(seconds=60, max_bytes=1 << 20)
    limits = Limits(LIMIT, 100, 1 << 20)
    context = Context(doris, limits, Caller("t"), results=results, rules=Rules((), ("c_phone",)))  # type: ignore[arg-type]
    for _ in range(2):
        answer = await call(context, "execute_query", sql="SELECT * FROM customer")
        assert [list(row) for row in answer["rows"]] == [[1, "***"], [2, "***"]]
    assert len(doris.asked) == 1


async def test_a_result_that_hides_which_column_is_masked_is_not_shown() -> None:
    judged = await Rules((), ("c_phone",)).judge("SELECT c_phone FROM customer", SSB)
    rows = Rows([Column("upper(c_phone)", "VARCHAR")], [("12",)], False, None, 1.0)
    with pytest.raises(StatementRefused):
        mask(rows, judged)
    assert mask(rows, replace(judged, hidden=frozenset())) is rows
