"""Masked columns under the guard: shown plainly, and of no other use whatever the statement does."""

from dataclasses import replace

import pytest

from doris_mcp_server.doris import guard
from doris_mcp_server.doris.guard.policy import POLICY
from doris_mcp_server.doris.names import fold
from doris_mcp_server.errors import StatementRefused

MASKED = replace(POLICY, tables=lambda *asked: frozenset({"c_phone", "c_ssn"}))

SHOWN = [
    ("SELECT c_phone FROM customer", 1),
    ("SELECT c.c_phone, c_name FROM ssb.customer AS c WHERE c_name LIKE 'A%' ORDER BY c_name LIMIT 3", 1),
    ("select `C_Phone`, customer . c_ssn from customer", 2),
    ("SELECT ssb.customer.c_phone FROM ssb.customer", 1),
    ("SELECT c_name, c_phone FROM (SELECT * FROM customer) t", 1),
    ("WITH t AS (SELECT * FROM customer) SELECT c_phone FROM t JOIN orders o ON o.id = t.id", 1),
    ("SELECT * FROM customer", 0),
    ("SELECT c.*, o.total FROM customer c JOIN orders o USING (id)", 0),
    ("SELECT count(*) FROM customer", 0),
    ("SELECT c_city, count(*) FROM customer GROUP BY c_city ORDER BY count(*) DESC", 0),
    ("SELECT DISTINCT c_city FROM customer", 0),
    ("SELECT c_city FROM customer UNION SELECT s_city FROM supplier", 0),
    ("SELECT a FROM t WHERE EXISTS (SELECT * FROM customer WHERE c_city = a)", 0),
    ("SELECT * FROM ((SELECT * FROM customer)) t", 0),
    ("SELECT * FROM (SELECT c.* FROM customer c JOIN orders o USING (id)) t", 0),
    ("SELECT * FROM customer a JOIN customer b USING (id)", 0),
    ("SELECT 'c_phone', \"c_phone\" FROM customer", 0),
    ("SELECT upper(c_name) AS n FROM customer -- c_phone", 0),
    ("SELECT e FROM customer LATERAL VIEW explode([1]) x AS e", 0),
    ("SELECT * FROM (VALUES (1)) AS v(a)", 0),
    ("SHOW COLUMNS FROM customer", 0),
    ("SHOW TABLE STATS customer", 0),
    ("DESC customer", 0),
]


@pytest.mark.parametrize(("sql", "selected"), SHOWN)
def test_what_shows_a_masked_column_as_it_is_runs(sql: str, selected: int) -> None:
    assert guard.check(sql, MASKED).masked == selected


