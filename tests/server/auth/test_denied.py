"""Revocations as a worker knows them: pushed, looked for, and never unlearned, whatever becomes of the store."""

import asyncio
import time
from collections.abc import Iterable

import pytest

from doris_mcp_server.auth import ALL_SCOPES
from doris_mcp_server.auth import denied as denied_module
from doris_mcp_server.auth.denied import Denied
from doris_mcp_server.auth.opaque import REVOKED, Tokens
from doris_mcp_server.errors import StoreUnavailable
from doris_mcp_server.state.bus import LISTENING, Bus

from ...flaky import FlakyStore
from ..conftest import LIMIT

KEY = "cd" * 32


class Worker:
    """One worker's knowledge, and what it dropped because of it."""

    def __init__(self, store: FlakyStore) -> None:
        self.bus = Bus()
        self.tokens = Tokens(store, self.bus, KEY)
        self.dropped: list[str] = []
        self.denied = Denied(store, self.bus, self.tokens, self._drop)

    def _drop(self, ids: Iterable[str]) -> None:
        self.dropped += ids


async def test_one_that_was_not_heard_of_is_found_by_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denied_module, "POLL", 0.01)
    store = FlakyStore()
    here, there = Worker(store), Worker(store)
    watching = asyncio.create_task(there.denied.watch())
    try:
        id = (await here.tokens.issue("ann", ALL_SCOPES, None))[1].id
        await here.tokens.revoke([id])
        assert id in here.denied
        async with asyncio.timeout(LIMIT):
            while id not in there.denied:
                await asyncio.sleep(0.005)
        assert there.dropped == [id]
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_it_looks_at_once_when_other_hosts_are_heard_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denied_module, "POLL", 10 * LIMIT)
    store = FlakyStore()
    worker = Worker(store)
    watching = asyncio.create_task(worker.denied.watch())
    try:
        async with asyncio.timeout(LIMIT):
            while worker.denied._mark is None:
                await asyncio.sleep(0.005)
            await store.grow(REVOKED, {"a": time.time() + 60})
            while "a" not in worker.denied:
                worker.bus.deliver(LISTENING, {})
                await asyncio.sleep(0.005)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_a_store_that_lost_a_revocation_gets_it_back_and_does_not_revive_the_token() -> None:
    store, lost = FlakyStore(), FlakyStore()
    worker = Worker(store)
    token, record = await worker.tokens.issue("ann", ALL_SCOPES, None)
    await Tokens(lost, Bus(), KEY).keep(record)  # a replica, or a backup, from before
    await worker.tokens.revoke([record.id])
    await worker.denied.look()
    worker.denied._store, worker.denied._tokens = lost, Tokens(lost, Bus(), KEY)
    await worker.denied.look()
    grown = await lost.grown(REVOKED, None)
    assert grown is not None and set(grown.until) == {record.id}
    assert await Tokens(lost, Bus(), KEY).find(token) is None
    assert worker.dropped == [record.id]


async def test_what_could_not_be_put_back_is_tried_again() -> None:
    store = FlakyStore()
    worker = Worker(store)
    worker.bus.deliver("token.denied", {"until": {"a": time.time() + 60}})
    store.away = True
    with pytest.raises(StoreUnavailable):
        await worker.denied.look()
    store.away = False
    await worker.denied.look()
    grown = await store.grown(REVOKED, None)
    assert grown is not None and set(grown.until) == {"a"}


async def test_many_that_were_lost_are_put_back_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denied_module, "_AT_ONCE", 7)
    store = FlakyStore()
    worker = Worker(store)
    worker.bus.deliver("token.denied", {"until": {f"{n}": time.time() + 60 for n in range(20)}})
    await worker.denied.look()
    grown = await store.grown(REVOKED, None)
    assert grown is not None and len(grown.until) == 20


async def test_those_nobody_could_believe_any_more_are_forgotten() -> None:
    worker = Worker(FlakyStore())
    worker.bus.deliver("token.denied", {"until": {"old": time.time() - 1, "new": time.time() + 60}})
    await worker.denied.look()
    assert len(worker.denied) == 1
    assert "new" in worker.denied
