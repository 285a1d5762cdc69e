"""What every store does, wherever it keeps things: in memory, in a file, in Redis."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from doris_mcp_server.config import Settings
from doris_mcp_server.errors import ConfigError, StoreUnavailable
from doris_mcp_server.state import Store, open_store
from doris_mcp_server.state import local as local_module
from doris_mcp_server.state import redis as redis_module
from doris_mcp_server.state.local import FILE, LocalStore
from doris_mcp_server.state.redis import RedisStore

from ...redis_server import PASSWORD
from ..conftest import LIMIT

Make = Callable[[], Store]


@pytest.fixture(params=["memory", "file", "redis"])
def open_one(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    match request.param:
        case "memory":
            only = LocalStore()
            return lambda: only
        case "file":
            return lambda: LocalStore(str(tmp_path))
        case _:
            url = f"redis://127.0.0.1:{request.getfixturevalue('redis_port')}/0"
            return lambda: open_store(Settings(redis_url=url, redis_password=PASSWORD))


@pytest_asyncio.fixture
async def make(open_one: Make) -> AsyncIterator[Make]:
    """Opens the same store again and again, as the workers of a host or the hosts of a fleet do."""
    opened: list[Store] = []

    def keep() -> Store:
        opened.append(open_one())
        return opened[-1]

    yield keep
    for store in set(opened):
        await store.close()


async def gone(store: Store, name: str) -> None:
    async with asyncio.timeout(LIMIT):
        while await store.get(name) is not None:
            await asyncio.sleep(0.005)


async def test_a_text_is_written_read_elsewhere_and_forgotten(make: Make) -> None:
    here, there = make(), make()
    assert await here.get("cat/tom") is None
    assert await here.put("cat/tom", "grey", 3600)
    assert await there.get("cat/tom") == "grey"
    assert await there.get("cat/to") is await there.get("ca/tom") is None
    assert await there.put("cat/tom", "black")
    assert await here.get("cat/tom") == "black"
    assert await here.put("cat/tom", "", 0.001)
    await gone(there, "cat/tom")
    assert await there.find("cat") == {}


async def test_a_text_is_not_written_over_the_one_that_forbids_it(make: Make) -> None:
    store = make()
    assert await store.put("session/s", "live", 60, unless="ended")
    assert await store.put("session/s", "ended", 60)
    assert not await store.put("session/s", "live", 60, unless="ended", durable=True)
    assert await store.get("session/s") == "ended"


async def test_a_family_is_found_whole_and_without_its_neighbours(make: Make) -> None:
    here, there = make(), make()
    for id in ("b", "a", "c"):
        await here.put(f"cat/{id}", id.upper(), None if id == "a" else 3600)
    await here.put("cat/late", "x", 0.001)
    await here.put("cats/d", "D")
    await here.put("ca/t/e", "E")
    await gone(there, "cat/late")
    assert list((await there.find("cat")).items()) == [("a", "A"), ("b", "B"), ("c", "C")]
    assert await there.find("ca") == {"t/e": "E"}
    assert await here.take("cat/b", durable=True) == "B"
    assert await there.find("cat") == {"a": "A", "c": "C"}
    assert await there.find("dog") == {}


async def test_of_a_flood_only_so_much_is_found(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (local_module, redis_module):
        monkeypatch.setattr(module, "MOST", 10)
    store = make()
    for number in range(30):
        await store.put(f"flood/{number}", "x", 3600)
    assert len(await store.find("flood")) == 10


async def test_a_text_is_swapped_only_by_who_read_the_one_before(make: Make) -> None:
    here, there = make(), make()
    assert await here.swap("keys/ring", "one", None, durable=True)
    assert await here.swap("keys/ring", "one", None)  # the answer to the first was lost
    assert not await there.swap("keys/ring", "two", None)
    assert not await there.swap("keys/ring", "two", "none")
    assert await there.get("keys/ring") == "one"
    wrote = await asyncio.gather(*(s.swap("keys/ring", f"by {n}", "one") for n, s in enumerate([here, there])))
    assert sorted(wrote) == [False, True]
    assert await here.get("keys/ring") == f"by {wrote.index(True)}"
    assert await here.swap("code/c", "short", None, 0.001)
    await gone(there, "code/c")
    assert await there.swap("code/c", "again", None)


async def test_a_text_is_taken_by_one_only(make: Make) -> None:
    stores = [make() for _ in range(4)]
    await stores[0].put("code/c", "text", 60)
    assert sorted(filter(None, await asyncio.gather(*(store.take("code/c") for store in stores)))) == ["text"]
    assert await stores[0].take("code/c", durable=True) is None


async def test_a_set_grows_and_tells_when_it_has(make: Make) -> None:
    here, there = make(), make()
    now = time.time()
    empty = await here.grown("denied", None)
    assert empty is not None and empty.until == {}
    assert await there.grown("denied", empty.mark) is None
    await here.grow("denied", {"a": now + 100, "b": now + 200.5}, durable=True)
    first = await there.grown("denied", empty.mark)
    assert first is not None and first.until == pytest.approx({"a": now + 100, "b": now + 200.5}, abs=1e-3)
    await there.grow("denied", {"a": now + 50})
    assert await here.grown("denied", first.mark) is None, "nothing was added, and no term became shorter"
    await there.grow("denied", {"a": now + 150, "c": now - 1})
    second = await here.grown("denied", first.mark)
    assert second is not None and second.until == pytest.approx({"a": now + 150, "b": now + 200.5}, abs=1e-3)
    assert len({empty.mark, first.mark, second.mark}) == 3
    assert (await here.grown("denied", None)) == second
    await here.grow("other", {"d": now + 100})
    assert await here.grown("denied", second.mark) is None


async def test_a_bucket_gives_what_has_fallen_into_it_and_says_when_there_is_more(make: Make) -> None:
    here, there = make(), make()
    assert await here.spend("rate/ann", 3, rate=0.5, burst=5) == (3, 0.0)
    assert await there.spend("rate/ann", 3, rate=0.5, burst=5) == (2, 0.0)
    given, wait = await here.spend("rate/ann", 1, rate=0.5, burst=5)
    assert given == 0 and 0 < wait <= 2
    assert await here.spend("rate/bob", 1, rate=0.5, burst=5) == (1, 0.0)
    async with asyncio.timeout(LIMIT):
        while not (await there.spend("rate/quick", 1, rate=1000.0, burst=1))[0]:
            await asyncio.sleep(0.001)
    got = await asyncio.gather(*(store.spend("rate/many", 4, rate=0.001, burst=10) for store in (here, there) * 3))
    assert sum(given for given, _ in got) == 10


async def test_seats_are_held_for_a_time_and_no_more_than_there_are(make: Make) -> None:
    here, there = make(), make()
    assert await here.hold("seats/ann", "one", 3, most=5, ttl=60) == (3, 2)
    assert await there.hold("seats/ann", "two", 9, most=5, ttl=60) == (2, 0)
    assert await here.hold("seats/ann", "one", 4, most=5, ttl=60) == (3, 0), "instead of those it had, not besides"
    assert await here.hold("seats/ann", "one", 1, most=5, ttl=60) == (1, 2)
    assert await there.hold("seats/ann", "two", 9, most=5, ttl=60) == (4, 0)
    assert await there.hold("seats/ann", "two", 0, most=5, ttl=60) == (0, 4)
    assert await here.hold("seats/ann", "one", 9, most=2, ttl=60) == (2, 0), (
        "there may be fewer from one time to the next"
    )
    assert await there.hold("seats/ann", "two", 1, most=1, ttl=60) == (0, 0)
    assert await there.hold("seats/bob", "two", 5, most=5, ttl=0.05) == (5, 0)
    async with asyncio.timeout(LIMIT):
        while await here.hold("seats/bob", "one", 5, most=5, ttl=60) < (5, 0):
            await asyncio.sleep(0.01)
    got = await asyncio.gather(*((here, there)[n % 2].hold("seats/many", str(n), 4, most=10, ttl=60) for n in range(6)))
    assert sum(has for has, _ in got) == 10


async def test_it_answers_and_has_forgotten_nothing_that_was_written_before(make: Make) -> None:
    store = make()
    await store.ping()
    assert store.since <= time.time()


async def test_a_file_keeps_what_a_server_before_wrote_and_only_its_user_may_read_it(tmp_path: Path) -> None:
    before = LocalStore(str(tmp_path))
    await before.put("token/t", "x")
    await before.close()
    after = LocalStore(str(tmp_path))
    assert await after.get("token/t") == "x"
    assert after.since == before.since
    await after.close()
    assert {file.stat().st_mode & 0o077 for file in tmp_path.glob(f"{FILE}*")} == {0}


async def test_a_directory_that_cannot_be_used_and_a_file_that_breaks_are_typed_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be kept in") as caught:
        LocalStore(str(tmp_path / "missing"))
    assert "DORIS_MCP_STATE_DIR" in (caught.value.hint or "")
    (tmp_path / FILE).write_text("this is no database, and long enough to be read as one" * 100)
    with pytest.raises(ConfigError, match="not a database"):
        LocalStore(str(tmp_path))
    (tmp_path / FILE).unlink()
    store = LocalStore(str(tmp_path))
    store._db.execute("DROP TABLE texts")
    with pytest.raises(StoreUnavailable, match="no such table"):
        await store.get("token/t")
    await store.ping()
    await store.close()


async def test_whoever_opens_a_file_that_another_is_making_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_module, "_BUSY", 0.0)  # for the operations, not for this
    maker = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    maker.execute("BEGIN EXCLUSIVE")
    opening = asyncio.create_task(asyncio.to_thread(LocalStore, str(tmp_path)))
    assert (await asyncio.wait({opening}, timeout=0.3))[1] == {opening}
    maker.close()
    await (await opening).close()


async def test_a_closed_store_leaves_one_file(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    await store.put("token/t", "x")
    await store.close()
    assert [file.name for file in tmp_path.iterdir()] == [FILE]


async def test_a_file_gives_back_what_has_expired(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    for number in range(20):
        await store.put(f"token/{number}", "x" * 100_000, 0.5 if number else None)
    async with asyncio.timeout(LIMIT):
        while len(await store.find("token")) > 1:
            await asyncio.sleep(0.05)
    await store.put("token/last", "x")
    await store.close()
    assert (tmp_path / FILE).stat().st_size < 300_000


def test_settings_say_which_store_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(open_store(Settings(redis_url="redis://localhost/0")), RedisStore)
    assert isinstance(open_store(Settings()), LocalStore)
    for number, settings in enumerate(
        [Settings(state_dir=str(tmp_path / "0")), Settings(runtime_dir=str(tmp_path / "1")), Settings()]
    ):
        directory = tmp_path / str(number)
        directory.mkdir()
        if number == 2:
            monkeypatch.setenv("STATE_DIRECTORY", f"{directory}:/elsewhere")
        open_store(settings)
        assert (directory / FILE).is_file()
