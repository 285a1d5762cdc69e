"""The Redis store against a real redis-server and a real Sentinel, both started by the test."""

import asyncio
import contextlib
import hashlib
import itertools
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import jinja2
import pytest
import pytest_asyncio
import redis.asyncio as aioredis

from doris_mcp_server.config import Settings
from doris_mcp_server.errors import ConfigError, StoreUnavailable
from doris_mcp_server.keys import KeyRing
from doris_mcp_server.sessions import Sessions
from doris_mcp_server.state import Store, open_store
from doris_mcp_server.state import primary as primary_module
from doris_mcp_server.state.bus import LISTENING, Bus
from doris_mcp_server.state.primary import Primary
from doris_mcp_server.state.redis import RedisStore

from ...ports import free_port
from ...redis_server import PASSWORD, answers, daemon
from ..conftest import LIMIT

ACL = Path(__file__).parents[3] / "templates/redis_sentinel/users.acl.j2"


def settings(url: str, password: str = PASSWORD) -> Settings:
    return Settings(redis_url=url, redis_password=password, token_key="ab" * 32)


@pytest.fixture
def port(redis_port: int) -> int:
    return redis_port


def sessions(store: Store, bus: Bus | None = None) -> Sessions:
    return Sessions(KeyRing([b"k" * 32]), store, bus or Bus(), idle_seconds=1800, max_seconds=86400)


async def test_a_session_goes_from_host_to_host_and_ends_on_all(port: int) -> None:
    here, sibling_bus, there = Bus(), Bus(), Bus()
    here.carriers.append(sibling_bus.deliver)
    buses = (here, sibling_bus, there)
    stores = [open_store(settings(f"redis://127.0.0.1:{port}/0"), bus) for bus in buses]
    host, sibling, other_host = map(sessions, stores, buses)
    try:
        text = host.begin("ann", "2025-11-25").encode()
        session = await other_host.find(text, "ann")
        assert session == await sibling.find(text, "ann") == await host.find(text, "ann")
        assert session is not None
        assert await other_host.find(text, "bob") is None
        await host.end(session)
        assert host.warm(text, "ann") is sibling.warm(text, "ann") is None
        assert await host.find(text, "ann") is await sibling.find(text, "ann") is None
        async with asyncio.timeout(LIMIT):  # the other host believed it a moment ago, and may for two seconds
            while await other_host.find(text, "ann"):
                await asyncio.sleep(0.05)
        assert await sessions(stores[2]).find(text, "ann") is None  # a worker that starts now
    finally:
        for store in stores:
            await store.close()


async def test_a_session_outlives_the_store_and_its_end_is_written_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = free_port()
    config = f"port {chosen}\nrequirepass {PASSWORD}"
    store = open_store(settings(f"redis://127.0.0.1:{chosen}/0"))
    here = sessions(store)
    text, other = (here.begin("ann", "2025-11-25").encode() for _ in range(2))
    try:
        with daemon(tmp_path, "redis", config):
            await answers(chosen)
            session = await sessions(store).find(text, "ann")
            assert session is not None
        with monkeypatch.context() as patch:
            patch.setattr(primary_module, "BUDGET", 0.2)
            assert await sessions(store).find(text, "ann") == session
            await here.end(session)
        assert await here.find(text, "ann") is None
        with daemon(tmp_path, "redis", config):
            await answers(chosen)
            name = f"session:v1/{session.id}"
            assert await store.get(name) is None
            async with asyncio.timeout(LIMIT):
                while not await store.get(name):
                    assert await here.find(other, "ann")
                    await asyncio.sleep(0.05)
            assert await sessions(store).find(text, "ann") is None
            await here.close()
    finally:
        await store.close()


def access_list(directory: Path) -> str:
    """The access list of a fleet, as the role renders it; a line of configuration that names it."""
    environment = jinja2.Environment()
    environment.filters["hash"] = lambda text, kind: hashlib.new(kind, text.encode()).hexdigest()
    passwords = {f"redis_sentinel_{user}_password": PASSWORD for user in ("app", "replication", "sentinel", "admin")}
    text = environment.from_string(ACL.read_text()).render(passwords, redis_sentinel_app_prefix="doris-mcp:")
    (directory / "users.acl").write_text(text + "\n")
    return f"aclfile {directory}/users.acl"


