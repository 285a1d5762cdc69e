"""What hosts tell each other over Redis: heard once by all others, and again after whatever happens to Redis."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as aioredis
from redis.asyncio.sentinel import SentinelConnectionPool

from doris_mcp_server.config import Settings
from doris_mcp_server.state import channel as channel_module
from doris_mcp_server.state import primary as primary_module
from doris_mcp_server.state.bus import LISTENING, Bus
from doris_mcp_server.state.channel import Channel
from doris_mcp_server.state.primary import Primary

from ...ports import free_port
from ...redis_server import PASSWORD, answers, daemon, watched
from ..conftest import LIMIT

NAME = "doris-mcp:events"
NEWS = "news"


class Host:
    """A host that listens: what it was told, and how often it began to hear."""

    def __init__(self, url: str, origin: str = "") -> None:
        self.bus = Bus(origin)
        self.heard: list[dict[str, Any]] = []
        self.listening: list[bool] = []  # whether something was missed
        self.bus.subscribe(NEWS, self.heard.append)
        self.bus.subscribe(LISTENING, lambda data: self.listening.append(data["missed"]))
        self.primary = Primary(Settings(redis_url=url, redis_password=PASSWORD))
        self.channel = Channel(self.primary, NAME, self.bus)

    @contextlib.asynccontextmanager
    async def up(self) -> AsyncIterator["Host"]:
        tasks = [asyncio.create_task(self.channel.listen()), asyncio.create_task(self.primary.follow())]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.channel.close()
            await self.primary.close()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():
            await asyncio.sleep(0.01)


async def told(one: Host, other: Host, what: dict[str, Any]) -> None:
    """Return when `other` hears `what` of `one`, who says it until then."""
    async with asyncio.timeout(LIMIT):
        while what not in other.heard:
            one.bus.publish(NEWS, what)
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def hosts(url: str) -> AsyncIterator[tuple[Host, Host]]:
    """Two hosts that hear each other."""
    async with Host(url).up() as one, Host(url).up() as two:
        await until(lambda: one.listening and two.listening)
        yield one, two


@pytest.fixture
def url(redis_port: int) -> str:
    return f"redis://127.0.0.1:{redis_port}/0"


async def test_what_one_publishes_every_other_hears_once_and_in_order(url: str) -> None:
    async with hosts(url) as (one, two), Host(url, one.bus.origin).up() as same_host:
        await until(lambda: same_host.listening)
        sent = [{"n": n} for n in range(100)]
        for data in sent:
            one.bus.publish(NEWS, data)
        two.bus.publish(NEWS, {"n": "last"})
        await until(lambda: len(two.heard) == 101 and {"n": "last"} in same_host.heard)
        assert one.heard[:100] == sent  # at once, from its own bus
        assert [data for data in two.heard if data["n"] != "last"] == sent
        assert same_host.heard == [{"n": "last"}]  # its own host tells it the others
        assert (one.listening, two.listening) == ([False], [False])


async def test_after_a_cut_it_hears_again_and_knows_that_it_missed_something(url: str, redis_port: int) -> None:
    admin = aioredis.Redis(port=redis_port, password=PASSWORD)
    async with hosts(url) as (one, two):
        assert await admin.client_kill_filter(_type="pubsub") == 2
        await until(lambda: one.listening == two.listening == [False, True])
        await told(one, two, {"after": "the cut"})
    await admin.aclose()


async def test_one_that_began_without_redis_has_missed_something(tmp_path: Path) -> None:
    port = free_port()
    async with Host(f"redis://127.0.0.1:{port}/0").up() as host:
        await until(lambda: host.channel._deaf)
        with daemon(tmp_path, "redis", f"port {port}\nrequirepass {PASSWORD}"):
            await until(lambda: host.listening == [True])


async def test_it_survives_a_restart_of_redis(tmp_path: Path) -> None:
    port = free_port()
    config = f"port {port}\nrequirepass {PASSWORD}"
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(daemon(tmp_path, "redis", config))
        await answers(port)
        async with hosts(f"redis://127.0.0.1:{port}/0") as (one, two):
            first.kill()
            first.wait()
            one.bus.publish(NEWS, {"while": "away"})  # which keeps nobody waiting
            stack.enter_context(daemon(tmp_path, "redis", config))
            await until(lambda: one.listening == two.listening == [False, True])
            await told(one, two, {"after": "the restart"})


async def test_what_cannot_be_read_keeps_nothing_else_from_being_heard(url: str, redis_port: int) -> None:
    async with hosts(url) as (one, two):

        def fail(_: dict[str, Any]) -> None:
            raise KeyError("of another release")

        two.bus.subscribe("odd", fail)
        two.bus.subscribe("odd", two.heard.append)
        admin = aioredis.Redis(port=redis_port, password=PASSWORD)
        for text in (
            "",
            "[]",
            "{}",
            '{"origin":"x","topic":["odd"],"data":3}',
            '{"origin":"x","topic":"odd"}',
            b"\xff",
        ):
            await admin.publish(NAME, text)
        await admin.aclose()
        one.bus.publish("odd", {"n": 1})
        one.bus.publish(NEWS, {"n": 2})
        await until(lambda: len(two.heard) == 2)
        assert two.heard == [{"n": 1}, {"n": 2}]
        assert two.listening == [False]


async def test_a_flood_is_dropped_beyond_its_bound_and_blocks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "_FRESH", LIMIT)  # a slow test must not make it old
    port = free_port()
    with daemon(tmp_path, "redis", f"port {port}\nrequirepass {PASSWORD}") as process:
        await answers(port)
        async with hosts(f"redis://127.0.0.1:{port}/0") as (one, two):
            process.send_signal(signal.SIGSTOP)
            for n in range(5_000):
                one.bus.publish(NEWS, {"n": n})
            assert len(one.heard) == 5_000
            assert len(one.channel._waiting) == channel_module._BACKLOG
            process.send_signal(signal.SIGCONT)
            await until(lambda: {"n": channel_module._BACKLOG - 1} in two.heard)
            assert len({data["n"] for data in two.heard}) <= channel_module._BACKLOG
            await told(one, two, {"after": "the flood"})


async def test_what_is_late_is_not_sent_any_more(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with hosts(url) as (one, two):
        with monkeypatch.context() as patch:
            patch.setattr(channel_module, "_FRESH", 0.0)
            one.bus.publish(NEWS, {"n": "late"})
            await until(lambda: not one.channel._waiting)
        one.bus.publish(NEWS, {"n": "new"})
        await until(lambda: two.heard)
        assert two.heard == [{"n": "new"}]


async def test_when_the_primary_stands_still_it_goes_where_sentinel_says(tmp_path: Path) -> None:
    async with watched(tmp_path) as redis, hosts(redis.url) as (one, two):
        await told(one, two, {"before": "it"})
        redis.primary.send_signal(signal.SIGSTOP)  # its connections stay open, and silent
        await told(one, two, {"after": "it"})
        assert two.listening[:2] == [False, True]
        there = aioredis.Redis(port=redis.replica_port, password=PASSWORD)
        assert dict(await there.pubsub_numsub(NAME)) == {NAME.encode(): 2}
        await there.aclose()


async def test_a_move_is_seen_also_when_another_connection_found_it_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(primary_module, "LOOK", 0.01)
    primary = Primary(Settings(redis_url="redis+sentinel://127.0.0.1:1/fleet"))
    pool = primary.client.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    looks = 0
    address = ("127.0.0.1", 1)

    async def discover(_: str) -> tuple[str, int]:
        nonlocal looks
        looks += 1
        return address

    monkeypatch.setattr(pool.sentinel_manager, "discover_master", discover)
    following = asyncio.create_task(primary.follow())
    await until(lambda: looks > 2)
    assert primary.moved == 0
    address = ("127.0.0.1", 2)
    await pool.get_master_address()  # as a new connection does
    await until(lambda: primary.moved)
    before = looks
    await until(lambda: looks > before + 2)
    assert primary.moved == 1
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await primary.close()
