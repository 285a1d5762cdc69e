"""The Redis store against a real redis-server and a real Sentinel, both started by the test."""

import asyncio
import contextlib
import hashlib
from pathlib import Path

import jinja2
import pytest
import redis.asyncio as aioredis

from doris_mcp_server.auth import issue
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import ConfigError, StoreUnavailable
from doris_mcp_server.keys import KeyRing
from doris_mcp_server.sessions import Sessions
from doris_mcp_server.state import Store, open_store
from doris_mcp_server.state import channel as channel_module
from doris_mcp_server.state import redis as redis_module
from doris_mcp_server.state.bus import Bus
from doris_mcp_server.state.redis import RedisStore

from ...redis_server import PASSWORD, answers, daemon, free_port
from ..conftest import LIMIT

ACL = Path(__file__).parents[3] / "templates/redis_sentinel/users.acl.j2"


def settings(url: str, password: str = PASSWORD) -> Settings:
    return Settings(redis_url=url, redis_password=password, token_key="ab" * 32)


@pytest.fixture
def port(redis_port: int) -> int:
    return redis_port


async def test_tokens_are_put_found_listed_and_revoked(port: int) -> None:
    store = open_store(settings(f"redis://127.0.0.1:{port}/0"))
    other_host = open_store(settings(f"redis://127.0.0.1:{port}/0"))
    try:
        _, first = issue("ann", ("catalog:read",), ttl=3600)
        _, second = issue("bob", ("catalog:read", "query:execute"), ttl=None)
        await store.put_token("digest-1", first)
        await store.put_token("digest-2", second)
        assert await other_host.get_token("digest-1") == first
        assert await other_host.get_token("digest-3") is None
        assert [r.name for r in await other_host.list_tokens()] == ["ann", "bob"]
        assert await other_host.revoke_token(first.id) is True
        assert await other_host.revoke_token(first.id) is False
        assert await store.get_token("digest-1") is None
        assert await store.list_tokens() == [second]
    finally:
        await store.close()
        await other_host.close()


async def test_an_expired_token_leaves_the_store_by_itself(port: int) -> None:
    store = open_store(settings(f"redis://127.0.0.1:{port}/0"))
    try:
        _, record = issue("ann", ("catalog:read",), ttl=-10)
        await store.put_token("digest", record)
        assert await store.get_token("digest") is None
        assert await store.list_tokens() == []
    finally:
        await store.close()


async def test_sessions_are_touched_and_ended_for_all_hosts_and_fade(port: int) -> None:
    store = open_store(settings(f"redis://127.0.0.1:{port}/0"))
    other_host = open_store(settings(f"redis://127.0.0.1:{port}/0"))
    client = aioredis.Redis(port=port, password=PASSWORD, decode_responses=True)
    key = "doris-mcp:session:v1:s"
    try:
        assert await store.session("s") is None
        await store.touch_session("s", 500)
        assert await other_host.session("s") == "live"
        assert 400 < await client.ttl(key) <= 500
        await other_host.touch_session("s", 1000)
        assert 900 < await client.ttl(key) <= 1000
        await store.end_session("s", 300)
        assert await other_host.session("s") == "ended"
        assert 200 < await client.ttl(key) <= 300
        await other_host.touch_session("s", 100)
        assert await store.session("s") == "ended"
        assert 200 < await client.ttl(key) <= 300
        await other_host.touch_session("s", 900)  # a late touch may keep an end for longer, never undo it
        assert await store.session("s") == "ended"
        await client.set(key, "what a later release writes")
        assert await store.session("s") == "live"
        await store.end_session("gone", 0.0)
        async with asyncio.timeout(LIMIT):
            while await store.session("gone"):
                await asyncio.sleep(0.01)
    finally:
        await client.aclose()
        await store.close()
        await other_host.close()


def sessions(store: Store, idle: float = 1800) -> Sessions:
    return Sessions(KeyRing([b"k" * 32]), store, idle_seconds=idle, max_seconds=86400)


