"""MCP on `/mcp`, both eras: what a verified caller's request is, and which way it takes.

Ordinary requests take the lean path; anything else goes to the SDK. Requests of 2026-07-28 are self-contained.
Clients of the handshake era get a signed session that any worker of any host can verify.
"""

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from doris_mcp_server.answers import INVALID_REQUEST, Answers
from doris_mcp_server.auth import Principal
from doris_mcp_server.auth.challenge import Resources
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import Overloaded
from doris_mcp_server.keys import KeyRing
from doris_mcp_server.protocol import envelope
from doris_mcp_server.protocol.calls import Calls, failure, may
from doris_mcp_server.protocol.exchange import Underway, cancelled, this_task
from doris_mcp_server.protocol.lean import LISTS_CHANGED, Lean, absent, answer, call_answer, negotiate
from doris_mcp_server.protocol.offer import Offer
from doris_mcp_server.protocol.request import SESSION, VERSION, ClientGone, Request
from doris_mcp_server.protocol.streams import CHANGED, Streams
from doris_mcp_server.protocol.unusual import Unusual
from doris_mcp_server.sessions import Session, Sessions
from doris_mcp_server.state.bus import LISTENING, Bus
from doris_mcp_server.tools import Tool

if TYPE_CHECKING:
    from doris_mcp_server.protocol.sdk import SDK

__all__ = ["ClientGone", "Protocol", "Request"]

CANCELLED: Final = "mcp.cancelled"
"""Topic of calls whose client wants no answer: {"session": id of the session, "request": id of the request}."""
SETTLED: Final = 2.0  # seconds within which every worker has applied what this one has
_FREELY: Final = contextlib.nullcontext()
_TOOLS_CHANGED: Final = {"method": "notifications/tools/list_changed"}
_MODERN: Final = envelope.MODERN.encode()
_HANDSHAKE: Final = frozenset({None, *(version.encode() for version in envelope.HANDSHAKE)})


