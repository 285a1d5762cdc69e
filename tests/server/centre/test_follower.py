"""How a worker follows the fleet's settings: over the store, its host's disk, and with neither."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from doris_mcp_server.centre import NOTHING, Centre, Version, place, seal, unseal
from doris_mcp_server.centre import follower as follower_module
from doris_mcp_server.centre.copy import NAME, Copy, freshen
from doris_mcp_server.centre.follower import Follower
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import SettingsUnreadable, StoreUnavailable
from doris_mcp_server.observe import Metrics
from doris_mcp_server.state import Store, open_store
from doris_mcp_server.state.bus import LISTENING, SETTINGS_WRITTEN, Bus

from ..conftest import LIMIT
from .conftest import KEY, Open

FIVE = Version(1, "ann@app-1", "less", 1_700_000_000.0, {"DORIS_MCP_MAX_ROWS": "5"})
SIX = replace(FIVE, number=2, author="bob", values={"DORIS_MCP_MAX_ROWS": "6", "DORIS_HOST": "fe.new"})


class Away:
    """A store that does not answer, until it is there."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.away = True

    def __getattr__(self, name: str) -> Any:
        async def unavailable(*args: Any, **rest: Any) -> Any:
            raise StoreUnavailable("away")

        return unavailable if self.away else getattr(self._store, name)


class Used:
    """Keeps the settings that were applied."""

    def __init__(self, follower: Follower) -> None:
        self.rows: list[int] = []
        follower.apply_to(lambda settings: self.rows.append(settings.max_rows))


@pytest_asyncio.fixture
async def store(open_one: Open) -> AsyncIterator[Store]:
    opened = open_one()
    yield opened
    await opened.close()


@pytest.fixture
def centre(store: Store) -> Centre:
    return Centre(store, KEY)


async def test_hot_settings_change_and_cold_ones_stay_until_a_start(
    settings: Settings, store: Store, centre: Centre
) -> None:
    base = settings.model_copy(update={"doris_host": "fe.old"})
    follower = Follower(base, store, Bus())
    used = Used(follower)
    await follower.look()
    assert (used.rows, follower.known) == ([1000], True)
    await centre.write(FIVE)
    await follower.look()
    await follower.look()
    assert used.rows == [1000, 5]
    await centre.write(SIX)
    await follower.look()
    assert used.rows == [1000, 5, 6]
    assert follower.settings.doris_host == "fe.old"
    assert follower.status() == {"version": 2, "started": 0, "refused": []}
    again = Follower(base, store, Bus())  # a start needs no store
    assert (again.settings.doris_host, again.settings.max_rows) == ("fe.new", 6)
    assert again.status() == {"version": 2, "started": 2, "refused": []}
    await centre.write(replace(SIX, number=3, values={}))
    await follower.look()
    assert used.rows == [1000, 5, 6, 1000]


async def test_who_missed_versions_goes_to_the_newest(settings: Settings, store: Store, centre: Centre) -> None:
    bus = Bus()
    follower = Follower(settings, store, bus)
    await follower.look()
    for number in (1, 2, 3, 4):
        await centre.write(replace(FIVE, number=number, values={"DORIS_MCP_MAX_ROWS": str(number)}))
    await follower.look()
    assert (follower.version.number, follower.settings.max_rows) == (4, 4)
    for number in (5, 6, 7):
        await centre.write(replace(FIVE, number=number, values={"DORIS_MCP_MAX_ROWS": str(number)}))
        await store.take(place(number - 1))  # more than are kept, while the store was out of hearing
    bus.publish(LISTENING, {})
    await follower.look()
    assert (follower.version.number, follower.settings.max_rows) == (7, 7)


async def test_it_hears_of_a_version_and_looks_by_itself(
    settings: Settings, store: Store, centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower_module, "POLL", LIMIT)  # so that only the news can be it
    bus = Bus()
    follower = Follower(settings, store, bus)
    watching = asyncio.create_task(follower.watch())
    try:
        async with asyncio.timeout(LIMIT):
            while not follower.known:
                await asyncio.sleep(0.001)
            await centre.write(FIVE)
            bus.publish(SETTINGS_WRITTEN, {"version": 1})
            while follower.version != FIVE:
                await asyncio.sleep(0.001)
            monkeypatch.setattr(follower_module, "POLL", 0.001)
            bus.publish(SETTINGS_WRITTEN, {"version": 1})
            await centre.write(SIX)  # and nobody tells
            while follower.version != SIX:
                await asyncio.sleep(0.001)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


# --- the store away, empty, or not ours ---


async def test_nobody_knows_what_is_set_until_store_or_disk_say_it(settings: Settings, store: Store) -> None:
    away: Any = Away(store)
    follower = Follower(settings, away, Bus())
    used = Used(follower)
    await follower.start()
    assert (follower.known, used.rows) == (False, [])
    assert follower.unknown().retryable
    away.away = False
    await follower.start()
    assert (follower.known, used.rows) == (True, [1000])
    away.away = True
    next_start = Follower(settings, away, Bus())  # that nothing is set is known, too
    assert (next_start.known, next_start.version) == (True, NOTHING)


