"""Clients that start requests at a rate, whether or not earlier ones were answered, and check each answer.

Requests share a pool of keep-alive connections. Short queries, long ones and streams come in both protocol eras; those
of the handshake era go on in a few sessions that never end. A query carries a nonce in its statement and as its request
id, and the answer must carry both, so an answer that belongs to another request is seen, whoever mixed it up. The
frames of a subscription carry its request id; those of a session's stream carry nothing that could be mixed up.

A stream lasts until its client closes it. A server may end it before that in order, with the end of the chunked body
and in the modern era with the answer to the subscription; then it is opened again, for the rest of its time, as another
request.

What counts as failed is what a client that keeps to HTTP could not have mended (RFC 9110, 9112). It may
- take another connection than one that was announced to be closed, or is found closed before anything was sent on it;
- send a GET, which is idempotent, again when its connection broke off before the answer (here: a session's stream);
- come again after the seconds that a 503 or 429 names in Retry-After. Only with `comes_again`, for a host on its own,
  which is away for a while and then meets all who waited for it: behind a balancer nobody should see either, and
  without `comes_again` it is a failure.
It may not send a POST twice: whether the first one was carried out, it cannot know. So a refused connection, a reset, a
body that breaks off and an error of any kind are failures. What was sent again is counted, and is in the history.
"""

import asyncio
import itertools
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final, Self

import aiohttp

from .arrivals import Arrival, Mix, arrivals
from .calls import Asking, error_in, execute, initialize, listen, messages, nonce_in, statement, subscription
from .history import Begin, End, History, Phase, Request
from .report import Report

DEADLINE: Final = 5.0  # seconds
PATIENCE: Final = 60.0  # seconds beyond its own length until a request is given up
SESSIONS: Final = 4
SAMPLE: Final = 300  # characters

_asking: ContextVar[Request] = ContextVar("the request that this task serves")


