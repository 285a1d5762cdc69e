"""Several frontends: their order, one that is gone, silent, hanging or back again, and what runs there meanwhile."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from doris_mcp_server.clusters import Account, Bound, Caller, Cluster
from doris_mcp_server.doris import frontends as frontends_module
from doris_mcp_server.doris import pool as pool_module
from doris_mcp_server.doris import routes as routes_module
from doris_mcp_server.doris.figures import Figures
from doris_mcp_server.doris.frontends import OPEN_AFTER, Frontends
from doris_mcp_server.doris.pool import Limits, Pool
from doris_mcp_server.doris.routes import Routes
from doris_mcp_server.errors import DorisRefusedLogin, DorisUnavailable, InvalidArgument, Overloaded, QueryTimeout
from doris_mcp_server.observe import Metrics

from .conftest import LIMIT, LIMITS

FAR = 3600.0


@pytest.fixture
async def pair(frontend: Any) -> AsyncIterator[tuple[Any, Any]]:
    """Two frontends; the fixture `frontend` is the first."""
    second = type(frontend)()
    await second.start()
    yield frontend, second
    await second.stop()


@pytest.fixture
async def pool(pair: tuple[Any, Any], route: Any) -> AsyncIterator[Pool]:
    made = Pool(route(*(fake.port for fake in pair)), size=4, connect_timeout=LIMIT)
    yield made
    await made.close(LIMIT)


@contextlib.asynccontextmanager
async def cluster_of(*ports: int, driver: Any, **config: Any) -> AsyncIterator[routes_module.Cluster]:
    accounts = {"default": Account(user="u", password="secret")}
    cluster = Cluster(frontends=tuple(f"127.0.0.1:{port}" for port in ports), accounts=accounts, **config)
    routes = Routes([cluster], driver=driver, pool_size=2, max_connections=10, connect_timeout=LIMIT)
    yield routes.cluster(None)
    await routes.close(LIMIT)


async def ask(pool: Pool, sql: str = "SELECT 1", limits: Limits = LIMITS) -> Any:
    return (await pool.query(sql, catalog=None, database=None, limits=limits)).rows


async def test_the_first_one_is_asked(pair: tuple[Any, Any], pool: Pool) -> None:
    await asyncio.gather(*(ask(pool) for _ in range(10)))
    assert (pair[0].sent().count("SELECT 1"), pair[1].connections) == (10, 0)
    assert pool.route.frontends.failovers == 0


async def test_another_one_is_asked_when_the_first_is_gone(pair: tuple[Any, Any], pool: Pool) -> None:
    await pair[0].stop()
    assert await ask(pool) == [(1,)]
    assert pair[1].sent() == ["SELECT 1"]
    assert pool.route.frontends.failovers == 1


async def test_one_that_is_gone_is_not_dialled_again_and_again(
    pair: tuple[Any, Any], pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frontends_module, "LONGEST_PAUSE", FAR)
    monkeypatch.setattr(frontends_module.Frontend, "_pause", FAR)
    first = pool.route.frontends.all[0]
    await pair[0].stop()
    for number in range(OPEN_AFTER + 3):
        assert first.failures == min(number, OPEN_AFTER)
        pool._drop_idle()
        await ask(pool)
    assert first.open


async def test_all_gone_is_told_at_once_with_every_reason(pair: tuple[Any, Any], pool: Pool) -> None:
    for fake in pair:
        await fake.stop()
    for _ in range(OPEN_AFTER + 1):
        with pytest.raises(DorisUnavailable) as unavailable:
            await ask(pool)
        assert all(str(fake.port) in unavailable.value.message for fake in pair)
        assert unavailable.value.retryable


async def test_a_silent_one_gets_company(pair: tuple[Any, Any], pool: Pool) -> None:
    pair[0].login = None
    assert await ask(pool) == [(1,)]
    assert pair[1].sent() == ["SELECT 1"]
    assert pool.route.frontends.all[0].failures == 1
    await pair[0].until(lambda: 1 in pair[0].closed)


async def test_a_refused_login_is_no_reason_to_ask_elsewhere(pair: tuple[Any, Any], pool: Pool, fake: Any) -> None:
    pair[0].login = fake.error(1045, "Access denied for user 'u'")
    with pytest.raises(DorisRefusedLogin):
        await ask(pool)
    assert pair[1].connections == 0


async def test_what_ran_on_a_frontend_that_dies_is_sent_to_another(pair: tuple[Any, Any], pool: Pool) -> None:
    pair[0].keep_silent()
    task = asyncio.create_task(ask(pool, "SELECT slow"))
    await pair[0].until(lambda: "SELECT slow" in pair[0].sent())
    await pair[0].stop()
    assert await task == [(1,)]
    assert pair[1].sent() == ["SELECT slow"]
    assert (pool.retries, pool.in_use) == (1, 0)


async def test_a_statement_that_ends_its_connections_is_sent_twice_at_most(
    pair: tuple[Any, Any], pool: Pool, fake: Any
) -> None:
    def script(sql: str) -> Any:
        if sql == "SELECT 1":
            raise fake.HangUp
        return [fake.OK]

    for each in pair:
        each.script = script
    with pytest.raises(DorisUnavailable):
        await ask(pool)
    assert [each.sent() for each in pair] == [["SELECT 1"], ["SELECT 1"]]


async def test_one_that_is_not_ready_hands_over(pair: tuple[Any, Any], pool: Pool, fake: Any) -> None:
    pair[0].script = lambda sql: [fake.error(1105, "Node catalog is not ready")] if sql == "SELECT 1" else [fake.OK]
    assert await ask(pool) == [(1,)]
    assert pair[1].sent() == ["SELECT 1"]


async def test_the_deadline_is_one_for_all_attempts(pair: tuple[Any, Any], pool: Pool) -> None:
    for each in pair:
        each.keep_silent()
    task = asyncio.create_task(ask(pool, "SELECT slow", Limits(1.0, 10, 1000)))
    await pair[0].until(lambda: "SELECT slow" in pair[0].sent())
    await pair[0].stop()
    with pytest.raises(QueryTimeout, match="longer than 1 s"):
        await task
    assert [sql for sql in pair[1].sent() if sql == "SELECT slow"] == ["SELECT slow"]


async def test_a_kill_goes_where_the_statement_runs(pair: tuple[Any, Any], pool: Pool) -> None:
    pair[1].keep_silent()
    await pair[0].stop()
    with pytest.raises(QueryTimeout):
        await ask(pool, "SELECT slow", Limits(0.3, 10, 1000))
    await pair[1].until(lambda: "KILL QUERY 1" in pair[1].sent())


async def test_a_look_finds_one_that_hangs_and_its_statements_go_elsewhere(
    pair: tuple[Any, Any], driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes_module, "PROBE_SECONDS", 0.2)
    async with cluster_of(*(fake.port for fake in pair), driver=driver) as cluster:
        await cluster.ping()
        pool = cluster.way(cluster.config.accounts["default"]).pool
        await ask(pool)
        pair[0].keep_silent("")
        pair[0].login = None
        task = asyncio.create_task(ask(pool, "SELECT slow"))
        await pair[0].until(lambda: "SELECT slow" in pair[0].sent())
        await cluster.ping()
        assert await task == [(1,)]
        assert cluster.frontends.all[0].open
        assert cluster.available
        first, second = cluster.report()["frontends"].values()
        assert "did not answer a ping" in first
        assert second is None
        # It is back: what comes from now on goes there again.
        pair[0].behave()
        await cluster.ping()
        await ask(pool, "SELECT 'back'")
        assert "SELECT 'back'" in pair[0].sent()


async def test_where_there_is_no_other_nothing_is_taken_from_one_that_hangs(
    frontend: Any, driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes_module, "PROBE_SECONDS", 0.2)
    async with cluster_of(frontend.port, driver=driver) as cluster:
        frontend.keep_silent()
        task = asyncio.create_task(ask(cluster.way(cluster.config.accounts["default"]).pool, "SELECT slow"))
        await frontend.until(lambda: "SELECT slow" in frontend.sent())
        frontend.login = None
        with pytest.raises(DorisUnavailable, match="did not answer a ping"):
            await cluster.ping()
        assert not cluster.available
        assert not task.done()
        frontend.behave()  # or the kill would wait for it
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_statement_is_not_blamed_for_a_frontend_that_hangs(
    frontend: Any, driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes_module, "PROBE_SECONDS", 0.1)
    async with cluster_of(frontend.port, driver=driver) as cluster:
        frontend.keep_silent()
        task = asyncio.create_task(
            ask(cluster.way(cluster.config.accounts["default"]).pool, "SELECT slow", Limits(2.0, 10, 1000))
        )
        await frontend.until(lambda: "SELECT slow" in frontend.sent())
        frontend.login = None
        with pytest.raises(DorisUnavailable, match="did not answer a ping"):
            await cluster.ping()
        with pytest.raises(DorisUnavailable, match="stopped answering"):
            await task
        frontend.behave()


async def test_a_look_says_what_is_wrong_with_the_account(frontend: Any, driver: Any, fake: Any) -> None:
    async with cluster_of(frontend.port, driver=driver) as cluster:
        frontend.login = fake.error(1045, "Access denied for user 'u'")
        with pytest.raises(DorisRefusedLogin, match="Access denied"):
            await cluster.ping()
        assert cluster.available  # the frontend is not to blame


async def test_a_look_uses_one_connection(frontend: Any, driver: Any) -> None:
    async with cluster_of(frontend.port, driver=driver) as cluster:
        for _ in range(3):
            await cluster.ping()
        assert frontend.connections == 1
        port = frontend.port
        await frontend.stop()
        with pytest.raises(DorisUnavailable):
            await cluster.ping()
        await frontend.start(port)
        await cluster.ping()
        assert cluster.available


async def test_what_is_opened_for_one_who_was_cancelled_twice_is_closed() -> None:
    asked, aborted = asyncio.Event(), asyncio.Event()

    class Opened:
        abort = staticmethod(aborted.set)

    async def connect(frontend: Any) -> Opened:
        asked.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return Opened()  # just before it would have been too late

    call = asyncio.create_task(Frontends([("127.0.0.1", 1)]).first(connect, LIMIT))
    await asked.wait()
    call.cancel()
    await asyncio.sleep(0)  # it gives up
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    async with asyncio.timeout(LIMIT):
        await aborted.wait()


async def test_an_open_circuit_closes_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nobody looks in the background: one caller after each pause is let through."""
    (first,) = Frontends([("fe1", 9030)]).all
    fault = DorisUnavailable("gone")
    for _ in range(OPEN_AFTER):
        assert first.due(0.0)
        first.failed(fault, 0.0)
    assert [first.due(now) for now in (0.5, 1.0)] == [False, True]
    first.try_now(1.0)
    assert not first.due(1.5)
    first.failed(fault, 2.0)
    assert [first.due(now) for now in (3.5, 4.0)] == [False, True]
    first.worked()
    assert first.due(4.0)
    assert not first.open