async def test_what_was_written_outlives_redis(tmp_path: Path) -> None:
    """Redis 7.0 replays its log as the default user, and drops every transaction, without a word to anybody, that this
    user may not make; that nobody can log in as it is enough."""
    chosen = free_port()
    config = f"port {chosen}\n{access_list(tmp_path)}\nappendonly yes\nappendfsync always"
    now = time.time()
    for times in range(2):
        with daemon(tmp_path, "redis", config):
            await answers(chosen, PASSWORD, "app")
            store = open_store(settings(f"redis://app@127.0.0.1:{chosen}/0"))
            stranger = aioredis.Redis(port=chosen)
            try:
                with pytest.raises(aioredis.AuthenticationError):
                    await stranger.ping()
                if times:
                    assert await store.find("token") == {"one": "1", "two": "2"}
                    grown = await store.grown("denied", None)
                    assert grown is not None and set(grown.until) == {"a"}
                    continue
                await store.put("token/one", "1", 3600)
                await store.put("token/two", "2")
                await store.put("token/three", "3")
                await store.take("token/three")
                await store.grow("denied", {"a": now + 3600})
            finally:
                await stranger.aclose()
                await store.close()


async def test_the_accounts_rights_on_a_fleet_are_enough_and_no_more(tmp_path: Path) -> None:
    chosen = free_port()
    with daemon(tmp_path, "redis", f"port {chosen}\n{access_list(tmp_path)}"):
        await answers(chosen, PASSWORD, "app")
        own = Bus()
        store = open_store(settings(f"redis://app@127.0.0.1:{chosen}/0"), own)
        client = aioredis.Redis(port=chosen, username="app", password=PASSWORD)
        heard = asyncio.Event()
        bus = Bus()
        bus.subscribe("news", lambda _: heard.set())
        listener = open_store(settings(f"redis://app@127.0.0.1:{chosen}/0"), bus)
        watching = asyncio.create_task(listener.watch())
        try:
            await store.ping()
            assert await store.put("cat/tom", "grey", 60, durable=True)
            assert await store.find("cat") == {"tom": "grey"}
            assert await store.swap("cat/tom", "black", "grey", durable=True)
            assert await store.take("cat/tom", durable=True) == "black"
            await store.grow("denied", {"a": time.time() + 60}, durable=True)
            assert await store.grown("denied", None)
            assert await store.spend("rate/ann", 1, rate=1.0, burst=1) == (1, 0.0)
            async with asyncio.timeout(LIMIT):
                while not heard.is_set():
                    own.publish("news", {})
                    await asyncio.sleep(0.02)
            with pytest.raises(aioredis.ResponseError, match="no permissions"):
                await client.get("other:key")
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await client.aclose()
            await store.close()
            await listener.close()


async def test_a_wrong_password_and_a_dead_store_are_typed_errors(port: int) -> None:
    for url, password, words in (
        (f"redis://127.0.0.1:{port}/0", "wrong", "refuses this server's account"),
        (f"redis://127.0.0.1:{free_port()}/0", PASSWORD, "does not answer"),
    ):
        store = open_store(settings(url, password))
        try:
            with pytest.raises(StoreUnavailable, match=words) as caught:
                await store.ping()
            assert caught.value.hint
            assert password not in str(caught.value)
        finally:
            await store.close()


@pytest.mark.parametrize("url", ["http://x", "redis+sentinel://h:1", "redis+sentinel:///name"])
def test_a_wrong_url_names_the_fix(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(settings(url))
    assert "redis" in (caught.value.hint or "").lower() or "name" in (caught.value.hint or "")


@dataclass
class Fleet:
    """A primary, its replica, and one Sentinel that watches them."""

    primary: subprocess.Popen[bytes]
    replica: subprocess.Popen[bytes]
    ports: tuple[int, int]
    sentinel: int

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel}/fleet"

    async def whole(self) -> None:
        """Return when Sentinel knows the replica, and that follows the primary."""
        asker = aioredis.Redis(port=self.sentinel, decode_responses=True)
        async with asker, asyncio.timeout(LIMIT):
            while (await asker.sentinel_master("fleet"))["num-slaves"] < 1:
                await asyncio.sleep(0.05)

    async def move(self) -> None:
        """Have Sentinel make the replica the primary, by plan: the old one still answers."""
        asker = aioredis.Redis(port=self.sentinel, decode_responses=True)
        async with asker, asyncio.timeout(LIMIT):
            while True:
                with contextlib.suppress(aioredis.ResponseError):  # what it knows of the replica is too old
                    await asker.sentinel_failover("fleet")
                    break
                await asyncio.sleep(0.2)
            while await asker.sentinel_get_master_addr_by_name("fleet") != ("127.0.0.1", self.ports[1]):
                await asyncio.sleep(0.02)

    async def on_replica(self, name: str) -> object:
        copy = aioredis.Redis(port=self.ports[1], password=PASSWORD, decode_responses=True)
        async with copy:
            return await copy.get(f"doris-mcp:{name}")


