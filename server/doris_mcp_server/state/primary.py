"""The way to Redis: the primary, found directly or through Sentinel, and found again when it moves.

Sentinel is asked after each failure and twice a second besides: a primary that was replaced while it was cut off or
moved by plan still answers, and what is written there is lost (measured: 27,679 of 38,809 writes in one run).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar, cast
from urllib.parse import unquote, urlsplit
from weakref import WeakKeyDictionary

import redis.asyncio as aioredis
from redis import exceptions as failed
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from doris_mcp_server.config import Settings
from doris_mcp_server.errors import ConfigError, StoreUnavailable

BUDGET = 3.0  # seconds one operation may take, over all attempts; a failover takes 2-3
DURABLE_BUDGET = 12.0  # seconds for one that waits for replicas: one that hangs is given up by its primary after 10
LOOK = 0.5  # seconds between looks where the primary is
_HASTE = 0.1  # seconds between them while operations fail
_ACKNOWLEDGED = 0.5  # seconds replicas have to take over a write, until Sentinel is asked again
_SENTINEL_LIMIT = 0.5  # seconds one Sentinel has to answer
_PASSING = ("NOREPLICAS", "LOADING", "MASTERDOWN", "UNKILLABLE")
_SCHEMES = {"redis": False, "rediss": True, "redis+sentinel": False, "rediss+sentinel": True}

T = TypeVar("T")
Client = aioredis.Redis


class Primary:
    """One client object of a process: `master_for` would make a pool at each call."""

    def __init__(self, settings: Settings) -> None:
        """Raises: ConfigError for a REDIS_URL that names nothing."""
        self._sentinels: _Sentinels | None = None
        self.client = self._connect(settings)
        self.moved = 0  # how often it was found elsewhere
        self._failing = 0  # operations that are tried again
        self._attempts: set[asyncio.Timeout] = set()

    async def call(self, operation: Callable[[], Awaitable[T]], budget: float | None = None) -> T:
        """Run `operation` until it works, asking Sentinel anew for the primary.

        Raises: StoreUnavailable when the budget (BUDGET, in seconds) is spent, or nothing can help.
        """
        pause = 0.02
        problem: Exception | None = None
        failing = False
        try:
            async with asyncio.timeout(BUDGET if budget is None else budget):
                while True:
                    try:
                        return await self.attempt(operation)
                    except (failed.AuthenticationError, failed.NoPermissionError) as error:
                        raise StoreUnavailable(
                            f"Redis refuses this server's account: {error}",
                            hint="compare REDIS_PASSWORD with the store's ACL user",
                        ) from error
                    except (failed.ConnectionError, failed.TimeoutError, failed.ReadOnlyError, _NotYet) as error:
                        problem = error
                    except failed.ResponseError as error:
                        if not str(error).startswith(_PASSING):
                            raise StoreUnavailable(f"Redis answered: {error}") from error
                        problem = error
                    self._failing += not failing
                    failing = True
                    self._leave()
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 0.1)
        except TimeoutError:
            raise StoreUnavailable(
                f"Redis does not answer: {problem or 'no reply in time'}",
                hint="check redis-server and redis-sentinel on the store's hosts",
            ) from problem
        finally:
            self._failing -= failing

    async def durably(self, operation: Callable[[Client], Awaitable[T]]) -> T:
        """Run a write until every replica of the primary has it. It may run more than once, and must write each time.

        Behind Sentinel there must be a replica: what only one Redis has is lost when that one is.
        Raises: StoreUnavailable as `call`; whether it was written is not known then.
        """

        async def attempt() -> T:
            # WAIT counts for the writes of its own connection.
            async with self._own_connection() as connection:
                done = await operation(connection)
                replicas = len((await connection.role())[2])
                if replicas or self._sentinels is not None:
                    have = await connection.wait(max(replicas, 1), int(_ACKNOWLEDGED * 1000))
                    if have < max(replicas, 1):
                        raise _NotYet(f"{have} of {max(replicas, 1)} replicas have the write")
                return done

        return await self.call(attempt, DURABLE_BUDGET)

    @contextlib.asynccontextmanager
    async def _own_connection(self) -> AsyncIterator[Client]:
        # redis-py's own `async with` keeps the connection for ever when it is cancelled as it ends.
        connection = self.client.client()
        try:
            yield await connection.initialize()
        finally:
            await asyncio.shield(connection.aclose())

    async def follow(self) -> None:
        """See where Sentinel says the primary is, and leave the one before, until cancelled.

        What hangs at the one before, be it only connecting, is given up and tried at the new one.
        """
        pool = self.client.connection_pool
        if not isinstance(pool, _Pool):
            return
        before = None
        while True:
            with contextlib.suppress(failed.RedisError, OSError, TimeoutError):
                await pool.get_master_address()  # type: ignore[no-untyped-call]
            # Any new connection asks Sentinel as well, so the pool may have known it before this look.
            if before is not None and pool.master_address != before:
                self.moved += 1
                self._leave()
                while self._attempts:
                    self._attempts.pop().reschedule(0)
            before = pool.master_address
            await asyncio.sleep(_HASTE if self._failing else LOOK)

    async def attempt(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Run it once. It ends with a ConnectionError when the primary moves meanwhile."""
        patience = asyncio.timeout(None)
        try:
            async with patience:
                self._attempts.add(patience)
                return await operation()
        except TimeoutError as error:
            raise failed.ConnectionError(str(error) or "the primary has moved") from None
        finally:
            self._attempts.discard(patience)

    def _leave(self) -> None:
        """Have whoever takes an idle connection ask Sentinel: a primary that was cut off goes on to answer."""
        if isinstance(pool := self.client.connection_pool, _Pool):
            pool.leave()

    async def close(self) -> None:
        for client in (self.client, *(self._sentinels.sentinels if self._sentinels else ())):
            try:
                async with asyncio.timeout(1.0):
                    await client.aclose()
            except (failed.RedisError, OSError, TimeoutError):
                continue  # the connection is half dead; the process is about to end

    def _connect(self, settings: Settings) -> Client:
        scheme, _, rest = settings.redis_url.partition("://")
        # No retry inside the pool: it would keep trying the old address after a failover.
        common: dict[str, Any] = {
            "socket_timeout": 1.0,
            "socket_connect_timeout": 0.5,
            "health_check_interval": 5,
            "decode_responses": True,
            "encoding_errors": "replace",  # what is no text, whoever reads it refuses; here it would be no RedisError
            "retry": Retry(NoBackoff(), 0),
        }
        if settings.redis_password:
            common["password"] = settings.redis_password
        if scheme == "unix":
            return Client.from_url(settings.redis_url, **common)
        if scheme not in _SCHEMES:
            raise ConfigError(
                f"REDIS_URL starts with {scheme!r}",
                hint="use redis://user@host:6379/0 or redis+sentinel://user@h1:26379,h2:26379,h3:26379/primary-name; "
                "rediss for TLS",
            )
        tls: dict[str, Any] = {}
        if _SCHEMES[scheme]:
            tls = {"ssl_ca_certs": settings.redis_ca or None, "ssl_check_hostname": True}
        if not scheme.endswith("+sentinel"):
            return Client.from_url(settings.redis_url, **common, **tls)
        tls |= {"ssl": True} if tls else {}
        user, hosts, name = _split(rest)
        to_sentinel = {
            "password": settings.redis_sentinel_password or None,
            "decode_responses": True,
            "socket_timeout": _SENTINEL_LIMIT,
            "socket_connect_timeout": _SENTINEL_LIMIT,
            **tls,
        }
        self._sentinels = _Sentinels(hosts, sentinel_kwargs=to_sentinel)
        client: Client = self._sentinels.master_for(name, connection_pool_class=_Pool, username=user, **common, **tls)
        return client


