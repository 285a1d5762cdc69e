"""The way to the primary, against a real one, its replica and a real Sentinel: found again whatever befalls it."""

import asyncio
import contextlib
import itertools
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import redis.asyncio as aioredis

from doris_mcp_server.config import Settings
from doris_mcp_server.errors import StoreUnavailable
from doris_mcp_server.state import Store, open_store
from doris_mcp_server.state import primary as primary_module
from doris_mcp_server.state.bus import LISTENING, Bus
from doris_mcp_server.state.primary import Primary
from doris_mcp_server.state.redis import RedisStore

from ...ports import free_port
from ...redis_server import PASSWORD, Watched, answers, daemon, watched
from ..conftest import LIMIT


def settings(url: str) -> Settings:
    return Settings(redis_url=url, redis_password=PASSWORD)


@pytest.fixture
def port(redis_port: int) -> int:
    return redis_port


@pytest_asyncio.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Watched]:
    async with watched(tmp_path) as made:
        yield made


async def move(fleet: Watched) -> None:
    """Have Sentinel make the replica the primary, by plan: the old one still answers."""
    asker = aioredis.Redis(port=fleet.sentinel_port, decode_responses=True)
    async with asker, asyncio.timeout(LIMIT):
        while True:
            with contextlib.suppress(aioredis.ResponseError):  # what it knows of the replica is too old
                await asker.sentinel_failover("fleet")
                break
            await asyncio.sleep(0.2)
        while await asker.sentinel_get_master_addr_by_name("fleet") != ("127.0.0.1", fleet.replica_port):
            await asyncio.sleep(0.02)


async def on_replica(fleet: Watched, name: str) -> object:
    copy = aioredis.Redis(port=fleet.replica_port, password=PASSWORD, decode_responses=True)
    async with copy:
        return await copy.get(f"doris-mcp:{name}")


async def written(store: Store, name: str, text: str) -> None:
    """Return when the store has acknowledged it; each attempt is bounded by itself."""
    async with asyncio.timeout(LIMIT):
        while True:
            with contextlib.suppress(StoreUnavailable):
                await store.put(name, text, durable=True)
                return


async def test_what_is_acknowledged_is_on_the_replica_and_survives_the_primary(fleet: Watched) -> None:
    store = open_store(settings(fleet.url))
    try:
        await store.put("token/one", "1", durable=True)
        assert await on_replica(fleet, "token/one") == "1"
        await store.put("code/c", "once", durable=True)
        fleet.primary.kill()
        assert await on_replica(fleet, "token/one") == "1"
    finally:
        await store.close()


