"""Requests that are not ordinary: refused here where the SDK is too lenient or would take too long, else the SDK's.

The SDK gets each request untouched, its body replayed. It is loaded on first need: most workers never need it.
"""

import asyncio
import contextlib
import importlib
from typing import TYPE_CHECKING, Any

import orjson

from doris_mcp_server.answers import INVALID_REQUEST, OVERLOADED, PARSE_ERROR, Answers, Header, Message
from doris_mcp_server.auth.challenge import Resources
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import Overloaded
from doris_mcp_server.keys import KeyRing
from doris_mcp_server.protocol.calls import PRINCIPAL, Calls, may
from doris_mcp_server.protocol.exchange import Exchange, Key, Underway, cancelled, this_task
from doris_mcp_server.protocol.lean import negotiate
from doris_mcp_server.protocol.offer import Offer
from doris_mcp_server.protocol.request import SESSION, Request
from doris_mcp_server.sessions import Session, Sessions
from doris_mcp_server.state.bus import Bus
from doris_mcp_server.tools import Tool

if TYPE_CHECKING:
    from doris_mcp_server.protocol.sdk import SDK


class Unusual:
    """The way past the lean path, of one worker. Methods give the HTTP status that was answered."""

    def __init__(
        self,
        settings: Settings,
        offer: Offer,
        calls: Calls,
        answers: Answers,
        resources: Resources,
        underway: Underway,
        sessions: Sessions,
        bus: Bus,
        keys: KeyRing,
    ) -> None:
        self._settings = settings
        self._offer = offer
        self._calls = calls
        self._answers = answers
        self._resources = resources
        self._underway = underway
        self._sessions = sessions
        self._bus = bus
        self._keys = keys
        self.passed_on = 0  # requests that went to the SDK
        self._sdk: asyncio.Task[SDK] | None = None
        self._sdk_life: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()

    async def serve(self, request: Request, body: bytes, session: Session | None, *, handshake: bool) -> int:
        """`handshake`: it came in the era in which `initialize` begins a session."""
        try:
            # Strict where the SDK is not (NaN, lone surrogates, 20,000 digits), and bounded in depth.
            message = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            await self._answers.error(request.send, 400, PARSE_ERROR, f"Parse error: {error}")
            return 400
        if not isinstance(message, dict):
            words = "Body must be a single JSON-RPC request or notification object; batches were removed in 2025-06-18"
            await self._answers.error(request.send, 400, INVALID_REQUEST, words)
            return 400
        id = message.get("id")
        if "id" in message and type(id) not in (int, str):
            words = "id must be a string or a 64-bit whole number"
            await self._answers.error(request.send, 400, INVALID_REQUEST, words)
            return 400
        method, params = message.get("method"), message.get("params")
        if method == "tools/call" and isinstance(params, dict):
            tool = self._offer.tools.get(str(params.get("name")))
            if tool is not None:
                if not may(request.principal, tool):
                    return await self.forbid(request, tool, id)
                try:
                    async with self._calls.permitted(tool, request):
                        return await self._pass_on(request, body, id, session, [])
                except Overloaded as error:
                    return await self._answers.turn_away(request.send, error, id)
        greeting: list[Header] = []
        if handshake and method == "initialize" and isinstance(params, dict):
            begun = self._sessions.begin(request.principal.name, negotiate(params.get("protocolVersion")))
            greeting.append((SESSION, begun.encode()))
        with request.streaming() if method == "subscriptions/listen" else contextlib.nullcontext():
            return await self._pass_on(request, body, id, session, greeting)

    async def forbid(self, request: Request, tool: Tool, id: int | str | None) -> int:
        """403 with all the scopes that the tool needs, in one challenge."""
        refusal = self._resources.of(request.scope).insufficient((tool.scope,), id)
        await self._answers.send(request.send, refusal.status, refusal.body, *refusal.headers)
        return refusal.status

    async def sdk(self) -> "SDK":
        """The SDK, loaded in a thread: the loop goes on."""
        return await asyncio.shield(self._loading())

    def end_waiting(self) -> None:
        """Turn away the requests that wait for the SDK to be loaded: the server cannot wait for that any more."""
        self._ending.set()

    def end_streams(self) -> None:
        if self._sdk is not None and self._sdk.done():
            self._sdk.result().listen.close()

    async def close(self) -> None:
        if self._sdk_life is not None:
            self._sdk_life.cancel()
            await asyncio.gather(self._sdk_life, return_exceptions=True)

    async def _pass_on(
        self, request: Request, body: bytes, id: Any, session: Session | None, greeting: list[Header]
    ) -> int:
        self.passed_on += 1
        sdk = await self._sdk_in_time()
        if sdk is None:
            words = "the server is shutting down; try again"
            await self._answers.error(request.send, 503, OVERLOADED, words, (b"retry-after", b"1"), id=id)
            return 503
        status, streaming, ended = 0, False, False

        async def send(message: Message) -> None:
            nonlocal status, streaming, ended
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = self._answers.completed(list(message.get("headers", ())))
                streaming = (b"content-type", b"text/event-stream") in headers
                message = {**message, "headers": headers + greeting if status == 200 else headers}
            else:
                ended = not message.get("more_body", False)
            await request.send(message)

        request.scope[PRINCIPAL] = request.principal
        task = this_task()
        key: Key | None = None if session is None or id is None else (session.id, id)
        # Only for the client's word that it wants no answer; whether it is still there, the SDK watches by itself.
        self._underway.begin(task, (request.receive, request.send, None, ""), key, watch=False)
        exchange: Exchange | None = None
        try:
            await sdk.asgi(request.scope, request.replayed(body), send)
        except asyncio.CancelledError:
            exchange = self._underway.exchange(task)
            if exchange is None or not exchange.forgive():
                raise
        finally:
            self._underway.end(task, key)
        if exchange is None or ended:
            return status or 499
        if status and not streaming:
            return 499  # its headers promised another body: the connection is of no more use
        exchange.streaming = streaming
        await exchange.answer(cancelled(id))
        return 200

    async def _sdk_in_time(self) -> "SDK | None":
        """The SDK, None when the server is about to end before it is loaded."""
        loading = self._loading()
        if not loading.done():
            ending = asyncio.create_task(self._ending.wait())
            try:
                await asyncio.wait([loading, ending], return_when=asyncio.FIRST_COMPLETED)
            finally:
                ending.cancel()
        return loading.result() if loading.done() else None

    def _loading(self) -> "asyncio.Task[SDK]":
        if self._sdk is None:
            self._sdk = asyncio.create_task(self._load())
        return self._sdk

    async def _load(self) -> "SDK":
        module = await asyncio.to_thread(importlib.import_module, "doris_mcp_server.protocol.sdk")
        sdk: SDK = module.SDK(self._offer, self._calls, self._bus, self._keys, self._settings)
        started = asyncio.Event()
        self._sdk_life = asyncio.create_task(sdk.run(started))
        await started.wait()
        return sdk
