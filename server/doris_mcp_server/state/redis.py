"""The store of a fleet, in Redis.

Each text is a key of its own, `doris-mcp:<family>/<id>`, with its ids in the sorted set `doris-mcp:<family>` by the end
of their term; a set that grows is the sorted set `doris-mcp:<name>` with its count of changes beside it. What belongs
together is changed by one script, which no failover can cut in two.
"""

import asyncio
import math
import secrets
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, cast

from doris_mcp_server.config import Settings
from doris_mcp_server.state import MOST, Grown, counted
from doris_mcp_server.state.bus import Bus
from doris_mcp_server.state.channel import Channel
from doris_mcp_server.state.primary import Client, Primary

PREFIX: Final = "doris-mcp:"
_DURABLE: Final = PREFIX + "durable"  # written with each durable write, so that there is one to wait for

_NOW: Final = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000) "
# KEYS: text, index. ARGV: id, text, ttl in ms or 0, condition (any, unless, instead) and what is compared ("": none).
_PUT: Final = (
    _NOW
    + """
local found = redis.call('GET', KEYS[1])
if ARGV[4] == 'unless' and found == ARGV[5] then return 0 end
if ARGV[4] == 'instead' and (found or '') ~= ARGV[5] then return found == ARGV[2] and 1 or 0 end
local ttl = tonumber(ARGV[3])
if ttl > 0 then redis.call('SET', KEYS[1], ARGV[2], 'PX', ttl) else redis.call('SET', KEYS[1], ARGV[2]) end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
redis.call('ZADD', KEYS[2], ttl > 0 and now + ttl or '+inf', ARGV[1])
return 1
"""
)
# KEYS: text, index. ARGV: id.
_TAKE: Final = """
local found = redis.call('GET', KEYS[1])
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return found
"""
# KEYS: index. ARGV: most.
_IDS: Final = _NOW + "return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf', 'LIMIT', 0, ARGV[1])"
# KEYS: set, mark. ARGV: a new mark, then until in s, id, until, id... Marks are random: counted ones would come again
# with other members, after a failover that lost some.
_GROW: Final = (
    _NOW
    + """
if redis.call('ZADD', KEYS[1], 'GT', 'CH', unpack(ARGV, 2)) > 0 then redis.call('SET', KEYS[2], ARGV[1]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now / 1000)
"""
)
# KEYS: set, mark, a key to write. ARGV: the mark that is known. A primary that was cut off from its replicas reads as
# always and refuses to write (min-replicas-to-write), so whoever has to know the present writes.
_GROWN: Final = (
    _NOW
    + """
redis.call('SET', KEYS[3], now)
local mark = redis.call('GET', KEYS[2]) or ''
if mark == ARGV[1] then return false end
return {mark, redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now / 1000, '+inf', 'WITHSCORES')}
"""
)
# KEYS: bucket. ARGV: wanted, rate a second, burst. Seconds go back as text: Redis cuts off what is behind the point.
_SPEND: Final = (
    _NOW
    + """
local wanted, rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local bucket = redis.call('HMGET', KEYS[1], 'level', 'at')
local since = math.max(now - (tonumber(bucket[2]) or now), 0) / 1000
local level = math.min(burst, (tonumber(bucket[1]) or burst) + since * rate)
local given = math.min(wanted, math.floor(level))
redis.call('HSET', KEYS[1], 'level', level - given, 'at', now)
redis.call('PEXPIRE', KEYS[1], math.ceil(burst / rate * 1000) + 1000)
return {given, tostring(given > 0 and 0 or (1 - level) / rate)}
"""
)
# KEYS: row. ARGV: holder, wanted, most, milliseconds.
_HOLD: Final = (
    _NOW
    + """
local others, held = 0, redis.call('HGETALL', KEYS[1])
for n = 1, #held, 2 do
  local seats, till = string.match(held[n + 1], '^(%d+) (%d+)$')
  if held[n] ~= ARGV[1] and seats then
    if tonumber(till) > now then others = others + tonumber(seats) else redis.call('HDEL', KEYS[1], held[n]) end
  end
end
local has = math.max(math.min(tonumber(ARGV[2]), tonumber(ARGV[3]) - others), 0)
if has > 0 then
  redis.call('HSET', KEYS[1], ARGV[1], has .. ' ' .. string.format('%.0f', now + tonumber(ARGV[4])))
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
else
  redis.call('HDEL', KEYS[1], ARGV[1])
end
return {has, math.max(tonumber(ARGV[3]) - others - has, 0)}
"""
)