async def test_without_a_replica_that_has_it_nothing_is_acknowledged(
    fleet: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(settings(fleet.url))
    try:
        fleet.replica.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(primary_module, "DURABLE_BUDGET", 1.5)
        with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
            await store.put("token/one", "1", durable=True)
        await store.put("token/two", "2")
        fleet.replica.send_signal(signal.SIGCONT)
        monkeypatch.setattr(primary_module, "DURABLE_BUDGET", LIMIT)
        assert await store.take("token/two", durable=True) == "2"
        assert await on_replica(fleet, "token/two") is None
    finally:
        await store.close()


async def test_a_primary_that_refuses_to_write_is_left_before_the_next_attempt(
    fleet: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was cut off keeps its connections, and says NOREPLICAS on them for ever."""
    store = RedisStore(settings(fleet.url))
    admin = aioredis.Redis(port=fleet.primary_port, password=PASSWORD, decode_responses=True)
    try:
        await written(store, "token/one", "1")
        before = (await admin.info("stats"))["total_connections_received"]
        fleet.replica.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(primary_module, "DURABLE_BUDGET", 3.0)
        with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
            await store.put("token/two", "2", durable=True)
        assert (await admin.info("stats"))["total_connections_received"] > before + 1
    finally:
        fleet.replica.send_signal(signal.SIGCONT)
        await admin.aclose()
        await store.close()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
async def test_after_a_failover_the_store_follows_sentinel_to_the_new_primary(fleet: Watched, end: int) -> None:
    """The new one has no replica any more, so writes that ask for one are not acknowledged there."""
    store = RedisStore(settings(fleet.url))
    try:
        await written(store, "token/one", "1")
        fleet.primary.send_signal(end)
        async with asyncio.timeout(LIMIT):
            while await on_replica(fleet, "token/two") != "2":
                with contextlib.suppress(StoreUnavailable):
                    await store.put("token/two", "2")
        assert await store.get("token/one") == "1"
    finally:
        await store.close()


async def test_a_primary_that_was_replaced_while_it_still_answers_is_left(fleet: Watched) -> None:
    bus = Bus()
    heard: list[str] = []
    bus.subscribe(LISTENING, lambda _: heard.append("listening"))
    store = RedisStore(settings(fleet.url), bus)
    watching = asyncio.create_task(store.watch())
    try:
        async with asyncio.timeout(LIMIT):
            while not heard:
                await asyncio.sleep(0.02)
            await written(store, "token/one", "1")
            await move(fleet)
            while len(heard) < 2:
                await asyncio.sleep(0.02)
        client = aioredis.Redis(port=fleet.replica_port, password=PASSWORD)
        async with client:
            assert (await client.role())[0] in (b"master", "master")
        await written(store, "token/two", "2")
        assert await on_replica(fleet, "token/two") == "2"
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await store.close()


async def test_a_write_that_is_cancelled_anywhere_leaves_its_connection_to_others(port: int) -> None:
    primary = Primary(settings(f"redis://127.0.0.1:{port}/0"))
    ended = 0
    try:
        for steps in itertools.count():
            writing = asyncio.create_task(primary.durably(lambda connection: connection.set("doris-mcp:n", 1)))
            for _ in range(steps):
                await asyncio.sleep(0)
            ended += writing.done()
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            async with asyncio.timeout(LIMIT):
                while primary.client.connection_pool._in_use_connections:
                    await asyncio.sleep(0)
            if ended > 5:
                break
    finally:
        await primary.close()


async def test_sentinels_that_know_only_the_past_are_not_believed(fleet: Watched) -> None:
    """One that was cut off names the primary of before; the newest failover counts, of most Sentinels."""
    old = free_port()
    stale = (
        f"port {old}\nsentinel monitor fleet 127.0.0.1 {free_port()} 1\nsentinel down-after-milliseconds fleet 60000"
    )
    with tempfile.TemporaryDirectory() as directory, daemon(Path(directory), "sentinel", stale, "--sentinel"):
        await answers(old, None)
        await move(fleet)
        hosts = f"127.0.0.1:{old},127.0.0.1:{fleet.sentinel_port}"
        store = RedisStore(settings(f"redis+sentinel://{hosts}/fleet"))
        try:
            await store.put("token/one", "1")
            assert await on_replica(fleet, "token/one") == "1"
        finally:
            await store.close()


async def test_who_loses_patience_ends_nothing_for_the_others(fleet: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection of TLS to a primary that was cut off closes when its patience ends; until then it has a waiter."""
    never: dict[asyncio.StreamWriter, asyncio.Future[None]] = {}

    async def wait_closed(writer: asyncio.StreamWriter) -> None:
        await never.setdefault(writer, asyncio.get_running_loop().create_future())

    monkeypatch.setattr(asyncio.StreamWriter, "wait_closed", wait_closed)
    store = RedisStore(settings(fleet.url))
    try:
        await asyncio.gather(*(store.get("token/none") for _ in range(8)))  # as many connections, idle from now on
        fleet.primary.send_signal(signal.SIGSTOP)
        asking = [asyncio.create_task(store.get("token/none")) for _ in range(6)]
        for task in asking[::2]:
            asyncio.get_running_loop().call_later(1.3, task.cancel)
        ends = await asyncio.gather(*asking, return_exceptions=True)
        assert [type(end) for end in ends[::2]] == [asyncio.CancelledError] * 3
        assert {type(end) for end in ends[1::2]} <= {type(None), StoreUnavailable}
    finally:
        await store.close()


async def test_what_hangs_without_a_connection_is_tried_anew_when_the_primary_moves(fleet: Watched) -> None:
    """As the TLS handshake with a primary that stands still."""
    primary = Primary(settings(fleet.url))
    following = asyncio.create_task(primary.follow())
    hangs = asyncio.Event()
    tries = 0

    async def operation() -> str:
        nonlocal tries
        tries += 1
        if tries == 1:
            hangs.set()
            await asyncio.Event().wait()
        return "done"

    try:
        asking = asyncio.create_task(primary.call(operation, budget=LIMIT))
        async with asyncio.timeout(LIMIT):
            await hangs.wait()
            while primary.client.connection_pool.master_address is None:
                await asyncio.sleep(0.02)
        await move(fleet)
        assert await asking == "done"
        assert (primary.moved, tries) == (1, 2)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await primary.close()


async def test_a_move_in_the_middle_of_many_operations_breaks_none(fleet: Watched) -> None:
    store = RedisStore(settings(fleet.url))
    watching = asyncio.create_task(store.watch())
    ending = False
    done = 0

    async def ask(number: int) -> None:
        nonlocal done
        while not ending:
            with contextlib.suppress(StoreUnavailable):
                await store.put(f"token/{number}", "x" * 50_000)
                await store.find("token")
            done += 1

    asking = [asyncio.create_task(ask(number)) for number in range(12)]
    try:
        async with asyncio.timeout(LIMIT):
            while done < 50:
                await asyncio.sleep(0.01)
        await move(fleet)
        done = 0
        async with asyncio.timeout(LIMIT):
            while done < 200 and not any(task.done() for task in asking):
                await asyncio.sleep(0.01)
    finally:
        ending = True
        ends = await asyncio.gather(*asking, return_exceptions=True)
        while not watching.done():  # Python 3.11's wait_for, which redis-py uses, may swallow a cancellation
            watching.cancel()
            await asyncio.sleep(0.01)
        await store.close()
    assert ends == [None] * len(asking)