async def test_a_session_goes_from_host_to_host_and_ends_on_all(port: int) -> None:
    here, sibling_bus, there = Bus(), Bus(), Bus()
    here.forward = sibling_bus.deliver
    stores = [open_store(settings(f"redis://127.0.0.1:{port}/0"), bus) for bus in (here, sibling_bus, there)]
    host, sibling, other_host = (sessions(store) for store in stores)
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
            patch.setattr(redis_module, "_BUDGET", 0.2)
            assert await sessions(store).find(text, "ann") == session
            await here.end(session)
        assert await here.find(text, "ann") is None
        with daemon(tmp_path, "redis", config):
            await answers(chosen)
            assert await store.session(session.id) is None
            async with asyncio.timeout(LIMIT):
                while not await store.session(session.id):
                    assert await here.find(other, "ann")
                    await asyncio.sleep(0.05)
            assert await sessions(store).find(text, "ann") is None
            await here.close()
    finally:
        await store.close()


async def test_a_key_ring_is_changed_only_by_who_read_the_one_before(port: int) -> None:
    store = open_store(settings(f"redis://127.0.0.1:{port}/0"))
    other_host = open_store(settings(f"redis://127.0.0.1:{port}/0"))
    try:
        assert await store.read_keys() is None
        assert await store.write_keys("one", None) is True
        assert await store.write_keys("one", None) is True  # the answer to the first was lost
        assert await other_host.write_keys("two", None) is False
        assert await other_host.read_keys() == "one"
        wrote = await asyncio.gather(*(each.write_keys(f"by {n}", "one") for n, each in enumerate([store, other_host])))
        assert sorted(wrote) == [False, True]
        assert await store.read_keys() == f"by {wrote.index(True)}"
    finally:
        await store.close()
        await other_host.close()


async def test_a_new_key_ring_is_told_of_over_a_connection_that_comes_back(port: int) -> None:
    store = open_store(settings(f"redis://127.0.0.1:{port}/0"))
    other_host = open_store(settings(f"redis://127.0.0.1:{port}/0"))
    admin = aioredis.Redis(port=port, password=PASSWORD)
    try:
        text = None
        for new in ("one", "two"):
            async with asyncio.timeout(LIMIT):
                while await admin.pubsub_numsub("doris-mcp:keys") != [(b"doris-mcp:keys", 1)]:
                    await store.keys_written(0.05)
                waiting = asyncio.create_task(store.keys_written(10 * LIMIT))
                assert await other_host.write_keys(new, text)
                await waiting
            text = new
            assert await admin.client_kill_filter(_type="pubsub") == 1
        await store.keys_written(0.05)
        await store.close()
        await store.keys_written(0.05)
        assert await admin.pubsub_numsub("doris-mcp:keys") == [(b"doris-mcp:keys", 0)]
    finally:
        await admin.aclose()
        await store.close()
        await other_host.close()


