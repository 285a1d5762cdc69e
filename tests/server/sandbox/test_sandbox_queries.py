"""What a SELECT gives: types on the wire, Doris' functions and names, and what is refused."""

import asyncio
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import aiomysql
import duckdb
import pymysql
import pytest
from pymysql.constants import FIELD_TYPE

from doris_mcp_server import sandbox

from .conftest import query


async def test_values_keep_their_types(connect):
    async with connect() as connection, connection.cursor() as cursor:
        await cursor.execute(
            "SELECT lo_custkey, lo_orderkey, lo_revenue, lo_shipmode, d_date, sum(lo_quantity) OVER (), 1.5e0, "
            "NULL, true FROM lineorder JOIN dates ON lo_orderdate = d_datekey ORDER BY 2, lo_linenumber LIMIT 1"
        )
        ((custkey, orderkey, revenue, mode, day, quantity, real, nothing, yes),) = await cursor.fetchall()
        types = [d[1] for d in cursor.description]
        await cursor.execute("SELECT ts, payload, tags, duration FROM ops.events ORDER BY id LIMIT 1")
        ((ts, payload, tags, duration),) = await cursor.fetchall()
    assert types[:6] == [
        FIELD_TYPE.LONG,
        FIELD_TYPE.LONGLONG,
        FIELD_TYPE.NEWDECIMAL,
        FIELD_TYPE.VAR_STRING,
        FIELD_TYPE.DATE,
        FIELD_TYPE.LONGLONG,
    ]
    assert types[6] == FIELD_TYPE.DOUBLE and types[8] == FIELD_TYPE.TINY
    assert isinstance(custkey, int) and orderkey == 1 and isinstance(revenue, Decimal) and isinstance(quantity, int)
    assert mode is None or isinstance(mode, str)
    assert isinstance(day, date) and (real, nothing, yes) == (1.5, None, 1)
    assert ts == datetime(2026, 1, 1) and payload.startswith('{"user":"u0"') and tags == '["region-0", "v0"]'
    assert duration is None


@pytest.mark.parametrize(
    ("sql", "label", "value"),
    [
        ("SELECT 1", "1", 1),
        ("select count(*) from dates", "count(*)", 2557),
        ("SELECT VERSION()", "VERSION()", "5.7.99"),
        ("SELECT @@query_timeout", "@@query_timeout", 900),
        ("SELECT concat('a', \"b\") AS ab", "ab", "ab"),
        ("SELECT ifnull(null, 'x')", "ifnull(null, 'x')", "x"),
        ("SELECT date_format('2024-03-05', '%Y/%m')", "date_format('2024-03-05', '%Y/%m')", "2024/03"),
        ("SELECT from_unixtime(0)", "from_unixtime(0)", "1970-01-01 00:00:00"),
        ("SELECT days_diff('2024-03-05', '2024-03-01') d", "d", 4),
        ('SELECT get_json_string(\'{"a": {"b": "c"}}\', \'$.a.b\') j', "j", "c"),
        (
            "SELECT group_concat(DISTINCT c_region ORDER BY c_region SEPARATOR '|') r FROM customer "
            "WHERE c_custkey < 3",
            "r",
            "AFRICA|AMERICA",
        ),
        ("SELECT bitmap_union_count(to_bitmap(c_custkey)) n FROM customer WHERE c_custkey < 6", "n", 5),
        ("SELECT size(tags) n FROM ops.events LIMIT 1", "n", 2),
        ("SELECT count(*) n FROM ops.events WHERE message MATCH_ANY 'nosuchword took'", "n", 2000),
        ("SELECT count(*) n FROM ops.events WHERE message MATCH_ALL 'nosuchword took'", "n", 0),
        ("SELECT sum(number) n FROM numbers('number' = '5')", "n", 10),
        ("SELECT count(*) n FROM ops.events LATERAL VIEW explode(tags) t AS tag WHERE id = 1", "n", 2),
        ("SELECT count(*) n FROM lineorder WHERE lo_orderkey LIKE '1'", "n", 4),
        ("WITH lineorder AS (SELECT * FROM lineorder LIMIT 3) SELECT count(*) n FROM lineorder", "n", 3),
        ("SELECT count(*) n FROM revenue_by_year", "n", 7),
        ("/* a comment; */ SELECT 'a;b' s", "s", "a;b"),
        ("SELECT 'it\\'s' s", "s", "it's"),
        ("SELECT cast(1 AS largeint) n", "n", "1"),
        ("SELECT 5 / 2 n", "n", 2.5),
    ],
)
async def test_doris_sql_works_and_names_its_columns(ask, sql, label, value):
    names, rows = await ask(sql)
    assert names == [label]
    assert rows == [(value,)]


