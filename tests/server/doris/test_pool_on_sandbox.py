"""The pool against the demo engine: real statements, real sleeps that are killed, real catalogs."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from doris_mcp_server import sandbox
from doris_mcp_server.doris.pool import Limits, Pool, Rows
from doris_mcp_server.errors import DorisRefusedLogin, QueryFailed, QueryTimeout
from doris_mcp_server.sandbox.options import Options

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT = 30.0
LIMITS = Limits(timeout_s=LIMIT, max_rows=1000, max_bytes=1 << 20)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def engine() -> AsyncIterator[Any]:
    started = await sandbox.start("127.0.0.1", 0, "root", "pw", 500)
    yield started
    await started.close()


@pytest_asyncio.fixture(loop_scope="module")
async def pool(engine: Any, route: Any) -> AsyncIterator[Pool]:
    made = Pool(route(engine.port, user="root", password="pw"), size=4, connect_timeout=LIMIT)
    yield made
    await made.close(LIMIT)


async def ask(
    pool: Pool, sql: str, limits: Limits = LIMITS, catalog: str | None = None, database: str | None = None
) -> Rows:
    return await pool.query(sql, catalog=catalog, database=database, limits=limits)


async def test_values(pool: Pool) -> None:
    sql = (
        "SELECT 1 AS a, CAST('1.50' AS DECIMAL(38, 2)) AS b, CAST(9223372036854775807 AS BIGINT) AS c, "
        "CAST('2024-01-02' AS DATE) AS d, NULL AS e, '中' AS f"
    )
    rows = await ask(pool, sql)
    assert [column.name for column in rows.columns] == ["a", "b", "c", "d", "e", "f"]
    assert rows.rows == [(1, "1.50", "9223372036854775807", "2024-01-02", None, "中")]


async def test_places(pool: Pool) -> None:
    assert (await ask(pool, "SELECT count(*) FROM lineorder", database="ssb")).rows == [(500,)]
    clicks = await ask(pool, "SELECT count(*) FROM clicks", catalog="lake", database="raw")
    assert clicks.rows[0][0] > 0
    assert (await ask(pool, "SELECT database()")).rows == [(None,)]
    with pytest.raises(QueryFailed, match="nope"):
        await ask(pool, "SELECT 1", database="nope")


async def test_cut_results_leave_the_pool_usable(pool: Pool) -> None:
    for _ in range(3):
        rows = await ask(pool, "SELECT * FROM ssb.lineorder", Limits(LIMIT, 10, 1 << 20))
        assert (len(rows.rows), rows.truncated_by) == (10, "rows")
        rows = await ask(pool, "SELECT * FROM ssb.lineorder", Limits(LIMIT, 1000, 2000))
        assert rows.truncated_by == "bytes"
        assert 0 < len(rows.rows) < 100
    whole = await ask(pool, "SELECT * FROM ssb.lineorder", Limits(LIMIT, 500, 1 << 20))
    assert (len(whole.rows), whole.truncated) == (500, False)


async def test_deadline_and_cancellation(pool: Pool) -> None:
    with pytest.raises(QueryTimeout):
        await ask(pool, "SELECT sleep(30)", Limits(0.05, 10, 1000))
    task = asyncio.create_task(ask(pool, "SELECT sleep(30)"))
    while not pool.in_use:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pool.in_use == 0
    assert (await ask(pool, "SELECT 1")).rows == [(1,)]


async def test_many_at_once(pool: Pool) -> None:
    answers = await asyncio.gather(*(ask(pool, f"SELECT {number}") for number in range(60)))
    assert [answer.rows for answer in answers] == [[(number,)] for number in range(60)]


async def test_second_net_is_set(pool: Pool) -> None:
    rows = await ask(pool, "SELECT @@query_timeout", Limits(12, 10, 1000))
    assert [str(value) for value in rows.rows[0]] == ["13"]


@pytest.mark.parametrize("version", ["2.1", "3.0", "4.0"])
async def test_one_planner_reads_what_is_sent(version: str, route: Any) -> None:
    started = await sandbox.start("127.0.0.1", 0, "root", "pw", 10, options=Options(version))
    pool = Pool(route(started.port, user="root", password="pw"), size=1, connect_timeout=LIMIT)
    try:
        rows = await ask(pool, "SELECT @@enable_nereids_planner, @@enable_fallback_to_original_planner, @@sql_mode")
        assert rows.rows == [("true", "false", "ONLY_FULL_GROUP_BY")]
    finally:
        await pool.close(LIMIT)
        await started.close()


async def test_wrong_password(engine: Any, route: Any) -> None:
    pool = Pool(route(engine.port, user="root", password="wrong"), size=1, connect_timeout=LIMIT)
    with pytest.raises(DorisRefusedLogin):
        await ask(pool, "SELECT 1")
    await pool.close(LIMIT)
