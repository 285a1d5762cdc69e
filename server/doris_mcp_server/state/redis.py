"""The store of a fleet: Redis, found directly or through Sentinel, which is asked again after each failure.

Keys: `doris-mcp:token:v1:<keyed hash>` holds a token as JSON; the hash `doris-mcp:token-ids:v1` maps ids to
keyed hashes; `doris-mcp:session:v1:<id>` holds `live` or `ended` and expires. `v1` is the version of the format: a
later release that changes it reads both. `doris-mcp:keys` holds the key ring, which says its format itself, and the
channel of that name tells of a new one.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast
from urllib.parse import unquote, urlsplit

import redis.asyncio as aioredis
from redis import exceptions as failed
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from doris_mcp_server.config import Settings
from doris_mcp_server.errors import ConfigError, StoreUnavailable
from doris_mcp_server.state import SessionState, TokenRecord
from doris_mcp_server.state.bus import SESSION_ENDED, Bus
from doris_mcp_server.state.channel import Channel

PREFIX = "doris-mcp:"
_TOKEN = PREFIX + "token:v1:"
_IDS = PREFIX + "token-ids:v1"
_SESSION = PREFIX + "session:v1:"
_KEYS = PREFIX + "keys"
_BUDGET = 3.0  # seconds one operation may take, over all attempts; a failover takes 2–3
_PASSING = ("NOREPLICAS", "LOADING", "MASTERDOWN", "UNKILLABLE")

T = TypeVar("T")


class RedisStore:
    """Tokens, sessions and keys in Redis. One client object a process: `master_for` would make a pool at each call."""

    def __init__(self, settings: Settings, bus: Bus | None = None) -> None:
        self._bus = bus or Bus()
        self._sentinel: Sentinel | None = None
        self._client = self._connect(settings)
        self._keys_channel = Channel(self._client, _KEYS)

    def _connect(self, settings: Settings) -> "aioredis.Redis":
        # No retry inside the pool: it would keep trying the old address after a failover.
        common: dict[str, Any] = {
            "password": settings.redis_password or None,
            "socket_timeout": 1.0,
            "socket_connect_timeout": 0.5,
            "health_check_interval": 5,
            "decode_responses": True,
            "retry": Retry(NoBackoff(), 0),
        }
        scheme, _, rest = settings.redis_url.partition("://")
        if scheme == "redis+sentinel":
            user, hosts, name = _split_sentinel(rest)
            self._sentinel = Sentinel(  # type: ignore[no-untyped-call]
                hosts,
                sentinel_kwargs={
                    "password": settings.redis_sentinel_password or None,
                    "socket_timeout": 0.5,
                    "socket_connect_timeout": 0.5,
                },
                username=user,
                **common,
            )
            client: aioredis.Redis = self._sentinel.master_for(name)
            return client
        if scheme in ("redis", "rediss", "unix"):
            if not common["password"]:
                common.pop("password")
            return aioredis.Redis.from_url(settings.redis_url, **common)
        raise ConfigError(
            f"REDIS_URL starts with {scheme!r}",
            hint="use redis://user@host:6379/0 or redis+sentinel://user@h1:26379,h2:26379,h3:26379/primary-name",
        )

    async def _call(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Run `operation` until it works, asking Sentinel anew for the primary, or the budget is spent."""
        pause = 0.02
        problem: Exception | None = None
        try:
            async with asyncio.timeout(_BUDGET):
                while True:
                    try:
                        return await operation()
                    except (failed.AuthenticationError, failed.NoPermissionError) as error:
                        raise StoreUnavailable(
                            f"Redis refuses this server's account: {error}",
                            hint="compare REDIS_PASSWORD with the store's ACL user",
                        ) from error
                    except (failed.ConnectionError, failed.TimeoutError, failed.ReadOnlyError) as error:
                        problem = error
                    except failed.ResponseError as error:
                        if not str(error).startswith(_PASSING):
                            raise StoreUnavailable(f"Redis answered: {error}") from error
                        problem = error
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 0.3)
        except TimeoutError:
            raise StoreUnavailable(
                f"Redis does not answer: {problem or 'no reply in time'}",
                hint="check redis-server and redis-sentinel on the store's hosts",
            ) from problem

    async def get_token(self, digest: str) -> TokenRecord | None:
        raw = await self._call(lambda: self._client.get(_TOKEN + digest))
        if raw is None:
            return None
        record = _decode(raw)
        return None if record.expired() else record

    async def put_token(self, digest: str, record: TokenRecord) -> None:
        async def write() -> None:
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.set(
                    _TOKEN + digest,
                    json.dumps(record.as_dict()),
                    exat=None if record.expires is None else int(record.expires) + 1,
                )
                pipe.hset(_IDS, record.id, digest)
                await pipe.execute()

        await self._call(write)

    async def list_tokens(self) -> list[TokenRecord]:
        async def read() -> list[TokenRecord]:
            digests = cast("list[str]", await self._client.hvals(_IDS))
            found = await self._client.mget([f"{_TOKEN}{digest}" for digest in digests]) if digests else []
            return [_decode(raw) for raw in found if raw is not None]

        return sorted(await self._call(read), key=lambda r: r.created)

    async def revoke_token(self, token_id: str) -> bool:
        async def remove() -> bool:
            digest = cast("str | None", await self._client.hget(_IDS, token_id))
            if digest is None:
                return False
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.delete(f"{_TOKEN}{digest}")
                pipe.hdel(_IDS, token_id)
                gone, _ = await pipe.execute()
            return bool(gone)

        return await self._call(remove)

    async def session(self, id: str) -> SessionState | None:
        raw = await self._call(lambda: self._client.get(_SESSION + id))
        if raw is None:
            return None
        return "ended" if raw == "ended" else "live"

    async def touch_session(self, id: str, ttl: float) -> None:
        key, milliseconds = _SESSION + id, _milliseconds(ttl)

        async def write() -> None:
            async with self._client.pipeline(transaction=False) as pipe:
                # Written only where nothing is, then prolonged: neither can turn an end back into a life.
                pipe.set(key, "live", px=milliseconds, nx=True)
                pipe.pexpire(key, milliseconds, gt=True)
                await pipe.execute()

        await self._call(write)

    async def end_session(self, id: str, ttl: float) -> None:
        self._bus.publish(SESSION_ENDED, {"id": id, "ttl": ttl})  # the host's other workers need not wait for Redis
        await self._call(lambda: self._client.set(_SESSION + id, "ended", px=_milliseconds(ttl)))

    def watch_sessions(self, ended: Callable[[str], None]) -> None:
        self._bus.subscribe(SESSION_ENDED, lambda data: ended(data["id"]))

    async def read_keys(self) -> str | None:
        return cast("str | None", await self._call(lambda: self._client.get(_KEYS)))

    async def write_keys(self, text: str, instead_of: str | None) -> bool:
        async def write() -> bool:
            async with self._client.pipeline(transaction=True) as pipe:
                await pipe.watch(_KEYS)
                found = await pipe.get(_KEYS)
                if found != instead_of:
                    return bool(found == text)  # ours: it was written, but the answer was lost
                pipe.multi()  # type: ignore[no-untyped-call]
                pipe.set(_KEYS, text)
                pipe.publish(_KEYS, "written")
                try:
                    await pipe.execute()
                except failed.WatchError:
                    return False
                return True

        return await self._call(write)

    async def keys_written(self, within: float) -> None:
        await self._keys_channel.wait(within)

    async def ping(self) -> None:
        await self._call(self._client.ping)

    async def close(self) -> None:
        clients = [self._keys_channel, self._client, *(self._sentinel.sentinels if self._sentinel else ())]
        for client in clients:
            try:
                async with asyncio.timeout(1.0):
                    await client.aclose()
            except (failed.RedisError, OSError, TimeoutError):
                continue  # the connection is half dead; the process is about to end


def _milliseconds(seconds: float) -> int:
    return max(int(seconds * 1000), 1)  # Redis refuses an expiry of 0


def _split_sentinel(rest: str) -> tuple[str | None, list[tuple[str, int]], str]:
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


def _decode(raw: str | bytes) -> TokenRecord:
    """A stored token; members a newer release may have added are left alone."""
    try:
        data = json.loads(raw)
        return TokenRecord(
            id=data["id"],
            name=data["name"],
            principal=data["principal"],
            scopes=tuple(data["scopes"]),
            created=data["created"],
            expires=data["expires"],
            audience=data.get("audience"),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise StoreUnavailable(
            f"a stored token cannot be read: {error!r}",
            hint="revoke it with `doris-mcp-server token revoke` and issue anew",
        ) from error