@pytest_asyncio.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    first, second, sentinel = free_port(), free_port(), free_port()
    common = f"requirepass {PASSWORD}\nmasterauth {PASSWORD}\nrepl-diskless-sync-delay 0"
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    watch = (
        f"port {sentinel}\nsentinel monitor fleet 127.0.0.1 {first} 1\nsentinel auth-pass fleet {PASSWORD}\n"
        "sentinel down-after-milliseconds fleet 500\nsentinel failover-timeout fleet 5000"
    )
    follow = f"port {second}\n{common}\nreplicaof 127.0.0.1 {first}"
    with daemon(tmp_path / "a", "redis", f"port {first}\n{common}") as primary:
        await answers(first)
        with daemon(tmp_path / "b", "redis", follow) as replica:
            await answers(second)
            with daemon(tmp_path, "sentinel", watch, "--sentinel"):
                await answers(sentinel, None)
                made = Fleet(primary, replica, (first, second), sentinel)
                await made.whole()
                yield made


async def written(store: Store, name: str, text: str) -> None:
    """Return when the store has acknowledged it; each attempt is bounded by itself."""
    async with asyncio.timeout(LIMIT):
        while True:
            with contextlib.suppress(StoreUnavailable):
                await store.put(name, text, durable=True)
                return


async def test_what_is_acknowledged_is_on_the_replica_and_survives_the_primary(fleet: Fleet) -> None:
    store = open_store(settings(fleet.url))
    try:
        await store.put("token/one", "1", durable=True)
        assert await fleet.on_replica("token/one") == "1"
        await store.put("code/c", "once", durable=True)
        fleet.primary.kill()
        assert await fleet.on_replica("token/one") == "1"
    finally:
        await store.close()


async def test_without_a_replica_that_has_it_nothing_is_acknowledged(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
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
        assert await fleet.on_replica("token/two") is None
    finally:
        await store.close()


async def test_a_primary_that_refuses_to_write_is_left_before_the_next_attempt(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was cut off keeps its connections, and says NOREPLICAS on them for ever."""
    store = RedisStore(settings(fleet.url))
    admin = aioredis.Redis(port=fleet.ports[0], password=PASSWORD, decode_responses=True)
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
async def test_after_a_failover_the_store_follows_sentinel_to_the_new_primary(fleet: Fleet, end: int) -> None:
    """The new one has no replica any more, so writes that ask for one are not acknowledged there."""
    store = RedisStore(settings(fleet.url))
    try:
        await written(store, "token/one", "1")
        fleet.primary.send_signal(end)
        async with asyncio.timeout(LIMIT):
            while await fleet.on_replica("token/two") != "2":
                with contextlib.suppress(StoreUnavailable):
                    await store.put("token/two", "2")
        assert await store.get("token/one") == "1"
    finally:
        await store.close()


@pytest.mark.parametrize("later", range(8))
async def test_listening_ends_whenever_the_store_is_closed_meanwhile(port: int, later: int) -> None:
    """A connection that breaks at the very moment must not hide that the task is to end."""
    bus = Bus()
    heard = asyncio.Event()
    bus.subscribe(LISTENING, lambda _: heard.set())
    store = RedisStore(settings(f"redis://127.0.0.1:{port}/0"), bus)
    before = asyncio.all_tasks()
    watching = asyncio.create_task(store.watch())
    async with asyncio.timeout(LIMIT):
        await heard.wait()
        await store.close()
        for _ in range(later):
            await asyncio.sleep(0)
        watching.cancel()
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.01)


async def test_a_primary_that_was_replaced_while_it_still_answers_is_left(fleet: Fleet) -> None:
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
            await fleet.move()
            while len(heard) < 2:
                await asyncio.sleep(0.02)
        client = aioredis.Redis(port=fleet.ports[1], password=PASSWORD)
        async with client:
            assert (await client.role())[0] in (b"master", "master")
        await written(store, "token/two", "2")
        assert await fleet.on_replica("token/two") == "2"
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


async def test_sentinels_that_know_only_the_past_are_not_believed(fleet: Fleet) -> None:
    """One that was cut off names the primary of before; the newest failover counts, of most Sentinels."""
    old = free_port()
    stale = (
        f"port {old}\nsentinel monitor fleet 127.0.0.1 {free_port()} 1\nsentinel down-after-milliseconds fleet 60000"
    )
    with tempfile.TemporaryDirectory() as directory, daemon(Path(directory), "sentinel", stale, "--sentinel"):
        await answers(old, None)
        await fleet.move()
        hosts = f"127.0.0.1:{old},127.0.0.1:{fleet.sentinel}"
        store = RedisStore(settings(f"redis+sentinel://{hosts}/fleet"))
        try:
            await store.put("token/one", "1")
            assert await fleet.on_replica("token/one") == "1"
        finally:
            await store.close()


async def test_who_loses_patience_ends_nothing_for_the_others(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_what_hangs_without_a_connection_is_tried_anew_when_the_primary_moves(fleet: Fleet) -> None:
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
        await fleet.move()
        assert await asking == "done"
        assert (primary.moved, tries) == (1, 2)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await primary.close()


async def test_a_move_in_the_middle_of_many_operations_breaks_none(fleet: Fleet) -> None:
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
        await fleet.move()
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
