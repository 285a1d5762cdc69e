"""A look at a token through every worker of every host, past the balancer."""

import asyncio
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

from .fleet import Fleet
from .load.calls import tools

SERVER = "/opt/doris-mcp-server/.venv/bin/doris-mcp-server"
PATIENCE = 10.0  # seconds for one answer
MOST = 200  # connections to a host until each of its workers must have been met


@dataclass(frozen=True)
class Eye:
    """One connection, which one worker keeps."""

    host: str
    worker: int
    url: str
    http: aiohttp.ClientSession

    async def see(self, token: str) -> int:
        """What this worker says to the token: an HTTP status, 0 where there was no answer."""
        method, body, headers = tools("look")
        try:
            async with self.http.request(
                method, self.url, json=body, headers=headers | {"authorization": f"Bearer {token}"}
            ) as response:
                await response.read()
                return response.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0


class Eyes:
    """One connection to each worker of the fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.all: list[Eye] = []

    async def __aenter__(self) -> Self:
        await asyncio.gather(*map(self._open, self._fleet.names("app")))
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.gather(*(eye.http.close() for eye in self.all))

    async def see(self, token: str) -> list[int]:
        """What each worker says."""
        return list(await asyncio.gather(*(eye.see(token) for eye in self.all)))

    async def until(self, token: str, wanted: Iterable[int], limit: float) -> float:
        """Ask until every worker says one of `wanted`: the seconds until the last other answer was sent.

        Raises: TimeoutError with what they say.
        """
        good, began, last = set(wanted), time.monotonic(), 0.0
        while True:
            asked = time.monotonic() - began
            seen = await self.see(token)
            if good.issuperset(seen):
                return last
            last = asked
            if asked > limit:
                raise TimeoutError(f"after {limit:g} s the workers say {seen}, not {sorted(good)}")

    async def _open(self, host: str) -> None:
        status = json.loads(await asyncio.to_thread(self._fleet.on, host, f"sudo {SERVER} ctl status --json"))
        missing = {int(worker["pid"]) for worker in status["workers"]}
        base = f"http://{self._fleet.address(host)}:3000"
        for _ in range(MOST):
            if not missing:
                return
            http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=1),
                timeout=aiohttp.ClientTimeout(total=PATIENCE),
                headers={"host": self._fleet.address("lb-1")},
            )
            async with http.get(f"{base}/health") as response:
                page: dict[str, Any] = await response.json()
            if page["worker"] in missing:
                missing.remove(page["worker"])
                self.all.append(Eye(host, page["worker"], f"{base}/mcp", http))
            else:
                await http.close()
        raise AssertionError(f"{MOST} connections to {host} did not reach the workers {missing}")
