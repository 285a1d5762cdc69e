"""What a cluster offers: version strings seen in the wild, answers denied and missing, and the watch over them."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from doris_mcp_server import sandbox
from doris_mcp_server.doris import capabilities
from doris_mcp_server.doris.capabilities import Capabilities, Nodes, Watched, detect, parse_version
from doris_mcp_server.doris.grants import Grants
from doris_mcp_server.doris.pool import Limits, Pool
from doris_mcp_server.doris.rows import Column, Rows
from doris_mcp_server.errors import DorisUnavailable, QueryFailed

LIMIT = 20.0  # seconds: generous, the machine may be busy
DORIS_3 = "Doris version doris-3.0.3-rc03-43f06a5e26"
DENIED = QueryFailed("Doris error 1227: Access denied; you need (at least one of) the (ADMIN/NODE) privilege(s)")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (DORIS_3, (3, 0, 3)),
        (f"{DORIS_3} (Cloud Mode)", (3, 0, 3)),
        ("Doris version doris-2.1.7-rc03-443e87e203", (2, 1, 7)),
        ("doris version doris-4.0.2-rc02-30d2df0459", (4, 0, 2)),
        ("Doris version doris-4.1.0-43f06a5e26 (Cloud Mode)", (4, 1, 0)),
        ("Doris version doris-2.0.15-rc01-a8fe75b", (2, 0, 15)),
        ("Doris version 1.2.4-rc01-Unknown", (1, 2, 4)),
        ("Doris version Doris-2.0.0", (2, 0, 0)),
        ("Doris version doris-10.20.30", (10, 20, 30)),
        ("Doris version doris-3.1", (3, 1, 0)),
        ("Doris version doris-3.0.6.2-rc01", (3, 0, 6)),
        ("SelectDB Core version: 3.0.7", (3, 0, 7)),
        ("VeloDB Core version: 4.0.1-rc02 (based on Doris)", (4, 0, 1)),
        ("Doris version doris-0.0.0--04cc05c0b8", None),
        ("Doris version trunk-abcdef", None),
        ("Doris-compatible demo engine (DuckDB), not Apache Doris", None),
        ("Debian 12", None),
        ("MySQL Community Server - GPL", None),
        ("mariadb.org binary distribution 11.4.2", None),
        ("StarRocks version 3.3.5-6a2f4b1", None),
        ("5.7.99", None),
        ("", None),
    ],
)
def test_versions(text: str, version: tuple[int, int, int] | None) -> None:
    assert parse_version(text) == version


def rows(names: list[str], *values: list[Any]) -> Rows:
    return Rows([Column(name, "VARCHAR") for name in names], [list(row) for row in values], False, None, 1.0)


def granted(privileges: str = "Select_priv", account: str = "'mcp'@'%'") -> Rows:
    """SHOW GRANTS of an account with these on one database."""
    names = ["UserIdentity", "Roles", "GlobalPrivs", "CatalogPrivs", "DatabasePrivs", "TablePrivs", "ColPrivs"]
    return rows(names, [account, "", None, None, f"internal.crm: {privileges}", None, None])


class Cluster:
    """Answers by the start of the statement; what it does not know, it refuses. An error is raised as it is."""

    def __init__(self, comment: str, **answers: Any) -> None:
        self.answers = {"SELECT @@version_comment": rows(["@@version_comment"], [comment])}
        self.answers |= {name.replace("_", " "): answer for name, answer in answers.items()}
        self.asked = 0
        self.news = asyncio.Condition()

    async def query(self, sql: str) -> Rows:
        async with self.news:
            self.asked += sql.startswith("SELECT")
            self.news.notify_all()
        answer = next((answer for start, answer in self.answers.items() if sql.startswith(start)), DENIED)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def until(self, condition: Callable[[], Any]) -> None:
        """Checked at each statement: nothing in a look waits, so it is over before the one who waits here goes on."""
        async with asyncio.timeout(LIMIT), self.news:
            await self.news.wait_for(condition)


async def test_a_cluster_that_tells_everything() -> None:
    cluster = Cluster(
        DORIS_3,
        SHOW_FRONTENDS=rows(["Name", "Alive"], ["a", "true"], ["b", "false"], ["c", "true"]),
        SHOW_BACKENDS=rows(["BackendId", "Alive", "Tag"], [1, "true", '{"location" : "default"}']),
        SHOW_VARIABLES=rows(
            ["Variable_name", "Value", "Default_Value", "Changed"],
            ["enable_sql_cache", "true", "false", "1"],
            ["enable_query_cache", "false", "false", "0"],
            ["enable_file_cache", "true", "true", "0"],
        ),
        SHOW_GRANTS=granted(),
        SHOW_COLUMNS=rows(["Field", "Type"], ["query_id", "varchar(48)"], ["time", "datetime(3)"]),
    )
    assert await detect(cluster.query) == Capabilities(
        text=DORIS_3,
        version=(3, 0, 3),
        flavour="coupled",
        features=frozenset(
            {
                "inverted_index",
                "workload_groups",
                "variant",
                "arrow_flight",
                "async_materialized_views",
                "storage_compute_decoupling",
                "audit_log",
            }
        ),
        caches={"sql_cache": True, "query_cache": False},
        frontends=Nodes(alive=2, total=3),
        backends=Nodes(alive=1, total=1),
        grants=Grants("'mcp'@'%'"),
    )


async def test_what_is_denied_is_unknown() -> None:
    seen = await detect(Cluster("Doris version doris-2.0.3-rc06-37d31a5").query)
    assert (seen.version, seen.features) == ((2, 0, 3), {"inverted_index", "workload_groups"})
    assert (seen.frontends, seen.backends, seen.caches) == (None, None, {})
    assert seen.grants.only_reads is None and seen.grants.unknown == DENIED.message


async def test_something_that_is_no_doris() -> None:
    seen = await detect(Cluster("Debian 12").query)
    assert (seen.text, seen.version, seen.flavour, seen.features) == ("Debian 12", None, None, frozenset())
    nothing = Cluster("")
    nothing.answers.clear()
    assert (await detect(nothing.query)).text == ""


@pytest.mark.parametrize(
    ("comment", "tag"),
    [(f"{DORIS_3} (Cloud Mode)", '{"location" : "default"}'), (DORIS_3, '{"cloud_cluster_name" : "etl"}')],
)
async def test_storage_compute_mode(comment: str, tag: str) -> None:
    cluster = Cluster(comment, SHOW_BACKENDS=rows(["Alive", "Tag"], ["true", tag]))
    assert (await detect(cluster.query)).flavour == "decoupled"


async def test_a_cluster_that_is_away_is_an_error() -> None:
    with pytest.raises(DorisUnavailable):
        await detect(Cluster(DORIS_3, SHOW_BACKENDS=DorisUnavailable("gone")).query)


@contextlib.asynccontextmanager
async def watching(cluster: Cluster, interval: float) -> AsyncIterator[Watched]:
    watched = Watched("main", cluster.query, interval=interval)
    running = asyncio.create_task(watched.run())
    try:
        yield watched
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_it_looks_at_once_and_then_on_demand() -> None:
    cluster = Cluster(DORIS_3)
    async with watching(cluster, 3600) as watched:
        assert watched.current is None
        await cluster.until(lambda: watched.current)
        cluster.answers["SELECT @@version_comment"] = rows(["x"], ["Doris version doris-4.0.2-rc02"])
        watched.look_again()
        await cluster.until(lambda: watched.current and watched.current.version == (4, 0, 2))


async def test_it_looks_again_each_interval_and_fails_softly() -> None:
    cluster = Cluster(DORIS_3)
    async with watching(cluster, 0) as watched:
        await cluster.until(lambda: cluster.asked == 3)
        for failure in (DorisUnavailable("gone"), KeyError("variable_name")):
            cluster.answers["SHOW FRONTENDS"] = failure
            asked = cluster.asked
            await cluster.until(lambda asked=asked: cluster.asked == asked + 3)
            assert watched.current is not None and watched.current.version == (3, 0, 3)


async def test_what_the_account_may_do_is_logged_once_each_time_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, str, Any]] = []

    def event(message: str, *, level: int = logging.INFO, **fields: Any) -> None:
        if message.startswith("doris_account"):
            assert fields["cluster"] == "main"
            told.append((message, logging.getLevelName(level), fields.get("reason") or fields.get("problem")))

    monkeypatch.setattr(capabilities, "event", event)
    cluster = Cluster(DORIS_3)
    answers = [
        granted(),  # nothing to say of what is right from the beginning
        granted("Select_priv,Load_priv"),
        granted("Load_priv,Select_priv"),
        QueryFailed("query 1 was refused"),
        QueryFailed("query 2 was refused"),
        granted("Load_priv"),
        granted("Load_priv,Drop_priv"),
        granted(),
        granted(),
    ]
    async with watching(cluster, 3600) as watched:
        for answer in answers:
            cluster.answers["SHOW GRANTS"] = answer
            asked = cluster.asked
            watched.look_again()
            await cluster.until(lambda asked=asked: cluster.asked > asked)
    may = "the Doris account 'mcp'@'%' may do more than read: "
    assert told == [
        ("doris_account_has_too_much", "WARNING", f"{may}Load_priv on internal.crm.*"),
        ("doris_account_not_known", "WARNING", "query 1 was refused"),
        ("doris_account_has_too_much", "WARNING", f"{may}Load_priv on internal.crm.*"),
        ("doris_account_has_too_much", "WARNING", f"{may}Load_priv on internal.crm.*, Drop_priv on internal.crm.*"),
        ("doris_account_only_reads", "INFO", None),
    ]


async def test_the_demo_engine(route: Any) -> None:
    engine = await sandbox.start("127.0.0.1", 0, "root", "", 200)
    pool = Pool(route(engine.port, user="root", password=""), size=1, connect_timeout=LIMIT)

    async def query(sql: str) -> Rows:
        return await pool.query(sql, catalog=None, database=None, limits=Limits(LIMIT, 1000, 1 << 20))

    try:
        seen = await detect(query)
    finally:
        await pool.close(LIMIT)
        await engine.close()
    assert (seen.frontends, seen.backends) == (Nodes(1, 1), Nodes(1, 1))
    assert seen.caches == {"sql_cache": False, "query_cache": False}