# --- accounts and clusters


def two_clusters(*ports: int) -> list[Cluster]:
    def make(name: str, port: int, **more: Any) -> Cluster:
        accounts = {"strong": Account(user="strong"), "weak": Account(user="weak")}
        return Cluster(name=name, frontends=(f"127.0.0.1:{port}",), accounts=accounts, **more)

    return [
        make("main", ports[0], principals={"ann": "weak"}, default_account="strong"),
        make("other", ports[1], principals={"ann": "weak"}),
    ]


async def test_each_caller_comes_as_its_own_account(pair: tuple[Any, Any], driver: Any) -> None:
    clusters = two_clusters(*(fake.port for fake in pair))
    routes = Routes(clusters, driver=driver, pool_size=2, max_connections=10, connect_timeout=LIMIT)
    assert routes.way(None, Caller("ann")).pool.route.login.user == "weak"
    assert routes.way(None, Caller("bob")).pool.route.login.user == "strong"
    assert routes.way(None, Caller("bob")).pool is routes.way("main", Caller("carl")).pool
    assert routes.way("other", Caller("ann")).pool.route.login.user == "weak"
    with pytest.raises(InvalidArgument, match="no Doris account is bound to you at the cluster other"):
        routes.way("other", Caller("bob"))
    with pytest.raises(InvalidArgument, match="no cluster 'third'"):
        routes.way("third", Caller("ann"))
    assert [c.name for c in routes.open_to(Caller("ann"))] == ["main", "other"]
    assert [c.name for c in routes.open_to(Caller("bob"))] == ["main"]
    await routes.close(LIMIT)


