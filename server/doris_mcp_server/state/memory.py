"""The store of a lone host: gone when its processes end. What needs no Redis, and the tests.

Each worker has one. Sessions and the key ring are the same in all of them, because each tells the others over the bus;
tokens are not: a lone host has its tokens from the settings.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import Any

from doris_mcp_server.state import SessionState, TokenRecord
from doris_mcp_server.state.bus import KEYS_WRITTEN, SESSION_ENDED, SESSION_TOUCHED, Bus

KEPT = 50_000  # sessions, and ends of sessions, that are remembered


class MemoryStore:
    def __init__(self, bus: Bus | None = None, *, deaf_seconds: float = 0.0) -> None:
        """A worker that has just been started heard nothing of earlier touches: for `deaf_seconds` it counts a
        session it has no record of as live, so that replacing a worker ends nobody's session."""
        self._tokens: dict[str, TokenRecord] = {}
        self._live = _Fading()
        self._ended = _Fading()
        self._hears_from = monotonic() + deaf_seconds
        self._bus = bus or Bus()
        self._bus.subscribe(SESSION_TOUCHED, lambda data: self._live.add(data["id"], data["ttl"]))
        self._bus.subscribe(SESSION_ENDED, lambda data: self._ended.add(data["id"], data["ttl"]))
        self._keys: str | None = None
        self._keys_written = asyncio.Event()
        self._bus.subscribe(KEYS_WRITTEN, self._hear_keys)

    async def get_token(self, digest: str) -> TokenRecord | None:
        record = self._tokens.get(digest)
        return None if record is None or record.expired() else record

    async def put_token(self, digest: str, record: TokenRecord) -> None:
        self._tokens[digest] = record

    async def list_tokens(self) -> list[TokenRecord]:
        return sorted((r for r in self._tokens.values() if not r.expired()), key=lambda r: r.created)

    async def revoke_token(self, token_id: str) -> bool:
        for digest, record in self._tokens.items():
            if record.id == token_id:
                del self._tokens[digest]
                return True
        return False

    async def session(self, id: str) -> SessionState | None:
        if id in self._ended:
            return "ended"
        return "live" if id in self._live or monotonic() < self._hears_from else None

    async def touch_session(self, id: str, ttl: float) -> None:
        self._bus.publish(SESSION_TOUCHED, {"id": id, "ttl": ttl})

    async def end_session(self, id: str, ttl: float) -> None:
        self._bus.publish(SESSION_ENDED, {"id": id, "ttl": ttl})

    def watch_sessions(self, ended: Callable[[str], None]) -> None:
        self._bus.subscribe(SESSION_ENDED, lambda data: ended(data["id"]))

    async def read_keys(self) -> str | None:
        return self._keys

    async def write_keys(self, text: str, instead_of: str | None) -> bool:
        if self._keys != instead_of:
            return self._keys == text
        self._bus.publish(KEYS_WRITTEN, {"text": text})
        return True

    async def keys_written(self, within: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._keys_written.wait()
        self._keys_written.clear()

    def _hear_keys(self, data: dict[str, Any]) -> None:
        self._keys = data["text"]
        self._keys_written.set()

    async def ping(self) -> None:
        return None

    async def close(self) -> None:
        self._tokens.clear()


class _Fading:
    """Ids that are forgotten by themselves: at most KEPT, those added longest ago go first."""

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()

    def __contains__(self, id: str) -> bool:
        return self._until.get(id, 0.0) > monotonic()

    def add(self, id: str, ttl: float) -> None:
        now = monotonic()
        self._until[id] = now + ttl
        self._until.move_to_end(id)
        while self._until and (len(self._until) > KEPT or next(iter(self._until.values())) <= now):
            self._until.popitem(last=False)