async def test_every_statement_of_a_packet_runs_and_the_first_error_ends_it(connect):
    async with connect() as connection, connection.cursor() as cursor:
        await cursor.execute("SELECT 1; SELECT 'a;b'; SELECT nope")
        assert await cursor.fetchall() == ((1,),)
        assert await cursor.nextset() and await cursor.fetchall() == (("a;b",),)
        with pytest.raises(pymysql.err.MySQLError, match="nope"):
            await cursor.nextset()


async def test_a_large_result_arrives_whole(ask):
    rows = (await ask("SELECT number FROM numbers('number' = '25000')"))[1]
    assert [row[0] for row in rows] == list(range(25000))


async def test_the_data_is_the_same_at_each_start(ask):
    sql = "SELECT sum(lo_revenue), sum(lo_custkey), count(lo_shipmode) FROM ssb.lineorder"
    here = (await ask(sql))[1]
    other = await sandbox.start("127.0.0.1", 0, "root", "x", 2000)
    try:
        connection = await aiomysql.connect(host="127.0.0.1", port=other.port, user="root", password="x")
        try:
            assert (await query(connection, sql))[1] == here
        finally:
            connection.close()
    finally:
        await other.close()


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO customer VALUES (1)",
        "DELETE FROM customer",
        "UPDATE customer SET c_name = 'x'",
        "TRUNCATE TABLE customer",
        "DROP TABLE customer",
        "CREATE TABLE t (a INT)",
        "CREATE TABLE t AS SELECT 1",
        "ALTER TABLE customer ADD COLUMN x INT",
        "SELECT 1 INTO OUTFILE 'file:///tmp/x'",
        "WITH a AS (SELECT 1) INSERT INTO customer SELECT * FROM a",
        "EXPLAIN SELECT 1; DROP TABLE customer",
        "ATTACH 'x.db'",
        "SET GLOBAL query_timeout = 1",
        "SET PASSWORD = PASSWORD('x')",
        "GRANT ALL ON *.* TO root",
    ],
)
async def test_writes_are_refused(connect, statement):
    async with connect() as connection:
        with pytest.raises(pymysql.err.MySQLError) as caught:
            async with connection.cursor() as cursor:
                await cursor.execute(statement)
                while await cursor.nextset():
                    pass
        assert caught.value.args[0] == 1290
        assert "the demo engine is read-only" in caught.value.args[1]
        assert (await query(connection, "SELECT count(*) FROM customer"))[1] == [(100,)]


@pytest.mark.parametrize(
    "source",
    [
        "read_csv('{}')",
        "read_text('{}')",
        "read_blob('{}')",
        "glob('{}')",
        "parquet_scan('{}')",
        "query('select 1')",
        "duckdb_settings()",
        "local('file_path' = '{}', 'format' = 'csv')",
        "s3('uri' = 'http://127.0.0.1/x')",
        "`{}`",
        "read_csv_auto('{}') AS t",
    ],
)
async def test_files_and_settings_cannot_be_reached(ask, tmp_path: Path, source):
    secret = tmp_path / "secret.csv"
    secret.write_text("found,me\n1,2\n")
    with pytest.raises(pymysql.err.MySQLError) as caught:
        await ask(f"SELECT * FROM {source.format(secret)}")
    assert "found" not in caught.value.args[1].replace("not found", "").replace("Can not found", "")
    with pytest.raises(pymysql.err.MySQLError):
        await ask(f"SELECT (SELECT * FROM {source.format(secret)} x)")


async def test_duckdb_itself_is_locked(engine, tmp_path: Path):
    """The second wall, behind the statement check."""
    secret = tmp_path / "secret.csv"
    secret.write_text("found,me\n")
    cursor = engine.engine.cursor()
    try:
        for statement in (
            f"SELECT * FROM read_csv('{secret}')",
            f"SELECT * FROM '{secret}'",
            f"COPY internal.ssb.part TO '{tmp_path / 'out.csv'}'",
            f"ATTACH '{tmp_path / 'x.db'}'",
            "SET enable_external_access = true",
            "INSTALL httpfs",
        ):
            with pytest.raises(duckdb.Error):
                cursor.execute(statement)
    finally:
        cursor.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["secret.csv"]


async def test_fifty_connections_at_once_each_get_their_own_answers(connect):
    async def one(number: int) -> None:
        async with connect() as connection:
            for step in range(5):
                assert (await query(connection, f"SELECT {number} AS n, connection_id()"))[1] == [
                    (number, connection.thread_id())
                ]
                key = number * 5 + step
                rows = (await query(connection, f"SELECT d_datekey + {key} FROM dates ORDER BY 1 LIMIT 1"))[1]
                assert rows == [(19920101 + key,)]

    await asyncio.gather(*(one(number) for number in range(50)))