USED = [
    # under another name
    "SELECT c_phone AS p FROM customer",
    "SELECT c_phone p FROM customer",
    "SELECT c_phone 'p' FROM customer",
    "SELECT p FROM (SELECT c_phone AS p FROM customer) t",
    "SELECT * FROM (SELECT c_phone AS p FROM customer) t",
    "SELECT a FROM (SELECT c_phone FROM customer) AS t(a)",
    "WITH t(a) AS (SELECT c_phone FROM customer) SELECT a FROM t",
    "SELECT 'x' AS a UNION ALL SELECT c_phone FROM customer",
    "SELECT a FROM ((SELECT * FROM customer) UNION ALL (SELECT 1)) t",
    "SELECT count(*) FROM ((SELECT * FROM customer WHERE a = 1) INTERSECT SELECT 1, '25-1' FROM customer) t",
    "SELECT * FROM customer ORDER BY +5",
    "SELECT * FROM customer ORDER BY ((5)) DESC",
    "SELECT * FROM customer ORDER BY 5 COLLATE x",
    "SELECT * FROM customer ORDER BY - - 5",
    "SELECT count(*) FROM (SELECT * FROM customer ORDER BY +5 LIMIT 3) t WHERE a = 7",
    "SHOW PARTITIONS FROM customer",
    "SELECT a FROM ((((SELECT * FROM customer)) LIMIT 1) UNION ALL SELECT 1) t",
    "SELECT c_phone FROM customer UNION SELECT 'x'",
    "SELECT * RENAME (c_phone AS p) FROM customer",
    "SELECT * EXCEPT (c_name) REPLACE (c_phone AS c_city) FROM customer",
    "SELECT c_phone.zip FROM customer",
    "SELECT customer.c_phone.zip FROM customer",
    "SELECT c_phone['zip'] FROM customer",
    "SELECT c_phone@x FROM customer",
    # in an expression
    "SELECT +c_phone FROM customer",
    "SELECT - c_phone FROM customer",
    "SELECT (c_phone) FROM customer",
    "SELECT ((c_phone)), 1 FROM customer",
    "SELECT +customer.c_phone FROM customer",
    "SELECT upper(c_phone) FROM customer",
    "SELECT concat('x', c_phone, 'y') FROM customer",
    "SELECT c_phone, upper(c_phone) FROM customer",
    "SELECT max(`c_phone`) FROM customer",
    "SELECT CAST(c_phone AS STRING) FROM customer",
    "SELECT c_phone COLLATE utf8 FROM customer",
    "SELECT CASE WHEN c_phone = '1' THEN 1 END FROM customer",
    "SELECT array_map(x -> x, [c_phone]) FROM customer",
    "SELECT row_number() OVER (ORDER BY c_phone) FROM customer",
    "SELECT (SELECT c_phone FROM customer LIMIT 1)",
    "SELECT e FROM customer LATERAL VIEW explode(split(c_phone, '')) x AS e",
    # in a condition or an order
    "SELECT c_name FROM customer WHERE c_phone = '1'",
    "SELECT c_name FROM customer WHERE C_PHONE LIKE '1%'",
    "SELECT c_name FROM customer WHERE c_\u017f\u017fn = '1'",  # Java's upper case of the long s is S
    "SELECT c_name FROM customer WHERE `C_PHONE` MATCH_ANY '1'",
    "SELECT c_name FROM customer ORDER BY c_phone",
    "SELECT c_city FROM customer GROUP BY c_city HAVING max(c_phone) > '1'",
    "SELECT c_name FROM customer QUALIFY row_number() OVER (ORDER BY c_phone) = 1",
    "SELECT a.c_name FROM customer a JOIN customer b ON a.c_phone = b.c_phone",
    "SELECT c_name FROM customer JOIN phones USING (c_phone)",
    "SELECT c_name FROM customer JOIN phones USING (id, c_phone)",
    "SELECT c_name FROM customer WHERE id IN (SELECT id FROM phones WHERE c_phone = '1')",
    # by its place, or all at once
    "SELECT c_name, c_phone FROM customer ORDER BY 2",
    "SELECT * FROM customer ORDER BY (5)",
    "(SELECT * FROM customer) ORDER BY 5",
    "SELECT c_name FROM (SELECT * FROM customer ORDER BY 5 LIMIT 1) t",
    "SELECT c_phone, count(*) FROM customer GROUP BY 1",
    "SELECT *, count(*) FROM customer GROUP BY 1, 2",
    "SELECT *, count(*) FROM customer GROUP BY GROUPING SETS ((1), (2))",
    "SELECT DISTINCT c_phone FROM customer",
    "SELECT DISTINCT * FROM customer",
    "SELECT count(*) FROM (SELECT DISTINCT * FROM customer) t",
    "SELECT 'a', 'b' UNION ALL SELECT * FROM customer",
    "SELECT * FROM customer EXCEPT SELECT * FROM customer",
    "SELECT * FROM (SELECT *, * FROM customer) t",
    "SELECT * FROM (SELECT a.*, b.* FROM customer a JOIN customer b USING (id)) t",
    "WITH t AS (SELECT * FROM customer a, customer b) SELECT * FROM t",
    "SELECT x FROM (SELECT * FROM customer) AS t(x, y)",
    "SELECT x FROM customer AS t(x, y)",
    "WITH t(x, y) AS (SELECT * FROM customer) SELECT x FROM t",
    "WITH RECURSIVE t AS (SELECT 1 AS a, 'x' AS b UNION ALL SELECT * FROM customer) SELECT b FROM t",
    "SELECT x FROM orders, LATERAL (SELECT * FROM customer) AS t(x)",
    "SELECT upper((SELECT * FROM phones))",
    "SELECT 1 FROM t WHERE 'x' IN (SELECT * FROM phones)",
    "SELECT 1 FROM t WHERE EXISTS (SELECT * FROM phones INTERSECT SELECT 'x')",
    "SELECT json_object(*) FROM customer",
    "SELECT concat(*) FROM customer",
    "SELECT * FROM customer NATURAL JOIN phones",
    # what holds rows under other names
    "SELECT * FROM customer INDEX phones",
    "SELECT __DORIS_ROW_STORE_COL__ FROM customer",
    "SELECT `__doris_row_store_col__` FROM customer",
    "SHOW COLUMN STATS customer",
    "SHOW COLUMN CACHED STATS customer (c_phone)",
    "SHOW COLUMN HISTOGRAM customer (c_phone)",
    "EXPLAIN VERBOSE SELECT * FROM customer",
    "DESC MEMO PLAN SELECT c_phone FROM customer",
]