class _NotYet(Exception):
    """The write is not on every replica."""


class _Pool(SentinelConnectionPool):
    """Who takes a connection that is trusted no more opens it anew.

    Closed by somebody else, as `disconnect` does it, redis-py would break in the middle of what it does with it.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)  # type: ignore[no-untyped-call]
        self._distrust = 0
        self._opened: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    def leave(self) -> None:
        """Trust none of the connections there are any more."""
        self._distrust += 1

    async def ensure_connection(self, connection: Any) -> None:
        if self._opened.get(connection) != self._distrust:
            self._opened[connection] = self._distrust
            await connection.disconnect(nowait=True)
        await super().ensure_connection(connection)


class _Sentinels(Sentinel):
    """Believes the Sentinel that saw the newest failover, of most of them: one that is cut off knows only the past."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)  # type: ignore[no-untyped-call]
        self._looking: asyncio.Task[tuple[str, int]] | None = None
        self._late: set[asyncio.Task[Any]] = set()

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        # Each new connection asks, and many are made at once at a start and after a failover: together they ask once.
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(service_name))
            self._looking.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._looking)

    async def _look(self, name: str) -> tuple[str, int]:
        asking = {asyncio.create_task(self._ask(sentinel, name)) for sentinel in self.sentinels}
        majority = len(asking) // 2 + 1
        found: list[tuple[int, str, int]] = []
        while asking and len(found) < majority:  # the last ones end by themselves: broken off, TLS would complain
            done, asking = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            found += [answer for task in done if (answer := task.result()) is not None]
        for task in asking:
            self._late.add(task)
            task.add_done_callback(self._late.discard)
        if not found:
            raise failed.ConnectionError(f"no Sentinel knows the primary {name}")
        _, host, port = max(found)
        return host, port

    async def _ask(self, sentinel: Client, name: str) -> tuple[int, str, int] | None:
        try:
            async with asyncio.timeout(_SENTINEL_LIMIT):
                epoch = cast("dict[str, Any]", await sentinel.sentinel_master(name))["config-epoch"]
                # While a failover is under way, only this one tells of the new primary.
                host, port = cast("tuple[str, int]", await sentinel.sentinel_get_master_addr_by_name(name))
        except (failed.RedisError, OSError, TimeoutError, TypeError):
            return None
        return epoch, host, port


def _split(rest: str) -> tuple[str | None, list[tuple[str, int]], str]:
    """`user@h1:p1,h2:p2/name` → (user, [(host, port)…], name)."""
    authority, _, path = rest.partition("/")
    user, at, hosts = authority.rpartition("@")
    name = path.split("?")[0]
    pairs = []
    for host in hosts.split(","):
        parts = urlsplit(f"//{host}")
        if not parts.hostname:
            raise ConfigError(
                "REDIS_URL names no Sentinel", hint="redis+sentinel://user@h1:26379,h2:26379/primary-name"
            )
        pairs.append((parts.hostname, parts.port or 26379))
    if not name:
        raise ConfigError("REDIS_URL names no primary", hint="end it with /<primary name as Sentinel knows it>")
    return (unquote(user.partition(":")[0]) if at else None), pairs, name
