"""Who serves: each worker of the fleet says so in the store, again and again, and is forgotten soon after it stops.

Beside the requests: a store that is away costs none of them anything, and makes nobody unready.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

from doris_mcp_server.errors import StoreUnavailable
from doris_mcp_server.state import Store

FAMILY: Final = "member:v1"
KEPT: Final = 10.0  # seconds a worker that says nothing more is believed to be there
ANNOUNCE: Final = 3.0  # seconds between two words of one whose state stays the same
LOOK: Final = 0.25  # seconds between its looks whether that changed


@dataclass(frozen=True, slots=True)
class Member:
    """One worker, as it announced itself. `state`: starting, ready, not_ready or draining; who leaves is not here."""

    node: str
    pid: int
    slot: int  # its place among the workers of its host, from 0
    release: str
    state: str
    started: float  # Unix time, seconds
    reasons: tuple[str, ...] = ()  # why it is not ready
    inflight: int = 0
    streams: int = 0
    address: str = ""  # where it listens
    ring: int = 0  # revision of its key ring
    seals: str = ""  # id of the key it seals with
    settings: int | None = None  # version of the fleet's settings in force; None: this release does not say
    settings_started: int | None = None  # the one it began with, which its cold settings are of
    config: str = ""  # digest of its settings

    @property
    def name(self) -> str:
        return f"{FAMILY}/{self.node}:{self.pid}"


class Registry:
    """Announces one worker until it leaves. `describe` says how it is; it is asked several times a second."""

    def __init__(self, store: Store, describe: Callable[[], Member]) -> None:
        self._store = store
        self._describe = describe
        self._leaving = asyncio.Event()
        self._left = asyncio.Event()
        self._left.set()
        self.workers = 1
        """How many workers there are, this one included, as far as the store could be asked."""

    async def watch(self) -> None:
        """Announce it until it leaves, and see who else is there."""
        self._left.clear()
        try:
            while not self._leaving.is_set():
                me = self._describe()
                with contextlib.suppress(StoreUnavailable):  # the check of the store says so
                    await self._store.put(me.name, json.dumps(asdict(me)), KEPT)
                    self.workers = max(len(await members(self._store)), 1)
                await self._change(me.state)
            with contextlib.suppress(StoreUnavailable):
                await self._store.take(self._describe().name)
        finally:
            self._left.set()

    def leave(self) -> None:
        """This worker is about to end: nobody is to count on it any more."""
        self._leaving.set()

    async def close(self) -> None:
        """Return when it is no longer in the store. The caller bounds it."""
        self.leave()
        await self._left.wait()

    async def _change(self, state: str) -> None:
        """Return when this worker leaves or its state is another one, after ANNOUNCE seconds at the latest."""
        for _ in range(round(ANNOUNCE / LOOK)):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._leaving.wait()
            if self._leaving.is_set() or self._describe().state != state:
                return


async def members(store: Store) -> list[Member]:
    """Every worker that announced itself in the last KEPT seconds, by host and place. Raises: StoreUnavailable.

    What another release says differently is left out.
    """
    found = [_decode(text) for text in (await store.find(FAMILY)).values()]
    return sorted((member for member in found if member), key=lambda member: (member.node, member.slot, member.started))


def _decode(text: str) -> Member | None:
    try:
        data = json.loads(text)
        known = {name: data[name] for name in Member.__dataclass_fields__ if name in data}
        return Member(**known | {"reasons": tuple(known.get("reasons", ()))})
    except (ValueError, TypeError):
        return None
