"""SHOW, DESC, information_schema: what they tell of the demo data, and errors in Doris' words."""

import pymysql
import pytest

from doris_mcp_server.sandbox.versions import DEMO


async def test_catalogs_databases_and_tables(ask):
    assert [row[1] for row in (await ask("SHOW CATALOGS"))[1]] == ["internal", "lake"]
    assert ("ssb",) in (await ask("SHOW DATABASES"))[1]
    assert (await ask("SHOW DATABASES FROM lake"))[1] == [("information_schema",), ("mysql",), ("raw",)]
    assert (await ask("SHOW DATABASES LIKE 's%'"))[1] == [("ssb",)]
    assert (await ask("show tables from `internal`.`ssb` like '%er'"))[1] == [
        ("customer",),
        ("lineorder",),
        ("supplier",),
    ]
    kinds = dict(row[:2] for row in (await ask("SHOW FULL TABLES"))[1])
    assert kinds["revenue_by_year"] == "VIEW" and kinds["lineorder"] == "BASE TABLE"


async def test_switch_and_use_change_where_names_lead(ask):
    await ask("SWITCH lake")
    assert (await ask("SELECT DATABASE()"))[1] == [(None,)]
    await ask("USE raw")
    assert (await ask("SELECT count(*) FROM clicks"))[1] == [(5000,)]
    assert (await ask("SHOW TABLES"))[1] == [("clicks",)]
    assert (await ask("SELECT TABLE_NAME FROM information_schema.tables WHERE TABLE_SCHEMA = 'raw'"))[1] == [
        ("clicks",)
    ]
    await ask("USE internal.ops")
    assert (await ask("SELECT current_catalog(), database()"))[1] == [("internal", "ops")]


@pytest.mark.parametrize(
    "name", ["lineorder", "ssb.lineorder", "internal.ssb.lineorder", "`internal`.`ssb`.`lineorder`"]
)
async def test_a_table_is_described_under_each_of_its_names(ask, name):
    rows = (await ask(f"DESC {name}"))[1]
    assert rows[0] == ("lo_orderkey", "bigint", "No", "true", None, "")
    assert rows[-1] == ("lo_shipmode", "varchar(10)", "Yes", "false", None, "NONE")
    full = (await ask(f"SHOW FULL COLUMNS FROM {name} LIKE 'lo_custkey'"))[1]
    assert [row[0] for row in full] == ["lo_custkey"] and "joins customer" in full[0][-1]
    ((shown, ddl),) = (await ask(f"SHOW CREATE TABLE {name}"))[1]
    assert shown == "lineorder"
    assert "DUPLICATE KEY(`lo_orderkey`, `lo_linenumber`)" in ddl
    assert "PARTITION BY RANGE(`lo_orderdate`)" in ddl


async def test_view_and_external_table_have_their_own_ddl(ask):
    names, rows = await ask("SHOW CREATE TABLE revenue_by_year")
    assert names == ["View", "Create View", "character_set_client", "collation_connection"]
    assert rows[0][1].startswith("CREATE VIEW `revenue_by_year`")
    assert "ENGINE=HMS_EXTERNAL_TABLE" in (await ask("SHOW CREATE TABLE lake.raw.clicks"))[1][0][1]


async def test_information_schema_agrees_with_the_data(ask):
    sql = "SELECT TABLE_ROWS, TABLE_COMMENT FROM information_schema.tables WHERE TABLE_SCHEMA='ssb' AND TABLE_NAME='{}'"
    for table in ("lineorder", "customer", "dates"):
        ((rows, comment),) = (await ask(sql.format(table)))[1]
        assert ((rows,),) == tuple((await ask(f"SELECT count(*) FROM {table}"))[1])
        assert comment
    columns = (
        await ask(
            "SELECT column_name, COLUMN_TYPE, COLUMN_KEY, IS_NULLABLE FROM internal.INFORMATION_SCHEMA.columns "
            "WHERE table_schema = 'ssb' AND table_name = 'lineorder' ORDER BY ordinal_position"
        )
    )[1]
    described = (await ask("DESC lineorder"))[1]
    assert [row[:2] for row in columns] == [row[:2] for row in described]
    assert columns[0][2:] == ("DUP", "NO")


async def test_partitions_are_chosen_ordered_and_cut(ask):
    async def names(clauses: str) -> list[str]:
        return [row[1] for row in (await ask(f"SHOW PARTITIONS FROM lineorder {clauses}"))[1]]

    every = [f"p{year}" for year in range(1992, 1999)]
    assert await names("") == every
    assert await names("LIMIT 2") == every[:2]
    assert await names("ORDER BY PartitionName DESC LIMIT 1, 2") == every[-2:-4:-1]
    assert await names("WHERE PartitionName = 'p1995'") == ["p1995"]
    assert await names("WHERE PartitionName LIKE 'p199_' LIMIT 9") == every


