"""A store that counts what it is asked, and can be away or slow."""

import asyncio
from typing import Any

from doris_mcp_server.errors import StoreUnavailable
from doris_mcp_server.state import Grown
from doris_mcp_server.state.local import LocalStore


class FlakyStore(LocalStore):
    """`gate` holds every answer back until it is set."""

    def __init__(self, directory: str = "") -> None:
        super().__init__(directory)
        self.away = False
        self.gate: asyncio.Event | None = None
        self.asked = self.wrote = 0
        self._taken: dict[str, str | None] = {}

    async def get(self, name: str) -> str | None:
        self.asked += 1
        found = await super().get(name)
        if self.gate is not None:
            await self.gate.wait()
        self._present()
        return found

    async def put(self, name: str, *args: Any, **options: Any) -> bool:
        self.wrote += 1
        self._present()
        return await super().put(name, *args, **options)

    async def swap(self, name: str, *args: Any, **options: Any) -> bool:
        self._present()
        return await super().swap(name, *args, **options)

    async def take(self, name: str, *, durable: bool = False) -> str | None:
        self._present()
        found = await super().take(name, durable=durable)
        if not durable:
            self._taken[name] = found
        return found

    async def fail_over(self) -> None:
        """What was taken is there again, unless every replica knew."""
        for name, text in self._taken.items():
            if text is not None:
                await super().put(name, text)

    async def grow(self, name: str, *args: Any, **options: Any) -> None:
        self._present()
        await super().grow(name, *args, **options)

    async def grown(self, name: str, mark: str | None) -> Grown | None:
        self._present()
        return await super().grown(name, mark)

    def _present(self) -> None:
        if self.away:
            raise StoreUnavailable("away")
