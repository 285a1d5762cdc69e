"""Who serves, as the workers say it: in the store while they do, out of it when they leave, and never in their way."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from doris_mcp_server import registry as registry_module
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import StoreUnavailable
from doris_mcp_server.registry import FAMILY, Member, Registry, members
from doris_mcp_server.state import Store, open_store

from .conftest import LIMIT

ME = Member(node="app-1", pid=100, slot=0, release="1", state="starting", started=1000.0)


class Worker:
    """One that announces itself, and can be changed."""

    def __init__(self, store: Store, me: Member) -> None:
        self.me = me
        self.asked = 0
        self.registry = Registry(store, self._describe)
        self.task = asyncio.create_task(self.registry.watch())

    def _describe(self) -> Member:
        self.asked += 1
        return self.me

    async def leave(self) -> None:
        await self.registry.close()
        await self.task


async def until(store: Store, wanted: Callable[[list[Member]], bool]) -> list[Member]:
    async with asyncio.timeout(LIMIT):
        while not wanted(found := await members(store)):
            await asyncio.sleep(0.01)
    return found


async def test_a_worker_is_there_as_it_is_until_it_leaves(store: Store) -> None:
    one = Worker(store, ME)
    other = Worker(store, replace(ME, node="app-0", pid=7, state="ready", inflight=3))
    found = await until(store, lambda found: len(found) == 2)
    assert found == [other.me, one.me]
    one.me = replace(ME, state="not_ready", reasons=("doris: away",), streams=2)
    await until(store, lambda found: found[1] == one.me)
    await other.leave()
    assert await members(store) == [one.me]
    await one.leave()
    assert await members(store) == []


async def test_how_many_there_are_is_known_to_each(store: Store) -> None:
    workers = [Worker(store, replace(ME, pid=pid)) for pid in (1, 2, 3)]
    assert {worker.registry.workers for worker in workers} == {1}
    await until(store, lambda found: len(found) == 3)
    for worker in workers:
        worker.me = replace(worker.me, state="ready")  # which is a reason to look again
    async with asyncio.timeout(LIMIT):
        while {worker.registry.workers for worker in workers} != {3}:
            await asyncio.sleep(0.01)
    for worker in workers:
        await worker.leave()


async def test_one_that_says_nothing_more_is_forgotten_and_not_made_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "KEPT", 0.5)
    killed = Worker(store, ME)
    await until(store, lambda found: found == [ME])
    killed.task.cancel()
    await until(store, lambda found: found == [])


async def test_what_another_release_says_is_read_as_far_as_it_can_be(store: Store) -> None:
    newer = asdict(replace(ME, pid=1)) | {"mood": "good"}
    older = {name: value for name, value in asdict(replace(ME, pid=2)).items() if name not in ("seals", "config")}
    for id, said in (("1", newer), ("2", older), ("3", {"node": "app-1"}), ("4", [])):
        await store.put(f"{FAMILY}/{id}", json.dumps(said))
    await store.put(f"{FAMILY}/5", "not JSON")
    assert [member.pid for member in await members(store)] == [1, 2]


class Away:
    """A store that does not answer."""

    async def put(self, *_: object, **__: object) -> bool:
        raise StoreUnavailable("away")

    async def take(self, *_: object, **__: object) -> str | None:
        raise StoreUnavailable("away")


async def test_a_store_that_is_away_ends_nothing_and_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "LOOK", 0.01)
    monkeypatch.setattr(registry_module, "ANNOUNCE", 0.02)
    worker = Worker(Away(), ME)  # type: ignore[arg-type]
    async with asyncio.timeout(LIMIT):
        while worker.asked < 10:
            await asyncio.sleep(0.01)
    assert not worker.task.done()
    await worker.leave()


async def test_one_that_never_began_closes_at_once(tmp_path: Path) -> None:
    store = open_store(Settings(state_dir=str(tmp_path)))
    async with asyncio.timeout(LIMIT):
        await Registry(store, lambda: ME).close()
    await store.close()
