"""The Redis store against a real redis-server and a real Sentinel, both started by the test."""

import asyncio
import hashlib
import time
from pathlib import Path

import jinja2
import pytest
import redis.asyncio as aioredis

from doris_mcp_server.config import Settings
from doris_mcp_server.errors import ConfigError, StoreUnavailable
from doris_mcp_server.keys import KeyRing
from doris_mcp_server.sessions import Sessions
from doris_mcp_server.state import Store, open_store
from doris_mcp_server.state import primary as primary_module
from doris_mcp_server.state.bus import LISTENING, Bus
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
