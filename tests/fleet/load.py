#!/usr/bin/env python3
"""Clients that never pause, and check that every answer is theirs.

Each connection is one keep-alive connection that sends one query after the other, in both protocol eras in turn. With
`sessions`, a client initializes once, and its handshake-era requests go on in that session whatever happens.
A query carries a nonce (`SELECT '<nonce>' AS nonce`), so an answer that belongs to another request is seen, whoever
mixed it up. Nothing is sent twice: what a balancer does not save counts as failed.

    python tests/fleet/load.py --url http://10.93.7.11/mcp --token-file .lab/token --connections 16 --seconds 30
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
META = "io.modelcontextprotocol/"


@dataclass
class Report:
    """What the clients saw. Times in milliseconds, of the fast queries only; `reasons` has one sample each."""

    ok: int = 0
    slow_ok: int = 0
    failed: int = 0
    foreign: int = 0
    duplicated: int = 0
    opened: int = 0  # connections opened; more than there are clients means that some were closed on them
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    longest_gap_s: float = 0.0  # between two right answers, whoever had them
    hosts: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether every request got its own answer, once."""
        return self.ok > 0 and not (self.failed or self.foreign or self.duplicated)

    def __str__(self) -> str:
        hosts = ", ".join(f"{name} {count}" for name, count in sorted(self.hosts.items()))
        reasons = "".join(
            f"\n  {seen['count']} x {reason}, first after {seen['after_s']} s: {seen['sample']}"
            for reason, seen in self.reasons.items()
        )
        return (
            f"{self.ok} ok + {self.slow_ok} slow, {self.failed} failed, {self.foreign} foreign, "
            f"{self.duplicated} duplicated; p50 {self.p50_ms} p99 {self.p99_ms} max {self.max_ms} ms; "
            f"{self.opened} connections; {hosts}{reasons}"
        )


class Load:
    """`connections` clients with short queries and `slow` more whose queries take `slow_seconds`, until left.

    Leaving waits for the answers that are under way: each request counts. `pause` (seconds) between two requests of
    a client leaves a small machine room for the work under test.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        connections: int = 16,
        *,
        slow: int = 0,
        slow_seconds: int = 3,
        pause: float = 0.0,
        timeout: float = 60.0,
        sessions: bool = False,
    ) -> None:
        self._url = url
        self._connections = connections
        self._slow = slow
        self._slow_seconds = slow_seconds
        self._pause = pause
        self._timeout = timeout
        self._token = token
        self._with_sessions = sessions
        self._ids = itertools.count(1)
        self._run = secrets.token_hex(4)
        self._sent: dict[str, int] = {}  # nonce → how often it was answered
        self._took: list[float] = []
        self._gap = 0.0
        self._counts: Counter[str] = Counter()
        self._hosts: Counter[str] = Counter()
        self._reasons: dict[str, dict[str, Any]] = {}
        self._stop = asyncio.Event()
        self._clients: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._began = self._last_ok = time.monotonic()
        kinds = [False] * self._connections + [True] * self._slow
        self._clients = [asyncio.create_task(self._client(slow)) for slow in kinds]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._clients)

    async def until(self, condition: Callable[[Report], bool], timeout: float = 120.0) -> Report:
        """The report once it fulfils `condition`. Raises: TimeoutError with the report, AssertionError of a client."""
        deadline = time.monotonic() + timeout
        while not condition(report := self.report()):
            for client in self._clients:
                if client.done():
                    client.result()
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {timeout:g} s: {report}")
            await asyncio.sleep(0.05)
        return report

    async def answers(self, count: int, timeout: float = 120.0) -> Report:
        """The report after `count` more fast answers."""
        goal = self._counts["ok"] + count
        return await self.until(lambda report: report.ok >= goal, timeout)

    def report(self) -> Report:
        """What was seen so far."""
        took = sorted(self._took)

        def at(share: float) -> float:
            return round(took[min(int(len(took) * share), len(took) - 1)] * 1e3, 1) if took else 0.0

        return Report(
            **self._counts, p50_ms=at(0.5), p99_ms=at(0.99), max_ms=at(1.0), longest_gap_s=round(self._gap, 3),
            hosts=dict(self._hosts), reasons=json.loads(json.dumps(self._reasons)),
        )  # fmt: skip

    async def _client(self, slow: bool) -> None:
        async def opened(*_: object) -> None:
            self._counts["opened"] += 1

        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(opened)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1, keepalive_timeout=600),
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            headers={"authorization": f"Bearer {self._token}"} if self._token else {},
            trace_configs=[trace],
        ) as http:
            session = await self._begin(http) if self._with_sessions else None
            while not self._stop.is_set():
                await self._ask(http, slow, session)
                if self._pause:
                    await asyncio.sleep(self._pause)

    async def _begin(self, http: aiohttp.ClientSession) -> str:
        """The id of a new session, in which the rest of this client's life takes place."""
        hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "load", "version": "1"}}
        body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}
        headers = {"accept": "application/json, text/event-stream"}
        async with http.post(self._url, json=body, headers=headers) as response:
            text = await response.text()
            assert response.status == 200, text
            return response.headers["mcp-session-id"]

    async def _ask(self, http: aiohttp.ClientSession, slow: bool, session: str | None) -> None:
        number = next(self._ids)
        nonce = f"{self._run}-{number}"
        sql = (
            f"SELECT sleep({self._slow_seconds}) AS slept, '{nonce}' AS nonce" if slow else f"SELECT '{nonce}' AS nonce"
        )
        body, headers = request(number, sql, modern=number % 2 == 0)
        if session is not None and number % 2:
            headers["mcp-session-id"] = session
        self._sent[nonce] = 0
        began = time.monotonic()
        # aiohttp repeats a request by itself only if it is idempotent, which POST is not.
        try:
            async with http.post(self._url, json=body, headers=headers) as response:
                text = await response.text()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._failed(type(error).__name__, str(error))
            return
        took = time.monotonic() - began
        self._hosts[response.headers.get("x-served-by", "nobody said")] += 1
        if response.status != 200:
            self._failed(f"HTTP {response.status}", text)
            return
        self._judge(number, nonce, text, None if slow else took)

    def _judge(self, number: int, nonce: str, text: str, took: float | None) -> None:
        """Count an answer: ours, somebody else's, one too many, or an error. `took` is None for a slow one."""
        try:
            answers = [answer for answer in messages(text) if "id" in answer]
            results = [(answer["id"], nonce_in(answer)) for answer in answers]
        except (ValueError, KeyError, IndexError, TypeError) as error:
            self._failed(f"unreadable answer ({type(error).__name__})", text)
            return
        if not results:
            self._failed("no answer in the body", text)
            return
        if len(results) > 1:
            self._wrong("duplicated", "several answers to one request", text)
            return
        answered, found = results[0]
        if found is not None and found in self._sent:
            self._sent[found] += 1
            if self._sent[found] > 1:
                self._wrong("duplicated", "an answer given before", text)
                return
        if answered != number or found not in (nonce, None):
            self._wrong("foreign", f"answer {answered} to request {number}", text)
        elif found is None:
            self._failed(error_in(answers[0]), text)
        elif took is None:
            self._counts["slow_ok"] += 1
        else:
            self._counts["ok"] += 1
            self._took.append(took)
            now = time.monotonic()
            self._gap, self._last_ok = max(self._gap, now - self._last_ok), now

    def _failed(self, reason: str, sample: str) -> None:
        self._wrong("failed", reason, sample)

    def _wrong(self, kind: str, reason: str, sample: str) -> None:
        self._counts[kind] += 1
        after = round(time.monotonic() - self._began, 1)
        seen = self._reasons.setdefault(reason, {"count": 0, "after_s": after, "sample": sample[:300]})
        seen["count"] += 1


