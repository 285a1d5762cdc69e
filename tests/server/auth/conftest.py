"""A store of one host whose clock the test moves, and which can be away."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from doris_mcp_server.errors import StoreUnavailable
from doris_mcp_server.state import local
from doris_mcp_server.state.local import LocalStore

from ...clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(local, "wall", clock)
    return clock


class Spy(LocalStore):
    """A store that notes what is wanted of it, and can be away or slow."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []
        self.given = 0
        self.away = False
        self.gate: asyncio.Event | None = None

    async def spend(self, name: str, wanted: int, *, rate: float, burst: int) -> tuple[int, float]:
        await self._hear(wanted)
        given, wait = await super().spend(name, wanted, rate=rate, burst=burst)
        self.given += given
        return given, wait

    async def hold(self, name: str, holder: str, wanted: int, *, most: int, ttl: float) -> tuple[int, int]:
        await self._hear(wanted)
        return await super().hold(name, holder, wanted, most=most, ttl=ttl)

    async def _hear(self, wanted: int) -> None:
        self.asked.append(wanted)
        if self.gate is not None:
            await self.gate.wait()
        if self.away:
            raise StoreUnavailable("away")


@pytest.fixture
async def spy(clock: Clock) -> AsyncIterator[Spy]:
    store = Spy()
    yield store
    await store.close()