async def test_no_other_account_is_tried_when_ones_own_is_refused(frontend: Any, driver: Any, fake: Any) -> None:
    routes = Routes(
        two_clusters(frontend.port, 1), driver=driver, pool_size=2, max_connections=10, connect_timeout=LIMIT
    )
    frontend.login = fake.error(1045, "Access denied for user 'weak'")
    with pytest.raises(DorisRefusedLogin):
        await ask(routes.way(None, Caller("ann")).pool)
    assert frontend.connections == 1
    await routes.close(LIMIT)


async def test_all_pools_share_the_room(frontend: Any, driver: Any) -> None:
    frontend.keep_silent()
    routes = Routes(
        two_clusters(frontend.port, 1), driver=driver, pool_size=2, max_connections=2, connect_timeout=LIMIT
    )
    weak, strong = routes.way(None, Caller("ann")).pool, routes.way(None, Caller("bob")).pool
    await asyncio.gather(ask(weak), ask(weak))
    assert weak.open == 2
    await ask(strong)  # an idle one of the other account makes room
    assert (weak.open, strong.open) == (1, 1)
    tasks = [asyncio.create_task(ask(strong, "SELECT slow")) for _ in range(2)]
    await frontend.until(lambda: frontend.sent().count("SELECT slow") == 2)
    with pytest.raises(Overloaded, match="All 2 connections of this worker"):
        await ask(weak)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await ask(weak) == [(1,)]
    await routes.close(LIMIT)


