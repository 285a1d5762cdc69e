"""The fleet's store, as a host's command line has it, and what can befall it."""

import asyncio
import contextlib
import json
import re
import shlex
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from doris_mcp_server.auth.opaque import Tokens
from doris_mcp_server.config import Settings, load
from doris_mcp_server.errors import StoreUnavailable
from doris_mcp_server.shared import Shared, opened

from .fleet import Fleet, eventually

CLI = "sudo /usr/local/sbin/doris-mcp-redis-cli"
SCOPES = ("catalog:read", "query:execute")
PRIMARY_NAME = "doris-mcp"


def settings(fleet: Fleet, below: Path) -> Settings:
    """Those of the first app host, with what lies in its files."""
    host = fleet.names("app")[0]
    environ = dict(re.findall(r"^(\w+)=(.*)$", fleet.on(host, "sudo cat /etc/doris-mcp/doris-mcp.env"), re.MULTILINE))
    for name in fleet.on(host, "sudo ls /etc/doris-mcp/credentials").split():
        environ[name.upper()] = fleet.on(host, f"sudo cat /etc/doris-mcp/credentials/{name}").strip()
    if ca := environ.get("DORIS_MCP_REDIS_CA"):
        copy = below / "redis-ca.pem"
        copy.write_text(fleet.on(host, f"sudo cat {shlex.quote(ca)}"))
        environ["DORIS_MCP_REDIS_CA"] = str(copy)
    return load(environ=environ, serving=False)


@asynccontextmanager
async def store(fleet: Fleet) -> AsyncIterator[tuple[Shared, Tokens]]:
    with tempfile.TemporaryDirectory() as below:
        found = await asyncio.to_thread(settings, fleet, Path(below))
        async with opened(found, "tokens") as shared:
            watching = asyncio.create_task(shared.store.watch())
            try:
                yield shared, Tokens(shared.store, shared.bus, found.token_key)
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)


@dataclass
class Revoker:
    """Issues tokens and revokes them, one after the other, for as long as it is entered."""

    tokens: Tokens
    acknowledged: list[str] = field(default_factory=list)
    """Tokens whose revocation was acknowledged."""
    writes: list[float] = field(default_factory=list)
    """When a write was acknowledged, a token's issue or its end: seconds of the monotonic clock."""
    failures: int = 0
    problem: str = ""

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        self._task = asyncio.create_task(self._work())
        try:
            yield
        finally:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def more(self, count: int, limit: float) -> None:
        """Wait for so many more revocations."""
        goal = len(self.acknowledged) + count
        deadline = time.monotonic() + limit
        while len(self.acknowledged) < goal:
            assert not self._task.done(), self._task
            assert time.monotonic() < deadline, (
                f"after {limit:g} s: {self.failures} failures, the last one: {self.problem}"
            )
            await asyncio.sleep(0.02)

    @property
    def longest_gap(self) -> float:
        """Seconds for which no write was acknowledged."""
        return max((b - a for a, b in pairwise(self.writes)), default=0.0)

    async def _work(self) -> None:
        while True:
            try:
                token, record = await self.tokens.issue("revoked", SCOPES, 3600)
                self.writes.append(time.monotonic())
                await self.tokens.revoke([record.id])
            except StoreUnavailable as error:
                self.failures += 1
                self.problem = error.message
                continue
            self.writes.append(time.monotonic())
            self.acknowledged.append(token)
            await asyncio.sleep(0.02)


@dataclass
class Redis:
    """The three Redis hosts of a lab, and what is done to them."""

    fleet: Fleet

    def primary(self) -> str:
        """The host of the primary, as most Sentinels say."""
        said = []
        for host in self.fleet.names("redis"):
            with contextlib.suppress(AssertionError):
                answer = json.loads(self.fleet.on(host, f"{CLI} sentinel --json sentinel master {PRIMARY_NAME}"))
                said.append((int(answer["config-epoch"]), str(answer["ip"])))
        address = max(said)[1]
        return next(host for host in self.fleet.names("redis") if self.fleet.address(host) == address)

    async def whole(self) -> None:
        """Return when the primary has both replicas and every Sentinel sees them."""

        async def check() -> None:
            for host in self.fleet.names("redis"):
                said = await asyncio.to_thread(
                    self.fleet.on, host, f"{CLI} sentinel --json sentinel master {PRIMARY_NAME}"
                )
                seen = json.loads(said)
                assert (seen["flags"], int(seen["num-slaves"])) == ("master", 2), seen
                assert int(seen["num-other-sentinels"]) == 2, seen
            primary = await asyncio.to_thread(self.primary)
            info = await asyncio.to_thread(self.fleet.on, primary, f"{CLI} redis info replication")
            assert info.count("state=online") == 2, info

        await eventually(check)

    def signal(self, host: str, name: str) -> None:
        self.fleet.on(host, f"sudo systemctl kill --signal={name} redis-server")

    def cut(self, here: set[str], there: set[str], *, heal: bool = False) -> None:
        """Let no packet pass between two sets of hosts; or let them again."""
        verb = "del" if heal else "add"

        def change(host: str, others: set[str]) -> None:
            routes = "; ".join(f"ip route {verb} blackhole {self.fleet.address(other)}/32" for other in others)
            self.fleet.inside(host, routes)

        with ThreadPoolExecutor() as pool:  # all at once, as a switch that fails does it
            list(pool.map(change, [*here, *there], [there] * len(here) + [here] * len(there)))


Fault = Callable[[Redis], Callable[[], None]]
"""Does something to the store; what it gives puts that right."""


def killed(redis: Redis) -> Callable[[], None]:
    host = redis.primary()
    redis.signal(host, "KILL")

    def check() -> None:
        assert redis.primary() != host, "it came back as the primary, with what it had written to its file"

    return check


def stopped(redis: Redis) -> Callable[[], None]:
    host = redis.primary()
    redis.signal(host, "STOP")
    return lambda: redis.signal(host, "CONT")


def cut_off(redis: Redis) -> Callable[[], None]:
    """The primary and one app host on one side, everybody else on the other."""
    primary = redis.primary()
    here = {primary, redis.fleet.names("app")[0]}
    there = {*redis.fleet.names("redis"), *redis.fleet.names("app")} - here
    redis.cut(here, there)
    return lambda: redis.cut(here, there, heal=True)


def moved(redis: Redis) -> Callable[[], None]:
    redis.fleet.play("ansible/playbooks/switchover.yml")
    return lambda: None


FAULTS: dict[str, Fault] = {"killed": killed, "stopped": stopped, "cut off": cut_off, "moved by plan": moved}
