"""Which app hosts serve, as each says about itself past the balancer, asked a few times a second."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Self

import aiohttp

PAUSE = 0.25  # seconds between two questions to a host
PATIENCE = 5.0  # seconds for an answer: a question to a host that restarts waits for it


class Tally:
    """How many of `hosts` served at least, and how long one was out, since `begin`. Times are seconds on one clock."""

    def __init__(self, hosts: Iterable[str]) -> None:
        self._hosts = set(hosts)
        self._longest = 0.0
        self._since: dict[str, float] = {}
        self.fewest = len(self._hosts)

    @property
    def out(self) -> set[str]:
        """Hosts that do not serve."""
        return set(self._since)

    def begin(self, now: float) -> None:
        """Count anew; who is out is out since now."""
        self._longest = 0.0
        self._since = dict.fromkeys(self._since, now)
        self.fewest = len(self._hosts) - len(self._since)

    def see(self, host: str, serves: bool, now: float) -> None:
        if not serves:
            self._since.setdefault(host, now)
        elif host in self._since:
            self._longest = max(self._longest, now - self._since.pop(host))
        self.fewest = min(self.fewest, len(self._hosts) - len(self._since))

    def longest(self, now: float) -> float:
        """The longest that a host was out, one that still is included."""
        return max(self._longest, *(now - since for since in self._since.values()), 0.0)


class Serving:
    """Asks each host for its readiness until left. `hosts`: {name: URL of its /readyz}."""

    def __init__(self, hosts: Mapping[str, str]) -> None:
        self._hosts = hosts
        self.tally = Tally(hosts)

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE))
        await self.look()
        self._tasks = [asyncio.create_task(self._watch(host)) for host in self._hosts]
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.close()

    async def look(self) -> set[str]:
        """Ask every host now; those that do not serve."""
        await asyncio.gather(*map(self._ask, self._hosts))
        return self.tally.out

    async def all_back(self, limit: float) -> bool:
        """Wait until every host serves; False when that takes more than `limit` seconds."""
        deadline = time.monotonic() + limit
        while self.tally.out:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(PAUSE)
        return True

    async def _watch(self, host: str) -> None:
        while True:
            await self._ask(host)
            await asyncio.sleep(PAUSE)

    async def _ask(self, host: str) -> None:
        try:
            async with self._http.get(self._hosts[host]) as response:
                serves = response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            serves = False
        self.tally.see(host, serves, time.monotonic())