@pytest.mark.parametrize("sql", USED)
def test_whatever_else_could_use_one_is_refused(sql: str) -> None:
    with pytest.raises(StatementRefused) as refused:
        guard.check(sql, MASKED)
    assert refused.value.hint


def test_a_refusal_names_the_column_and_its_place() -> None:
    with pytest.raises(StatementRefused, match="c_phone is masked") as refused:
        guard.check("SELECT c_name\nFROM customer WHERE c_phone = 1", MASKED)
    assert refused.value.at == (2, 21)
    assert "bare name" in str(refused.value.hint)


def test_other_policies_get_verdicts_of_their_own() -> None:
    sql = "SELECT upper(c_phone) FROM customer"
    assert guard.check(sql).tables == ("customer",)
    with pytest.raises(StatementRefused):
        guard.check(sql, MASKED)
    assert guard.check(sql).masked == 0


@pytest.mark.parametrize("name", ["C_PHONE", "c_pHone", "C_phONE"])
def test_names_of_columns_know_no_capitals(name: str) -> None:
    assert fold(name) == fold("c_phone")


@pytest.mark.parametrize(
    ("name", "same"), [("c_\u017fsn", "c_ssn"), ("\u212aey", "key"), ("\u0130d", "id"), ("ıd", "id")]
)
def test_nor_do_letters_that_java_takes_for_others(name: str, same: str) -> None:
    assert fold(name) == fold(same)


# --- which names are CTEs, on which closed tables hang ---


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("WITH t AS (SELECT 1) SELECT * FROM t", ()),
        ("WITH t AS (SELECT 1) SELECT * FROM T", ("T",)),  # Doris may tell them apart
        ("WITH t AS (SELECT * FROM t) SELECT * FROM t", ("t",)),
        ("WITH RECURSIVE t AS (SELECT 1 UNION ALL SELECT * FROM t) SELECT * FROM t", ()),
        ("WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a, b", ("b",)),
        ("WITH a AS (SELECT 1), b AS (SELECT * FROM a) SELECT * FROM a, b", ()),
        ("SELECT * FROM t WHERE EXISTS (WITH t AS (SELECT 1) SELECT * FROM t)", ("t",)),
        ("SELECT * FROM t, (WITH t AS (SELECT 1) SELECT * FROM t) x", ("t",)),
        ("WITH t AS (SELECT 1) SELECT * FROM (SELECT * FROM (SELECT * FROM t) a) b WHERE 1 IN (SELECT * FROM t)", ()),
        ("WITH t AS (WITH u AS (SELECT 1) SELECT * FROM u) SELECT * FROM t, u", ("u",)),
        ("WITH t AS (SELECT 1) SELECT * FROM d.t", ("d.t",)),
        ("WITH t AS (SELECT 1) SELECT 1 FROM t UNION SELECT 2 FROM t", ()),
        ("SELECT 1 FROM t UNION (WITH t AS (SELECT 1) SELECT 2 FROM t)", ("t",)),
        ("WITH RECURSIVE a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a", ("b",)),
    ],
)
def test_a_bare_name_is_a_cte_only_where_that_can_be_seen(sql: str, tables: tuple[str, ...]) -> None:
    assert guard.check(sql).tables == tables


def test_a_show_with_two_databases_names_both() -> None:
    assert guard.check("SHOW COLUMNS FROM a.t FROM b").tables == ("a.t", "b.t")
    assert guard.check("SHOW CREATE MATERIALIZED VIEW v ON d.t").tables == ("d.t", "v")
