"""Clients that never pause, in both eras, with short calls, long calls and streams; what each of them was answered.

They keep to HTTP: a 503 with Retry-After is sent again, and so is what is answered with a retryable error.
"""

import asyncio
import contextlib
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from .conftest import LIMIT
from .server.conftest import legacy, modern

ECHO = {"DORIS_MCP_TEST_FIXTURES": "echo"}


def messages(text: str) -> list[dict[str, Any]]:
    """The JSON-RPC messages of a body, which is one object or an event stream."""
    if text.lstrip().startswith("{"):
        return [json.loads(text)]
    return [json.loads(line[5:]) for line in text.splitlines() if line.startswith("data:") and line[5:].strip()]


def wait(era: Any, seconds: float, text: str = "done", **members: Any) -> dict[str, Any]:
    """A call that takes so long. With a member `task` it is not ordinary, and the SDK's to serve."""
    return era("tools/call", {"name": "test_wait", "arguments": {"text": text, "seconds": seconds}, **members})


@contextlib.asynccontextmanager
async def stream(http: aiohttp.ClientSession, url: str, era: Any) -> AsyncIterator[aiohttp.ClientResponse]:
    """An open event stream in either era, its first frame read. Read on, it raises when it is cut off, not ended."""
    if era is modern:
        listen = modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        opening = http.post(f"{url}/mcp", **listen)
    else:
        client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        async with http.post(f"{url}/mcp", **legacy("initialize", client)) as response:
            if response.status != 200:
                raise Refused(response.status)
            session = response.headers["mcp-session-id"]
        headers = {"mcp-session-id": session, "mcp-protocol-version": "2025-11-25", "accept": "text/event-stream"}
        opening = http.get(f"{url}/mcp", headers=headers)
    async with opening as response:
        if response.status != 200:
            raise Refused(response.status)
        await response.content.readuntil(b"\r\n\r\n")
        yield response


class Refused(Exception):
    """A stream was not opened; the status is in `args`."""


@dataclass
class Echoes:
    """How the calls and streams went: `right`, `again` (by reason) and everything else, which must not be."""

    right: int = 0
    long_right: int = 0
    ended: int = 0  # streams that ended in order
    sent: Counter[float] = field(default_factory=Counter)  # calls, by their seconds
    again: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    over: bool = False

    async def until(self, reached: Callable[["Echoes"], bool]) -> None:
        async with asyncio.timeout(LIMIT):
            while not reached(self):
                await asyncio.sleep(0.01)

    def judge(self, status: int, headers: Any, body: str, text: str, seconds: float) -> None:
        if status == 503 and "retry-after" in headers:
            self.again["503"] += 1
            return
        if status != 200:
            self.wrong[f"HTTP {status}: {body[:200]}"] += 1
            return
        result = messages(body)[-1].get("result", {})
        if result.get("structuredContent") == {"text": text}:
            self.right += not seconds
            self.long_right += bool(seconds)
            return
        with contextlib.suppress(ValueError, LookupError):
            error = json.loads(result["content"][0]["text"])["error"]
            if error["retryable"]:
                self.again[error["kind"]] += 1
                return
        self.wrong[f"answer: {body[:200]}"] += 1


_numbers = itertools.count(1)


async def _call(echoes: Echoes, url: str, era: Any, seconds: float) -> None:
    """One after the other, on one connection that is kept alive."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIMIT)) as http:
        while not echoes.over:
            text = f"text {next(_numbers)}"
            request = (
                wait(era, seconds, text)
                if seconds
                else era("tools/call", {"name": "echo", "arguments": {"text": text}})
            )
            echoes.sent[seconds] += 1
            try:
                async with http.post(f"{url}/mcp", **request) as response:
                    echoes.judge(response.status, response.headers, await response.text(), text, seconds)
                await asyncio.sleep(float(response.headers.get("retry-after", 0)))
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                echoes.wrong[f"{type(error).__name__}: {error}"] += 1


async def _listen(echoes: Echoes, url: str, era: Any) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as http:
        while not echoes.over:
            try:
                async with stream(http, url, era) as opened:
                    await opened.content.read()
                    echoes.ended += 1
            except Refused as refused:
                key = f"stream {refused.args[0]}"
                (echoes.again if refused.args[0] == 503 else echoes.wrong)[key] += 1
                await asyncio.sleep(1)
            except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
                echoes.wrong[f"stream: {type(error).__name__}: {error}"] += 1


@contextlib.asynccontextmanager
async def echoing(
    url: str, *, clients: int = 2, seconds: tuple[float, ...] = (), streams: int = 0
) -> AsyncIterator[Echoes]:
    """Keep asking until left, in each era: `clients` short calls, one long call for each of `seconds`, `streams`.

    Leaving waits for the answers that are under way, but not for streams.
    """
    echoes = Echoes()
    calls, listeners = [], []
    for era in (modern, legacy):
        calls += [asyncio.create_task(_call(echoes, url, era, length)) for length in (*[0.0] * clients, *seconds)]
        listeners += [asyncio.create_task(_listen(echoes, url, era)) for _ in range(streams)]
    try:
        yield echoes
    finally:
        echoes.over = True
        await asyncio.gather(*calls)
        for listener in listeners:
            listener.cancel()
        await asyncio.gather(*listeners, return_exceptions=True)