def request(number: int, sql: str, *, modern: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """Body and headers of an execute_query call in one of the two eras."""
    params: dict[str, Any] = {"name": "execute_query", "arguments": {"sql": sql}}
    headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": MODERN if modern else LEGACY}
    if modern:
        headers |= {"mcp-method": "tools/call", "mcp-name": "execute_query"}
        params["_meta"] = {
            META + "protocolVersion": MODERN,
            META + "clientInfo": {"name": "load", "version": "1"},
            META + "clientCapabilities": {},
        }
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}, headers


def messages(text: str) -> Iterator[dict[str, Any]]:
    """The JSON-RPC messages of a body, which is one object or an event stream."""
    if text.lstrip().startswith("{"):
        yield json.loads(text)
        return
    for line in text.splitlines():
        if line.startswith("data:") and line[5:].strip():
            yield json.loads(line[5:])


def nonce_in(answer: dict[str, Any]) -> str | None:
    """The nonce of a result; None when the answer is an error."""
    result = answer.get("result")
    if result is None or result.get("isError"):
        return None
    return str(result["structuredContent"]["rows"][0][-1])


def error_in(answer: dict[str, Any]) -> str:
    """What kind of error an answer is, in a few words."""
    if "error" in answer:
        return f"JSON-RPC error {answer['error'].get('code')}"
    try:
        return f"tool error {json.loads(answer['result']['content'][0]['text'])['error']['kind']}"
    except (ValueError, KeyError, IndexError, TypeError):
        return "tool error"


async def run(args: argparse.Namespace) -> Report:
    token = Path(args.token_file).read_text().strip() if args.token_file else None
    load = Load(
        args.url,
        token,
        args.connections,
        slow=args.slow,
        slow_seconds=args.slow_seconds,
        pause=args.pause,
        sessions=args.sessions,
    )
    async with load:
        await asyncio.sleep(args.seconds)
    return load.report()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--url", required=True, help="the whole address, with /mcp")
    parser.add_argument("--token-file", help="file with the bearer token")
    parser.add_argument("--connections", type=int, default=16, help="clients with short queries (16)")
    parser.add_argument("--slow", type=int, default=0, help="further clients with slow queries (0)")
    parser.add_argument("--slow-seconds", type=int, default=3, help="how long a slow query takes (3)")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between two requests of a client (0)")
    parser.add_argument("--sessions", action="store_true", help="handshake-era requests in a session that never ends")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long (30)")
    parser.add_argument("--json", action="store_true", help="for scripts")
    args = parser.parse_args(argv)
    report = asyncio.run(run(args))
    print(json.dumps(asdict(report)) if args.json else report)
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main())