class Load:
    """`rate` requests a second until left; then no new ones, and the answers under way are waited for, not the streams.

    `phase` marks a part of the history; `report` is what was seen so far.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        rate: float = 40.0,
        *,
        mix: Mix = Mix(),  # noqa: B008  (frozen)
        seed: int = 1,
        comes_again: bool = False,
        history: Path | None = None,
    ) -> None:
        self.report = Report()
        self._url = url
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._rate, self._mix, self._seed = rate, mix, seed
        self._comes_again = comes_again
        self._path = history
        self._run = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self._made = 0
        self._leaving = False
        self._listening: set[asyncio.Timeout] = set()
        self._epoch = time.time() - time.monotonic()

    async def __aenter__(self) -> Self:
        self._history = History(self._path)
        self._history.add(Begin(self._run, self._rate, self._seed, DEADLINE))
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            headers=self._headers,
            response_class=_Response,
            trace_configs=[self._trace()],
        )
        try:
            self._sessions = [await self._begin_session() for _ in range(SESSIONS)]
        except BaseException:
            await self._close()
            raise
        self._began = self._now()
        self._arriving = asyncio.create_task(self._arrive())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._leaving = True
        for stream in self._listening:
            if not stream.expired():
                stream.reschedule(0)
        try:
            await self._arriving
            self._history.add(End(self._made))
        finally:
            await self._close()

    async def until(self, condition: Callable[[Report], bool], timeout: float = 120.0) -> None:
        """Wait until the report fulfils `condition`. Raises: TimeoutError with the report, a client's own error."""
        deadline = time.monotonic() + timeout
        while not condition(self.report):
            if self._arriving.done():
                self._arriving.result()
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {timeout:g} s: {self.report}")
            await asyncio.sleep(0.05)

    async def answers(self, count: int, timeout: float = 120.0) -> None:
        """Wait for `count` more short answers."""
        goal = self.report.ok + count
        await self.until(lambda report: report.ok >= goal, timeout)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        begin = self._now()
        yield
        self._history.add(Phase(name, begin, self._now()))

    def _now(self) -> float:
        return self._epoch + time.monotonic()

    def _trace(self) -> aiohttp.TraceConfig:
        async def opened(*_: object) -> None:
            self.report.opened += 1

        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(opened)
        return trace

    async def _close(self) -> None:
        await self._http.close()
        self._history.__exit__(None, None, None)

    async def _begin_session(self) -> str:
        _asking.set(Request("", "short", "legacy", 0.0, 0.0))  # not one of those that count
        method, body, headers = initialize()
        async with self._http.request(method, self._url, json=body, headers=headers) as response:
            text = await response.text()
            assert response.status == 200, text
            return response.headers["mcp-session-id"]

    async def _arrive(self) -> None:
        async with asyncio.TaskGroup() as under_way:
            for arrival in arrivals(self._rate, self._mix, self._seed):
                due = self._began + arrival.at
                await asyncio.sleep(due - self._now())
                if self._leaving:
                    return
                serve = self._listen if arrival.kind == "stream" else self._call
                under_way.create_task(serve(arrival, due))

    async def _call(self, arrival: Arrival, due: float) -> None:
        request = self._request(arrival, due)
        sql = statement(request.nonce, request.seconds)
        asking = execute(request.nonce, sql, self._session(), modern=request.era == "modern")
        await self._serve(request, asking, self._answer)

    async def _listen(self, arrival: Arrival, due: float) -> None:
        over = due + arrival.seconds
        while due < over and not self._leaving:
            request = self._request(arrival, due)
            request.seconds = over - due
            asking = listen(request.nonce, self._session(), modern=request.era == "modern")
            await self._serve(request, asking, self._frames)
            if request.ended_by != "server":
                return
            due = request.end

    def _request(self, arrival: Arrival, due: float) -> Request:
        self._made = next(self._numbers)
        return Request(f"{self._run}-{self._made}", arrival.kind, arrival.era, arrival.seconds, due, self._now())

    def _session(self) -> str:
        return self._sessions[self._made % SESSIONS]

    async def _serve(self, request: Request, asking: Asking, take: Any) -> None:
        """Send it, `take` what comes back, and note how that went."""
        _asking.set(request)
        try:
            async with asyncio.timeout(request.seconds + PATIENCE):
                while (wait := await self._send(request, asking, take)) is not None:
                    request.told += 1
                    await asyncio.sleep(wait)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            request.why, request.sample = type(error).__name__, str(error)[:SAMPLE]
        request.end = self._now()
        request.answered = request.answered or request.end
        request.outcome = self.report.add(request, self._began, DEADLINE)
        self._history.add(request)

    async def _send(self, request: Request, asking: Asking, take: Any) -> float | None:
        """Send it once; the seconds after which to come again, when that was all there was to hear."""
        method, body, headers = asking
        async with self._http.request(method, self._url, json=body, headers=headers) as response:
            request.status, request.host = response.status, response.headers.get("x-served-by", "")
            if response.status == 200:
                await take(request, response)
                return None
            if self._comes_again and response.status in (429, 503) and "retry-after" in response.headers:
                return float(response.headers["retry-after"])
            request.why, request.sample = f"HTTP {response.status}", (await response.text())[:SAMPLE]
            return None

    async def _answer(self, request: Request, response: aiohttp.ClientResponse) -> None:
        """The answer to a call."""
        text = await response.text()
        request.answered = self._now()
        try:
            answers = [message for message in messages(text) if "id" in message]
            nonces = [nonce_in(answer) for answer in answers]
        except (ValueError, KeyError, IndexError, TypeError) as error:
            request.why = f"unreadable answer ({type(error).__name__})"
        else:
            request.ids = [str(answer["id"]) for answer in answers]
            request.nonces = [nonce for nonce in nonces if nonce is not None]
            if not answers:
                request.why = "no answer in the body"
            elif nonces[0] is None:
                request.why = error_in(answers[0])
        if request.why or len(answers) > 1 or request.ids != request.nonces:
            request.sample = text[:SAMPLE]

    async def _frames(self, request: Request, response: aiohttp.ClientResponse) -> None:
        """What a stream brings until its time is over, or the server ends it. The first frame is waited for."""
        limit = asyncio.timeout_at(asyncio.get_running_loop().time() + request.seconds)
        last = False
        try:
            frame = await _frame(response)
            request.answered = self._now()
            async with limit:
                self._listening.add(limit)
                if self._leaving:
                    limit.reschedule(0)
                try:
                    while frame is not None:
                        for message in frame:
                            last = last or "id" in message
                            # What a session's stream brings is for all of its kind, and names nobody.
                            name = subscription(message) if request.era == "modern" else message.get("id")
                            if name is not None and str(name) not in request.ids:
                                request.ids.append(str(name))
                        frame = await _frame(response)
                finally:
                    self._listening.discard(limit)
        except (ValueError, KeyError, TypeError) as error:
            request.why = f"unreadable frame ({type(error).__name__})"
        except TimeoutError:
            if not limit.expired():
                raise
            request.ended_by = "client"
            response.close()
        else:
            request.ended_by = "server"
            if request.era == "modern" and not last:
                request.why = "ended without its last frame"


async def _frame(response: aiohttp.ClientResponse) -> list[dict[str, Any]] | None:
    """The messages of an event stream's next frame, None at its end.

    Raises: ClientPayloadError when it was cut off, ValueError.
    """
    lines = b""
    while line := await response.content.readline():
        lines += line
        if not line.strip():
            break
    return list(messages(lines.decode())) if lines else None


class _Response(aiohttp.ClientResponse):
    """Tells the request on which connection it was sent; once more when it was sent again."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        request = _asking.get()
        request.sent += 1
        request.connection = connection.transport.get_extra_info("sockname")[1]
        return await super().start(connection)
