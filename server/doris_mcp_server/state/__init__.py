"""What outlives a request: small texts under names, in a file of one host or in Redis for a fleet.

A store knows nothing of what it keeps: tokens, keys, sessions, settings and grants are written by those they belong to,
with the version of their format in the name (`token:v1/<id>`), so that two releases can run side by side.
"""

import functools
import os
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar

from doris_mcp_server.config import Settings
from doris_mcp_server.errors import StoreUnavailable
from doris_mcp_server.state.bus import Bus

MOST = 10_000  # texts that `find` gives at most


P = ParamSpec("P")
T = TypeVar("T")


class _Counts(Protocol):
    operations: Counter[tuple[str, str]]


S = TypeVar("S", bound=_Counts)


class Grown(NamedTuple):
    """A set that only grows, as it is: `mark` names this state of it, `until` maps members to the end of their term."""

    mark: str
    until: dict[str, float]  # Unix time, seconds


class Store(Protocol):
    """Texts under names `family/id`. What is awaited may raise StoreUnavailable, within a few seconds.

    `ttl` is in seconds; without one a text stays. What is `durable` is on every replica when it returns, and survives
    whatever happens to the primary then.
    """

    operations: Counter[tuple[str, str]]
    """What this process did: how often each operation had which outcome, `ok` or `unavailable`."""
    since: float
    """Unix time since which nothing was forgotten before its term; 0: for ever."""

    async def get(self, name: str) -> str | None:
        """The text, None where there is none."""

    async def find(self, family: str) -> dict[str, str]:
        """The texts of a family by id, MOST of them at most."""

    async def put(
        self, name: str, text: str, ttl: float | None = None, *, unless: str | None = None, durable: bool = False
    ) -> bool:
        """Write a text over whatever is there; False, and nothing written, where that is `unless`."""

    async def swap(
        self, name: str, text: str, instead_of: str | None, ttl: float | None = None, *, durable: bool = False
    ) -> bool:
        """Write a text where `instead_of` is (None: nothing); False where something else is. True if it is there."""

    async def take(self, name: str, *, durable: bool = False) -> str | None:
        """Remove a text and give it to this caller, and to no other."""

    async def grow(self, name: str, until: Mapping[str, float], *, durable: bool = False) -> None:
        """Add members to a set. Each stays until its time (Unix, seconds), and nobody can take it out before."""

    async def grown(self, name: str, mark: str | None) -> Grown | None:
        """The set, None while it is as it was at `mark`. A store that is cut off from the others does not answer this:
        what it knows may be the past."""

    async def spend(self, name: str, wanted: int, *, rate: float, burst: int) -> tuple[int, float]:
        """Take up to `wanted` permits out of a bucket into which `rate` a second fall, up to `burst`.

        Gives how many there were, and the seconds until there is one if there was none.
        """

    async def hold(self, name: str, holder: str, wanted: int, *, most: int, ttl: float) -> tuple[int, int]:
        """Have up to `wanted` of `most` seats in a row, for `ttl` seconds. 0 gives all of them back.

        Gives how many `holder` has now, instead of those it had before, and how many nobody has.
        """

    async def ping(self) -> None:
        """Return when the store answers."""

    async def watch(self) -> None:
        """Hear what other hosts publish, and follow the store when it moves, until cancelled."""

    async def close(self) -> None:
        """Send what is still to be sent and give back connections. The store is of no use afterwards."""


def counted(
    operation: Callable[Concatenate[S, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """An operation of a store, counted by its outcome."""
    done, undone = (operation.__name__, "ok"), (operation.__name__, "unavailable")

    @functools.wraps(operation)
    async def count(store: S, /, *args: P.args, **options: P.kwargs) -> T:
        try:
            result = await operation(store, *args, **options)
        except StoreUnavailable:
            store.operations[undone] += 1
            raise
        store.operations[done] += 1
        return result

    return count


def open_store(settings: Settings, bus: Bus | None = None) -> Store:
    """The store the settings ask for. It carries what `bus` publishes to other hosts. Connects to nothing yet.

    Raises: ConfigError where the file of a lone host cannot be used.
    """
    bus = bus or Bus()
    if settings.redis_url:
        from doris_mcp_server.state.redis import RedisStore

        return RedisStore(settings, bus)
    from doris_mcp_server.state.local import LocalStore

    return LocalStore(state_directory(settings))


def prepare_store(settings: Settings) -> None:
    """Have what workers that start at once would each make. Raises: ConfigError, as they would."""
    if not settings.redis_url:
        from doris_mcp_server.state.local import prepare

        prepare(state_directory(settings))


def state_directory(settings: Settings) -> str:
    """Where a lone host keeps its state; empty: in the memory of one process."""
    return settings.state_dir or os.environ.get("STATE_DIRECTORY", "").split(":")[0] or settings.runtime_dir