@pytest.mark.parametrize(
    ("statement", "wanted"),
    [
        ("SHOW DATABASES WHERE Database = 'ops'", ["ops"]),
        ("SHOW TABLES FROM ssb WHERE Tables_in_ssb LIKE 'd%'", ["dates"]),
        ("SHOW FULL TABLES WHERE table_type = 'VIEW'", ["revenue_by_year"]),
        ("SHOW COLUMNS FROM customer WHERE Field = 'c_city'", ["c_city"]),
        ("SHOW VARIABLES WHERE Variable_name = 'query_timeout'", ["query_timeout"]),
        ("SHOW BUILTIN FUNCTIONS LIKE 'hll%'", ["hll_cardinality", "hll_hash", "hll_union_agg"]),
        ("SHOW VIEW FROM dates", ["revenue_by_year"]),
        ("SHOW VIEW FROM part", []),
    ],
)
async def test_what_show_lists_can_be_filtered(ask, statement, wanted):
    assert [row[0] for row in (await ask(statement))[1]] == wanted


async def test_sizes_and_statistics_agree_with_the_data(ask):
    names, rows = await ask("SHOW DATA")
    assert [row[0] for row in rows] == [
        "customer", "dates", "lineorder", "part", "supplier", "Total", "Quota", "Left",
    ]  # fmt: skip
    names, rows = await ask("SHOW DATA FROM lineorder")
    assert rows[0][names.index("RowCount")] == "2000"
    names, rows = await ask("SHOW TABLE STATS lineorder")
    assert rows[0][names.index("row_count")] == "2000"
    names, rows = await ask("SHOW COLUMN STATS customer (c_name, c_city)")
    assert [(row[0], row[2]) for row in rows] == [("c_name", "100.0"), ("c_city", "100.0")]
    names, rows = await ask("DESC customer ALL")
    assert rows[0][:3] == ("customer", "DUP_KEYS", "c_custkey") and rows[1][:3] == ("", "", "c_name")


async def test_it_says_what_it_is_wherever_it_shows(ask):
    assert (await ask("SHOW CATALOGS"))[1][1][6] == DEMO
    for level in ("", "VERBOSE ", "SHAPE PLAN ", "ALL PLAN "):
        names, rows = await ask(f"EXPLAIN {level}SELECT count(*) FROM lineorder WHERE lo_tax = 3")
        assert names == ["Explain String(Nereids Planner)"]
        text = "\n".join(row[0] for row in rows)
        assert text.startswith(DEMO) and "VOlapScanNode" in text and "TABLE: internal.ssb.lineorder" in text


@pytest.mark.parametrize(
    ("statement", "code", "words"),
    [
        ("USE nope", 1049, "Unknown database 'nope'"),
        ("SHOW TABLES FROM nope", 1049, "Unknown database 'nope'"),
        ("SWITCH nope", 1105, "Unknown catalog 'nope'"),
        ("DESC nope", 1051, "Unknown table 'nope'"),
        ("SELECT * FROM nope", 1105, "Table [nope] does not exist in database [ssb]."),
        ("SELECT * FROM nope.t", 1105, "Database [nope] does not exist."),
        ("SELECT * FROM nope.a.t", 1105, "Catalog nope does not exist."),
        ("SELECT nope FROM lineorder", 1105, "Unknown column 'nope'"),
        ("SELECT nope(1) FROM lineorder", 1105, "Can not found function 'NOPE'"),
        ("SELEC 1", 1105, "mismatched input 'selec'"),
        ("KILL QUERY 999999", 1094, "Unknown thread id: 999999"),
        ("KILL QUERY 'no-such-query'", 1097, "Unknown query id: no-such-query"),
        ("SET no_such_variable = 1", 1193, "Unknown system variable 'no_such_variable'"),
        ("SET query_timeout = 'soon'", 1231, "query_timeout"),
        ("SHOW QUERY PROFILE '/'", 1105, "show query/load profile syntax is a deprecated feature"),
        ("SHOW PARTITIONS FROM lake.raw.clicks", 1105, "is not a OLAP table"),
        ("SHOW TABLES WHERE nope = 'x'", 1105, "Unknown column 'nope' in 'where clause'"),
        ("SHOW COLUMN STATS customer (nope)", 1105, "Unknown column 'nope'"),
        ("SHOW PROCEDURE STATUS", 1235, "not supported by the demo engine"),
    ],
)
async def test_errors_carry_the_number_and_words_of_doris(ask, statement, code, words):
    with pytest.raises(pymysql.err.MySQLError) as caught:
        await ask(statement)
    assert caught.value.args[0] == code
    assert caught.value.args[1].startswith("errCode = 2, detailMessage = ")
    assert words in caught.value.args[1]
    assert (await ask("SELECT 1"))[1] == [(1,)]