async def test_without_any_doris_it_says_what_to_set() -> None:
    routes = Routes([], driver=Any, pool_size=1, max_connections=1, connect_timeout=1)  # type: ignore[arg-type]
    with pytest.raises(DorisUnavailable, match="DORIS_HOST is not set"):
        routes.way(None, Caller("ann"))


async def test_ways_of_callers_own_accounts_are_forgotten_when_nobody_takes_them(
    frontend: Any, driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    routes = Routes(
        two_clusters(frontend.port, 1), driver=driver, pool_size=2, max_connections=10, connect_timeout=LIMIT
    )
    metrics = Metrics()
    metrics.sources.append(Figures(routes).show)
    cluster = routes.cluster("main")
    callers = [
        Caller(f"user-{n}", Bound(cluster="main", account=Account(user=f"user-{n}", password="p"))) for n in range(3)
    ]

    def shown() -> set[str]:
        metrics.flush()
        text = metrics.render().decode()
        return {line for line in text.splitlines() if line.startswith("doris_mcp_connections{") and "main" in line}

    for caller in (*callers, Caller("ann")):
        await ask(routes.way("main", caller).pool)
    routes.way("main", callers[0]).pool.retries = 2
    assert 'doris_mcp_connections{account="(callers)",cluster="main",state="idle"} 3.0' in shown()
    assert 'doris_mcp_connections{account="weak",cluster="main",state="idle"} 1.0' in shown()
    assert cluster.tidy() == 0  # they were here a moment ago
    monkeypatch.setattr(pool_module, "IDLE_SECONDS", -1.0)
    monkeypatch.setattr(routes_module, "TIDY", 0.01)
    frontend.keep_silent()
    busy = asyncio.create_task(ask(routes.way("main", callers[2]).pool, "SELECT slow"))
    await frontend.until(lambda: "SELECT slow" in frontend.sent())
    watching = asyncio.create_task(routes.watch())
    async with asyncio.timeout(LIMIT):
        while {account.user for account in cluster.ways} != {"strong", "weak", "user-2"}:  # the first one is our own
            await asyncio.sleep(0.01)
    assert cluster.counts()["retries"] == 2
    assert 'doris_mcp_connections{account="(callers)",cluster="main",state="busy"} 1.0' in shown()
    for task in (watching, busy):
        task.cancel()
    await asyncio.gather(watching, busy, return_exceptions=True)
    monkeypatch.undo()
    assert await ask(routes.way("main", callers[0]).pool) == [(1,)]
    assert routes.way("main", callers[0]).pool in [way.pool for way in cluster.ways.values()]
    await routes.close(LIMIT)