async def test_an_old_connection_is_not_trusted_to_tell_of_a_new_key_ring(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(settings(f"redis://127.0.0.1:{port}/0"))
    admin = aioredis.Redis(port=port, password=PASSWORD, decode_responses=True)

    async def listening() -> str:
        (client,) = await admin.client_list(_type="pubsub")
        return str(client["id"])

    try:
        await store.keys_written(LIMIT)
        before = await listening()
        await store.keys_written(0.01)
        assert await listening() == before
        with monkeypatch.context() as patch:
            patch.setattr(channel_module, "_FRESH", 0.0)
            await store.keys_written(LIMIT)
        assert await listening() != before
    finally:
        await admin.aclose()
        await store.close()


async def test_waiting_for_a_new_key_ring_needs_no_redis() -> None:
    store = open_store(settings(f"redis://127.0.0.1:{free_port()}/0"))
    try:
        await store.keys_written(0.01)
    finally:
        await store.close()


async def test_the_accounts_rights_on_a_fleet_are_enough_and_no_more(tmp_path: Path) -> None:
    environment = jinja2.Environment()
    environment.filters["hash"] = lambda text, kind: hashlib.new(kind, text.encode()).hexdigest()
    line = next(line for line in ACL.read_text().splitlines() if line.startswith("user app "))
    rule = environment.from_string(line).render(
        redis_sentinel_app_password=PASSWORD, redis_sentinel_app_prefix="doris-mcp:"
    )
    chosen = free_port()
    with daemon(tmp_path, "redis", f"port {chosen}\n{rule}"):
        await answers(chosen, None)
        store = open_store(settings(f"redis://app@127.0.0.1:{chosen}/0"))
        client = aioredis.Redis(port=chosen, username="app", password=PASSWORD)
        try:
            await store.touch_session("s", 10)
            assert await store.session("s") == "live"
            await store.end_session("s", 10)
            assert await store.session("s") == "ended"
            _, record = issue("ann", ("catalog:read",), ttl=3600)
            await store.put_token("digest", record)
            assert await store.get_token("digest") == record
            assert await store.write_keys("ring", await store.read_keys())
            await store.keys_written(LIMIT)
            assert await client.pubsub_numsub("doris-mcp:keys") == [(b"doris-mcp:keys", 1)]
            with pytest.raises(aioredis.ResponseError, match="no permissions"):
                await client.get("other:key")
        finally:
            await client.aclose()
            await store.close()


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


async def test_a_value_of_another_release_is_a_typed_error(port: int) -> None:
    store = open_store(settings(f"redis://127.0.0.1:{port}/0"))
    client = aioredis.Redis(port=port, password=PASSWORD)
    try:
        await client.set("doris-mcp:token:v1:digest", "not json")
        with pytest.raises(StoreUnavailable, match="cannot be read"):
            await store.get_token("digest")
    finally:
        await client.aclose()
        await store.close()


@pytest.mark.parametrize("url", ["http://x", "redis+sentinel://h:1", "redis+sentinel:///name"])
def test_a_wrong_url_names_the_fix(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(settings(url))
    assert "redis" in (caught.value.hint or "").lower() or "name" in (caught.value.hint or "")


async def test_after_a_failover_the_store_follows_sentinel_to_the_new_primary(tmp_path: Path) -> None:
    first, second, sentinel = free_port(), free_port(), free_port()
    common = f"requirepass {PASSWORD}\nmasterauth {PASSWORD}\nrepl-diskless-sync-delay 0"
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(daemon(tmp_path / "a", "redis", f"port {first}\n{common}"))
        await answers(first)
        stack.enter_context(daemon(tmp_path / "b", "redis", f"port {second}\n{common}\nreplicaof 127.0.0.1 {first}"))
        await answers(second)
        watch = (
            f"port {sentinel}\nsentinel monitor fleet 127.0.0.1 {first} 1\nsentinel auth-pass fleet {PASSWORD}\n"
            "sentinel down-after-milliseconds fleet 500\nsentinel failover-timeout fleet 5000"
        )
        stack.enter_context(daemon(tmp_path, "sentinel", watch, "--sentinel"))
        await answers(sentinel, None)
        store = RedisStore(settings(f"redis+sentinel://127.0.0.1:{sentinel}/fleet"))
        asker = aioredis.Redis(port=sentinel, decode_responses=True)
        try:
            async with asyncio.timeout(LIMIT):
                while (await asker.sentinel_master("fleet"))["num-slaves"] < 1:
                    await asyncio.sleep(0.05)
            _, record = issue("ann", ("catalog:read",), ttl=None)
            await store.put_token("digest", record)
            copy = aioredis.Redis(port=second, password=PASSWORD)
            async with asyncio.timeout(LIMIT):
                while not await copy.exists("doris-mcp:token:v1:digest"):
                    await asyncio.sleep(0.02)
            await copy.aclose()
            primary.kill()
            async with asyncio.timeout(LIMIT):
                while True:
                    try:
                        await store.put_token("digest-2", record)
                        break
                    except StoreUnavailable:
                        continue  # each attempt is bounded by itself
            assert await store.get_token("digest") == record
            await store.end_session("s", 60)
            await store.touch_session("s", 60)
            assert await store.session("s") == "ended"
        finally:
            await asker.aclose()
            await store.close()