@pytest.mark.parametrize("lost", [None, FIVE])
async def test_a_store_that_lost_versions_gets_the_last_one_back(
    settings: Settings, store: Store, centre: Centre, lost: Version | None
) -> None:
    await centre.write(FIVE)
    await centre.write(SIX)
    followers = [Follower(settings, store, Bus()) for _ in range(2)]
    for follower in followers:
        await follower.look()
    await store.take(place(2))
    if lost is None:
        await store.take(place(1))
    for follower in followers:
        await follower.look()
    assert await centre.newest() == SIX
    assert await centre.write(replace(SIX, number=3))


async def test_of_two_versions_by_one_number_the_one_in_the_store_counts(
    settings: Settings, store: Store, centre: Centre
) -> None:
    await centre.write(FIVE)
    follower = Follower(settings, store, Bus())
    used = Used(follower)
    await follower.look()
    await store.put(place(1), seal(replace(FIVE, values={"DORIS_MCP_MAX_ROWS": "7"}), KEY))  # after a failover
    await follower.look()
    assert used.rows == [5, 7]


async def test_a_version_that_cannot_be_read_changes_nothing_and_is_left_behind(
    settings: Settings, store: Store, centre: Centre
) -> None:
    await centre.write(FIVE)
    follower = Follower(settings, store, Bus())
    await follower.look()
    await Centre(store, "cd" * 32).write(SIX)
    for _ in range(3):
        await follower.look()
    assert follower.version == FIVE
    await follower.check()
    await centre.write(replace(SIX, number=3))
    await follower.look()
    assert follower.version.number == 3


async def test_a_worker_that_can_read_none_is_not_ready_and_calls_no_tool(settings: Settings, store: Store) -> None:
    await Centre(store, "cd" * 32).write(FIVE)
    follower = Follower(settings, store, Bus())
    await follower.start()
    assert not follower.known
    with pytest.raises(SettingsUnreadable, match="DORIS_MCP_TOKEN_KEY"):
        await follower.check()
    assert "DORIS_MCP_TOKEN_KEY" in follower.unknown().message


async def test_what_does_not_fit_a_host_is_left_out_and_said(settings: Settings, store: Store, centre: Centre) -> None:
    values = {"DORIS_MCP_OF_A_NEWER_RELEASE": "1", "DORIS_MCP_MAX_ROWS": "6", "DORIS_MCP_QUERY_TIMEOUT": "long"}
    await centre.write(replace(FIVE, values=values))
    follower = Follower(settings, store, Bus())
    await follower.look()
    assert follower.settings.max_rows == 6
    assert follower.status()["refused"] == ["DORIS_MCP_OF_A_NEWER_RELEASE", "DORIS_MCP_QUERY_TIMEOUT"]
    await follower.check()


async def test_without_a_token_key_there_is_nothing_to_follow(store: Store) -> None:
    follower = Follower(Settings(), store, Bus())
    used = Used(follower)
    assert (follower.known, used.rows) == (True, [1000])
    await follower.start()
    await follower.watch()
    await follower.check()


# --- the copy on the disk ---


async def test_a_start_first_brings_the_copy_up_to_date(settings: Settings, store: Store, centre: Centre) -> None:
    await freshen(settings)
    assert Copy(settings).read() is None
    await centre.write(FIVE)
    await freshen(settings)
    await freshen(settings)
    kept = Copy(settings).read()
    assert kept is not None
    assert kept[0] == FIVE
    await store.take(place(1))
    await centre.write(FIVE)  # a store that lost some is behind
    Copy(settings).keep(seal(SIX, KEY))
    await freshen(settings)
    kept = Copy(settings).read()
    assert kept is not None
    assert kept[0] == SIX


@pytest.mark.parametrize(
    "text", [b"", b"1.", b"\xff\xff", b"{}", seal(FIVE, "cd" * 32).encode(), seal(FIVE, KEY)[:-4].encode()]
)
async def test_a_copy_that_this_fleet_did_not_make_sets_nothing(text: bytes, tmp_path: Path) -> None:
    settings = Settings(token_key=KEY, state_dir=str(tmp_path))
    (tmp_path / NAME).write_bytes(text)
    store = open_store(settings)
    follower = Follower(settings, store, Bus())
    assert (follower.version, follower.known) == (NOTHING, False)
    await follower.start()
    assert unseal((tmp_path / NAME).read_text(), KEY) == NOTHING
    await store.close()


async def test_a_disk_that_is_full_costs_the_copy_only(tmp_path: Path) -> None:
    settings = Settings(token_key=KEY, redis_url="redis://unused", state_dir=str(tmp_path / "gone"))
    Copy(settings).keep(seal(FIVE, KEY))
    assert Copy(settings).read() is None


async def test_metrics_show_the_version_and_what_came_of_it(settings: Settings, store: Store, centre: Centre) -> None:
    metrics = Metrics()
    follower = Follower(settings, store, Bus())
    metrics.sources.append(follower.show)
    await centre.write(FIVE)
    await follower.look()
    await centre.write(replace(FIVE, number=2, values={"NO_SETTING": "1"}))
    await follower.look()
    await Centre(store, "cd" * 32).write(replace(FIVE, number=3))
    await follower.look()
    metrics.flush()
    told = metrics.render().decode()
    assert "doris_mcp_config_version 2.0" in told
    for outcome in ("applied", "partly", "unreadable"):
        assert f'doris_mcp_config_reloads_total{{outcome="{outcome}"}} 1.0' in told
