"""The way in over HTTP: the drain gate, Host and Origin, the bearer token; then MCP, health or metrics.

Order for `/mcp`: gate → Host/Origin → method → token → SDK (which limits the body before it parses).
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from doris_mcp_server import RELEASE
from doris_mcp_server.auth import LOCAL, SMOKE, Verifier, bearer
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import StoreUnavailable
from doris_mcp_server.health import Health
from doris_mcp_server.observe import Metrics, event
from doris_mcp_server.protocol import PRINCIPAL

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
_JSON = (b"content-type", b"application/json")
_SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
]


class Gate:
    """Counts requests in flight and, while draining, lets none in."""

    def __init__(self) -> None:
        self.draining = False
        self.inflight = 0
        self.served = 0  # requests let in since this worker began
        self._idle = asyncio.Event()
        self._idle.set()

    def enter(self) -> None:
        self.inflight += 1
        self.served += 1
        self._idle.clear()

    def leave(self) -> None:
        self.inflight -= 1
        if self.inflight == 0:
            self._idle.set()

    async def idle(self, timeout: float) -> bool:
        """Wait until nothing is in flight; False when that took longer than `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True


class HostPolicy:
    """Which Host and Origin headers are ours: the defence against DNS rebinding."""

    def __init__(self, hosts: Iterable[str], origins: Iterable[str]) -> None:
        self._hosts = {host.lower().encode() for host in (*_LOCAL_NAMES, *hosts)}
        self._origins = {origin.lower().rstrip("/").encode() for origin in origins}

    def refusal(self, headers: list[tuple[bytes, bytes]]) -> tuple[int, str] | None:
        """(status, words) when a request is not for us or comes from a foreign page; None when it is fine."""
        hosts = [value.lower() for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not self._known(hosts[0]):
            return 421, "this server does not answer to that Host; operators: DORIS_MCP_ALLOWED_HOSTS"
        for name, value in headers:
            if name == b"origin" and not self._own_origin(value.lower()):
                return 403, "requests from that Origin are not allowed; operators: DORIS_MCP_ALLOWED_ORIGINS"
        return None

    def _known(self, host: bytes) -> bool:
        return host in self._hosts or _without_port(host) in self._hosts

    def _own_origin(self, origin: bytes) -> bool:
        if origin in self._origins:
            return True
        scheme, _, rest = origin.partition(b"://")
        return scheme in (b"http", b"https") and _without_port(rest) in {name.encode() for name in _LOCAL_NAMES}


def _without_port(host: bytes) -> bytes:
    name, colon, port = host.rpartition(b":")
    return name if colon and port.isdigit() else host


class Application:
    """The ASGI application of one worker."""

    def __init__(
        self,
        settings: Settings,
        *,
        gate: Gate,
        health: Health,
        verifier: Verifier,
        metrics: Metrics,
        mcp: ASGIApp,
        lifespan: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        self._gate = gate
        self._health = health
        self._verifier = verifier
        self._metrics = metrics
        self._mcp = mcp
        self._lifespan = lifespan
        self._max_body = settings.max_body_bytes
        self._node = settings.node_name
        self._policy = HostPolicy(settings.allowed_hosts, settings.allowed_origins)
        self._headers = [(b"x-served-by", settings.node_name.encode("ascii", "replace")), *_SECURITY]
        self._routes: dict[str, Callable[[Scope, Receive, Send], Awaitable[None]]] = {
            "/mcp": self._serve_mcp,
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/health": self._health_page,
            "/metrics": self._metrics_page,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
            return
        route = self._routes.get(scope["path"])
        label = scope["path"] if route else "other"  # a metric label must not be the caller's to choose
        sent = 0

        async def answer(message: Message) -> None:
            nonlocal sent
            if message["type"] == "http.response.start":
                sent = message["status"]
                headers = [*message.get("headers", ()), *self._headers]
                if self._gate.draining:
                    headers = [h for h in headers if h[0] != b"connection"] + [(b"connection", b"close")]
                message = {**message, "headers": headers}
            await send(message)

        try:
            if route is None:
                await _reply(answer, 404, {"error": "not found"})
            else:
                await route(scope, receive, answer)
        except Exception:
            logging.getLogger("doris_mcp").exception("unexpected error in %s", label)
            if not sent:
                await _reply(answer, 500, {"error": "unexpected error; the server's log has the cause"})
        finally:
            self._metrics.requests.labels(label, str(sent or "none")).inc()

    async def _serve_mcp(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = scope["headers"]
        token = bearer(headers)
        if self._gate.draining and not self._proves_the_host(token):
            await self._turn_away(receive, send)
            return
        if refusal := self._policy.refusal(headers):
            status, words = refusal
            await _reply(send, status, {"error": words})
            return
        if scope["method"] != "POST":
            # Stateless: there is no session to stream to (GET) or to end (DELETE).
            await _reply(send, 405, {"error": "POST only"}, (b"allow", b"POST"))
            return
        self._gate.enter()
        self._metrics.inflight.inc()
        try:
            if await self._authorise(token, scope, send):
                await self._mcp(scope, receive, send)
        finally:
            self._metrics.inflight.dec()
            self._gate.leave()

    def _proves_the_host(self, token: str | None) -> bool:
        """Only the operator's smoke token passes a closed gate: a host is proved before it is put back."""
        principal = self._verifier.static(token) if token else None
        return principal is not None and principal.name == SMOKE

    async def _turn_away(self, receive: Receive, send: Send) -> None:
        # The body is read and dropped first: closing on unread bytes resets the connection, and the reset can
        # overtake the 503 that tells the balancer to go to the next member.
        size, more = 0, True
        while more and size <= self._max_body:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        self._metrics.refused_draining.inc()
        await _reply(send, 503, {"error": "this host is draining; try again"}, (b"retry-after", b"1"))

    async def _authorise(self, token: str | None, scope: Scope, send: Send) -> bool:
        if not self._verifier.required:
            scope[PRINCIPAL] = LOCAL
            return True
        if token is None:
            self._metrics.auth_failures.labels("missing").inc()
            await _reply(send, 401, {"error": "a bearer token is required"}, (b"www-authenticate", b"Bearer"))
            return False
        try:
            principal = await self._verifier.verify(token)
        except StoreUnavailable as error:
            event("token not verified: store away", level=logging.WARNING, reason=error.message)
            self._metrics.auth_failures.labels("store").inc()
            await _reply(send, 503, {"error": "the token store is away; try again"}, (b"retry-after", b"2"))
            return False
        if principal is None:
            self._metrics.auth_failures.labels("invalid").inc()
            await _reply(
                send,
                401,
                {"error": "the bearer token is not valid"},
                (b"www-authenticate", b'Bearer error="invalid_token"'),
            )
            return False
        scope[PRINCIPAL] = principal
        return True

    async def _livez(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _reply(send, 200, {"status": "alive"})

    async def _readyz(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, words = self._state()
        await _reply(send, status, {"status": words, "checks": self._health.report()})

    async def _health_page(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, words = self._state()
        await _reply(
            send,
            status,
            {"status": words, "checks": self._health.report(), "node": self._node, "release": RELEASE},
        )

    def _state(self) -> tuple[int, str]:
        if self._gate.draining:
            return 503, "draining"
        return (200, "ready") if self._health.ready else (503, "not_ready")

    async def _metrics_page(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._metrics.ready.set(self._state()[0] == 200)
        self._metrics.draining.set(self._gate.draining)
        text = await asyncio.to_thread(self._metrics.render)
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [
                    (b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),
                    (b"content-length", str(len(text)).encode()),
                ],
            }
        )
        await send({"type": "http.response.body", "body": text})

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self._lifespan():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


async def _reply(send: Send, status: int, body: dict[str, Any], *headers: tuple[bytes, bytes]) -> None:
    content = json.dumps(body).encode()
    length = (b"content-length", str(len(content)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [_JSON, length, *headers]})
    await send({"type": "http.response.body", "body": content})
