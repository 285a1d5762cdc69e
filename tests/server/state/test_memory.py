"""The memory store: one of several workers' stores hears what the others do, and forgets by itself."""

import pytest

from doris_mcp_server.config import Settings
from doris_mcp_server.state import memory as memory_module
from doris_mcp_server.state import open_store
from doris_mcp_server.state.bus import Bus
from doris_mcp_server.state.memory import MemoryStore

from ...clock import Clock
from ..conftest import LIMIT


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(memory_module, "monotonic", clock)
    return clock


def two_workers() -> tuple[MemoryStore, MemoryStore]:
    here, there = Bus(), Bus()
    here.forward, there.forward = there.deliver, here.deliver
    return MemoryStore(here), MemoryStore(there)


async def test_a_touch_and_an_end_are_known_to_the_other_worker_until_they_fade(clock: Clock) -> None:
    here, there = two_workers()
    await here.touch_session("s", 10)
    assert await here.session("s") == await there.session("s") == "live"
    clock.now += 9
    await there.touch_session("s", 10)
    clock.now += 9
    assert await here.session("s") == await there.session("s") == "live"
    await here.end_session("s", 30)
    assert await here.session("s") == await there.session("s") == "ended"
    await there.touch_session("s", 10)
    assert await here.session("s") == await there.session("s") == "ended"
    clock.now += 30
    assert await here.session("s") is await there.session("s") is None


async def test_the_watcher_hears_of_ends_here_and_there(clock: Clock) -> None:
    here, there = two_workers()
    heard: list[str] = []
    here.watch_sessions(heard.append)
    await here.end_session("a", 1)
    await there.end_session("b", 1)
    await there.touch_session("c", 1)
    assert heard == ["a", "b"]


async def test_a_new_worker_ends_no_session_it_has_not_heard_of(clock: Clock) -> None:
    bus = Bus()
    store = MemoryStore(bus, deaf_seconds=100)
    assert await store.session("s") == "live"
    bus.deliver("session.ended", {"id": "s", "ttl": 500})
    assert await store.session("s") == "ended"
    clock.now += 100
    assert await store.session("t") is None
    opened = open_store(Settings(session_idle_seconds=60), bus)
    assert await opened.session("t") == "live"
    clock.now += 60
    assert await opened.session("t") is None


async def test_a_key_ring_is_the_same_in_all_workers_and_changed_only_by_who_read_it() -> None:
    here, there = two_workers()
    assert await here.read_keys() is None
    assert await here.write_keys("one", None) is True
    assert await there.read_keys() == "one"
    assert await there.write_keys("two", None) is False
    assert await there.write_keys("two", "one") is True
    assert await here.read_keys() == "two"
    await here.keys_written(LIMIT)  # it has heard of that already
    await here.keys_written(0.0)


async def test_what_it_remembers_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "KEPT", 10)
    store = MemoryStore()
    for number in range(30):
        await store.touch_session(f"s{number}", 100)
        await store.end_session(f"t{number}", 100)
    assert len(store._live._until) == len(store._ended._until) == 10
    assert await store.session("s29") == "live"
    assert await store.session("s19") is None
    clock.now += 100
    await store.touch_session("new", 100)
    assert list(store._live._until) == ["new"]