class Protocol:
    """Serves the requests of one worker; each method gives the HTTP status it answered."""

    def __init__(
        self,
        settings: Settings,
        tools: tuple[Tool, ...],
        calls: Calls,
        answers: Answers,
        sessions: Sessions,
        bus: Bus,
        keys: KeyRing,
        resources: Resources,
    ) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._offer = Offer(tools, settings.disabled_tools)
        self._calls = calls
        self._answers = answers
        self._sessions = sessions
        self._bus = bus
        self._max_body = settings.max_body_bytes
        self._lean = Lean(self._offer, only_calls=settings.test_fixtures == "conformance")
        self._streams = Streams(answers, sessions, bus, settings.max_streams)
        self._underway = Underway(answers)
        self.unusual = Unusual(settings, self._offer, calls, answers, resources, self._underway, sessions, bus, keys)
        bus.subscribe(CANCELLED, lambda data: self._underway.cancel((data["session"], data["request"])))
        bus.subscribe(LISTENING, self._heard_again)

    async def post(self, request: Request) -> int:
        """One message."""
        headers, principal, send = request.headers, request.principal, request.send
        body = self._answers.body(send)
        if body is None:
            body = await request.read(self._max_body)
        if len(body) > self._max_body:
            await self._answers.error(send, 413, INVALID_REQUEST, f"the body is larger than {self._max_body} bytes")
            return 413
        version = headers.get(VERSION)
        ordinary = self._lean.acceptable(headers)
        if version == _MODERN:
            modern = self._lean.modern(headers, body) if ordinary else None
            if modern is None:
                return await self.unusual.serve(request, body, None, handshake=False)
            if type(modern) is envelope.Call:
                params = modern.params
                return await self._call(request, modern.id, params, params.meta.progress, None, modern=True)
            if isinstance(modern, envelope.Absent):
                await self._answers.send(send, 404, absent(modern))
                return 404
            listing = type(modern) is envelope.ListTools
            result = self._lean.listing(principal, modern=True) if listing else self._lean.discovery()
            await self._answers.ok(send, answer(modern.id, result))
            return 200
        message = self._lean.handshake(body) if ordinary and version in _HANDSHAKE else None
        session = None
        if (session_id := _session_of(headers)) is not None and not isinstance(message, envelope.Initialize):
            session = await self._find(session_id, principal)
            if session is None:
                return await self._no_session(request)
        if message is not None:
            return await self._serve_handshake(request, message, session)
        return await self.unusual.serve(request, body, session, handshake=version in _HANDSHAKE)

    async def get(self, request: Request) -> int:
        """The event stream of a session. Without one there is nothing that could be heard."""
        if (session_id := _session_of(request.headers)) is None:
            words = "GET needs a session (Mcp-Session-Id); in 2026-07-28 send subscriptions/listen"
            return await self._not_allowed(request, words)
        session = await self._find(session_id, request.principal)
        if session is None:
            return await self._no_session(request)
        with request.streaming():
            return await self._streams.serve(session_id, session, request.receive, request.send)

    async def delete(self, request: Request) -> int:
        """The end of a session, on every worker of every host."""
        if (session_id := _session_of(request.headers)) is None:
            return await self._not_allowed(request, "DELETE ends a session; this request has none (Mcp-Session-Id)")
        session = await self._find(session_id, request.principal)
        if session is None:
            return await self._no_session(request)
        await self._sessions.end(session)
        await self._answers.send(request.send, 200, b"")
        return 200

    def apply(self, settings: Settings) -> None:
        """Use these settings from now on: the tools on offer, the streams a caller may have."""
        self._streams.limit = settings.max_streams
        if self._offer.without(settings.disabled_tools):
            # Every worker applies it by itself, and tells its own clients. One that looks at once may meet a worker
            # that is not as far yet, so it is told again when all are.
            self._bus.deliver(CHANGED, _TOOLS_CHANGED)
            asyncio.get_running_loop().call_later(SETTLED, self._bus.deliver, CHANGED, _TOOLS_CHANGED)

    def end_waiting(self) -> None:
        """Ask whoever waits for the SDK to be loaded to come again: the server is about to end."""
        self.unusual.end_waiting()

    def end_streams(self) -> None:
        """Give every open event stream its last frame."""
        self._streams.close()
        self.unusual.end_streams()

    def end_calls(self) -> None:
        """Have every call that runs answered, with an error that says to send it again."""
        self._calls.end()
        self.unusual.end_waiting()

    async def close(self) -> None:
        await self.unusual.close()

    @property
    def limited(self) -> bool:
        """Whether there are limits on how often or how many at once, so that a request's address is to be told."""
        return self._calls.limited

    async def sdk(self) -> "SDK":
        return await self.unusual.sdk()

    async def _serve_handshake(
        self, request: Request, message: envelope.HandshakeRequest, session: Session | None
    ) -> int:
        send = request.send
        match message:
            case envelope.HandshakeCall(id=id, params=params):
                progress = params.meta.progress if params.meta else None
                return await self._call(request, id, params, progress, session, modern=False)
            case envelope.Initialize(id=id, params=hello):
                version = negotiate(hello.protocolVersion)
                header = (SESSION, self._sessions.begin(request.principal.name, version).encode())
                await self._answers.send(send, 200, answer(id, self._lean.greeting(version)), header)
                return 200
            case envelope.HandshakeListTools(id=id):
                result = self._lean.listing(request.principal, modern=False)
            case envelope.Ping(id=id):
                result = b"{}"
            case (
                envelope.HandshakeListPrompts() | envelope.HandshakeListResources() | envelope.HandshakeListTemplates()
            ):
                await self._answers.ok(send, absent(message))
                return 200
            case _:
                if isinstance(message, envelope.Cancelled) and session is not None:
                    self._bus.publish(CANCELLED, {"session": session.id, "request": message.params.requestId})
                await self._answers.send(send, 202, b"")
                return 202
        await self._answers.ok(send, answer(id, result))
        return 200

    async def _call(
        self,
        request: Request,
        id: int | str,
        params: envelope.ModernCallParams | envelope.HandshakeCallParams,
        progress: int | str | None,
        session: Session | None,
        *,
        modern: bool,
    ) -> int:
        tool = self._tools[params.name]
        if not may(request.principal, tool):
            return await self.unusual.forbid(request, tool, id)
        send = request.send
        task = this_task()
        key = None if session is None else (session.id, id)
        self._underway.begin(task, (request.receive, send, progress, tool.title), key)
        try:
            async with self._calls.permitted(tool, request) if self._calls.limited else _FREELY:
                text, failed = await self._calls.run(tool, params.arguments or {}, request.principal)
            message = call_answer(id, text, failed, modern=modern)
        except Overloaded as error:
            exchange = self._underway.exchange(task)
            if exchange is None or not (exchange.streaming or exchange.gone):
                return await self._answers.turn_away(send, error, id)
            message = call_answer(id, failure(error), True, modern=modern)
        except asyncio.CancelledError:
            exchange = self._underway.exchange(task)
            if exchange is None or not exchange.forgive():
                raise
            message = cancelled(id)
        finally:
            exchange = self._underway.end(task, key)
        if exchange is None:
            if not self._answers.write(send, message):
                await self._answers.send(send, 200, message)
        elif exchange.gone:
            return 499
        else:
            await exchange.answer(message)
        return 200

    def _heard_again(self, data: dict[str, Any]) -> None:
        """Have those who subscribed here look again: what changed while other hosts were not heard, nobody told."""
        if data["missed"]:
            for method in LISTS_CHANGED:
                self._bus.deliver(CHANGED, {"method": method})

    async def _find(self, session_id: bytes, principal: Principal) -> Session | None:
        return self._sessions.warm(session_id, principal.name) or await self._sessions.find(session_id, principal.name)

    async def _no_session(self, request: Request) -> int:
        await self._answers.error(request.send, 404, INVALID_REQUEST, "Session not found")
        return 404

    async def _not_allowed(self, request: Request, words: str) -> int:
        await self._answers.error(request.send, 405, INVALID_REQUEST, words, (b"allow", b"POST"))
        return 405


def _session_of(headers: dict[bytes, bytes]) -> bytes | None:
    """The session id of a request of the handshake era."""
    return headers.get(SESSION) if headers.get(VERSION) in _HANDSHAKE else None