class RedisStore:
    since = 0.0

    def __init__(self, settings: Settings, bus: Bus | None = None) -> None:
        self.operations: Counter[tuple[str, str]] = Counter()
        self._primary = Primary(settings)
        self._channel = Channel(self._primary, PREFIX + "events", bus or Bus())
        scripts = {
            "put": _PUT,
            "take": _TAKE,
            "ids": _IDS,
            "grow": _GROW,
            "grown": _GROWN,
            "spend": _SPEND,
            "hold": _HOLD,
        }
        self._scripts = {name: self._primary.client.register_script(text) for name, text in scripts.items()}

    @counted
    async def get(self, name: str) -> str | None:
        return cast("str | None", await self._primary.call(lambda: self._primary.client.get(PREFIX + name)))

    @counted
    async def find(self, family: str) -> dict[str, str]:
        async def read() -> dict[str, str]:
            ids = await self._scripts["ids"](keys=[PREFIX + family], args=[MOST])
            texts = await self._primary.client.mget([f"{PREFIX}{family}/{id}" for id in ids]) if ids else []
            return {str(id): str(text) for id, text in zip(ids, texts, strict=True) if text is not None}

        return dict(sorted((await self._primary.call(read)).items()))

    @counted
    async def put(
        self, name: str, text: str, ttl: float | None = None, *, unless: str | None = None, durable: bool = False
    ) -> bool:
        condition = ("any", "") if unless is None else ("unless", unless)
        return bool(await self._write("put", name, [text, _milliseconds(ttl), *condition], durable))

    @counted
    async def swap(
        self, name: str, text: str, instead_of: str | None, ttl: float | None = None, *, durable: bool = False
    ) -> bool:
        return bool(await self._write("put", name, [text, _milliseconds(ttl), "instead", instead_of or ""], durable))

    @counted
    async def take(self, name: str, *, durable: bool = False) -> str | None:
        return cast("str | None", await self._write("take", name, [], durable))

    @counted
    async def grow(self, name: str, until: Mapping[str, float], *, durable: bool = False) -> None:
        keys = [PREFIX + name, f"{PREFIX}{name}/mark"]
        members = [part for id, end in until.items() for part in (end, id)]
        await self._run("grow", keys, [secrets.token_hex(8), *members], durable)

    @counted
    async def grown(self, name: str, mark: str | None) -> Grown | None:
        keys = [PREFIX + name, f"{PREFIX}{name}/mark", f"{PREFIX}{name}/asked"]
        found = await self._run("grown", keys, ["none" if mark is None else mark], False)
        if found is None:
            return None
        current, members = found
        return Grown(current, dict(zip(members[::2], map(float, members[1::2]), strict=True)))

    @counted
    async def spend(self, name: str, wanted: int, *, rate: float, burst: int) -> tuple[int, float]:
        given, wait = await self._run("spend", [PREFIX + name], [wanted, rate, burst], False)
        return given, float(wait)

    @counted
    async def hold(self, name: str, holder: str, wanted: int, *, most: int, ttl: float) -> tuple[int, int]:
        has, left = await self._run("hold", [PREFIX + name], [holder, wanted, most, _milliseconds(ttl)], False)
        return has, left

    @counted
    async def ping(self) -> None:
        await self._primary.call(self._primary.client.ping)

    async def watch(self) -> None:
        await asyncio.gather(self._primary.follow(), self._channel.listen())

    async def close(self) -> None:
        await self._channel.close()
        await self._primary.close()

    async def _write(self, script: str, name: str, args: list[Any], durable: bool) -> Any:
        family, _, id = name.partition("/")
        return await self._run(script, [PREFIX + name, PREFIX + family], [id, *args], durable)

    async def _run(self, script: str, keys: list[str], args: list[Any], durable: bool) -> Any:
        run = self._scripts[script]
        if not durable:
            return await self._primary.call(lambda: run(keys=keys, args=args))
        answer: Any = None

        async def write(connection: Client) -> Any:
            nonlocal answer
            # A `take` that is repeated finds nothing any more: what counts is what the first one got.
            answer = await run(keys=keys, args=args, client=connection) or answer
            await connection.incr(_DURABLE)
            return answer

        return await self._primary.durably(write)


def _milliseconds(ttl: float | None) -> int:
    return 0 if ttl is None else max(math.ceil(ttl * 1000), 1)
