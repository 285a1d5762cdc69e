"""The way in over HTTP: the drain gate, Host and Origin, the bearer token; then MCP, health or metrics.

Order for `/mcp`: headers → gate → Host/Origin → token → protocol (which limits the body before it parses). An
ordinary request awaits nothing on this way.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

import orjson

from doris_mcp_server import RELEASE
from doris_mcp_server.answers import Answers, Header, Receive, Scope, Send
from doris_mcp_server.auth import LOCAL, SMOKE, Principal, Verifier, bearer
from doris_mcp_server.auth.addresses import Addresses
from doris_mcp_server.auth.challenge import METADATA_PATHS, Refusal, Resources
from doris_mcp_server.auth.jwks import published
from doris_mcp_server.auth.permits import Permits
from doris_mcp_server.auth.signed import own_issuer
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import DRAINING, IssuerUnavailable, Overloaded, ServerError, StoreUnavailable, error_body
from doris_mcp_server.gate import Gate
from doris_mcp_server.health import Health
from doris_mcp_server.keys.ring import Key
from doris_mcp_server.oauth import AUTHORIZE, LARGEST, PATHS, Ask, OAuth
from doris_mcp_server.observe import Metrics, event
from doris_mcp_server.protocol import ClientGone, Protocol, Request

JWKS_PATH = "/.well-known/jwks.json"
_LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
_RETRY: Header = (b"retry-after", b"1")
# Sent twice, two readers on the way may act on different ones.
_ONCE = frozenset({b"host", b"authorization", b"content-length", b"content-type", b"mcp-session-id", b"origin"})


class HostPolicy:
    """Which Host and Origin headers are ours: the defence against DNS rebinding."""

    def __init__(self, hosts: Iterable[str], origins: Iterable[str]) -> None:
        self._local = frozenset(name.encode() for name in _LOCAL_NAMES)
        self._hosts = {host.lower().encode() for host in (*_LOCAL_NAMES, *hosts)}
        self._seen: set[bytes | None] = set()
        self._origins = {origin.lower().rstrip("/").encode() for origin in origins}

    def refusal(self, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        """(status, words) when a request is not for us or comes from a foreign page; None when it is fine."""
        host = headers.get(b"host")
        if host not in self._seen and (host is None or not self._known(host.lower())):
            return 421, "this server does not answer to that Host; operators: DORIS_MCP_ALLOWED_HOSTS"
        origin = headers.get(b"origin")
        if origin is not None and not self._own_origin(origin.lower()):
            return 403, "requests from that Origin are not allowed; operators: DORIS_MCP_ALLOWED_ORIGINS"
        return None

    def _known(self, host: bytes) -> bool:
        known = host in self._hosts or _without_port(host) in self._hosts
        if known and len(self._seen) < 100:  # bounded: callers choose the port
            self._seen.add(host)
        return known

    def _own_origin(self, origin: bytes) -> bool:
        if origin in self._origins:
            return True
        scheme, _, rest = origin.partition(b"://")
        return scheme in (b"http", b"https") and _without_port(rest) in self._local


def _without_port(host: bytes) -> bytes:
    name, colon, port = host.rpartition(b":")
    return name if colon and port.isdigit() else host


class Application:
    """The ASGI application of one worker."""

    def __init__(
        self,
        settings: Settings,
        *,
        answers: Answers,
        gate: Gate,
        health: Health,
        verifier: Verifier,
        permits: Permits,
        resources: Resources,
        metrics: Metrics,
        protocol: Protocol,
        issuer_keys: Callable[[], list[Key]],
        oauth: OAuth | None = None,
    ) -> None:
        self._answers = answers
        self._gate = gate
        self._health = health
        self._verifier = verifier
        self._permits = permits
        self._resources = resources
        self._metrics = metrics
        self._protocol = protocol
        self._issuer_keys = issuer_keys
        self._oauth = oauth
        self._max_body = settings.max_body_bytes
        self._node = settings.node_name
        self._own_origins = (own_issuer(settings.public_url),) if oauth is not None else ()
        self.apply(settings)
        self._routes: dict[str, Callable[[Scope, Receive, Send], Awaitable[int]]] = {
            "/mcp": self._serve_mcp,
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/health": self._health_page,
            "/metrics": self._metrics_page,
            **dict.fromkeys(METADATA_PATHS, self._metadata),
            JWKS_PATH: self._jwks,
        }
        if oauth is not None:
            self._routes |= dict.fromkeys(PATHS, partial(self._serve_oauth, oauth))

    def apply(self, settings: Settings) -> None:
        """Answer to these hosts and origins, and believe these proxies, from now on."""
        self._policy = HostPolicy(settings.allowed_hosts, (*settings.allowed_origins, *self._own_origins))
        self._addresses = Addresses(settings.trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        label = scope["path"]
        route = self._routes.get(label)
        if route is None:
            label, route = "other", self._nothing  # a metric label must not be the caller's to choose
        status = 500
        try:
            status = await route(scope, receive, send)
        except ClientGone:
            status = 499
        except asyncio.CancelledError:
            status = 499
            raise
        except Exception:
            logging.getLogger("doris_mcp").exception("unexpected error in %s", label)
            await self._fail(send)
        finally:
            self._metrics.request(label, status)

    async def _serve_mcp(self, scope: Scope, receive: Receive, send: Send) -> int:
        pairs = scope["headers"]
        headers = dict(pairs)
        if len(headers) != len(pairs) and (name := _twice(pairs)):
            # Two tokens are no token: that one is for the challenge to say.
            if name != b"authorization":
                words = f"the header {name.decode('latin-1')} may be sent only once"
                return await self._refuse(send, 421 if name == b"host" else 400, words)
            del headers[b"authorization"]
        authorization = headers.get(b"authorization")
        principal = self._verifier.warm(authorization) if authorization is not None else None
        if self._gate.draining and not (principal is not None and principal.name == SMOKE):
            return await self._turn_away(receive, send)
        if (refusal := self._policy.refusal(headers)) is not None:
            return await self._refuse(send, *refusal)
        method = scope["method"]
        limited = self._protocol.limited and not (principal is not None and principal.name == SMOKE)
        address = self._addresses.of(scope, headers) if limited else ""
        self._gate.enter()
        try:
            if limited:
                await self._permits.spend("address", address)
            known = principal or await self._identify(scope, headers)
            if isinstance(known, Refusal):
                return await self._send(send, known)
            if limited:
                await self._permits.spend("principal", known.name)
            request = Request(scope, headers, known, receive, send, address, self._gate.streaming)
            if method == "POST":
                return await self._protocol.post(request)
            if method == "DELETE":
                return await self._protocol.delete(request)
            if method == "GET":
                return await self._protocol.get(request)
            return await self._refuse(send, 405, "POST, GET or DELETE only", (b"allow", b"POST, GET, DELETE"))
        except Overloaded as error:
            return await self._answers.turn_away(send, error)
        finally:
            self._gate.leave()

    async def _identify(self, scope: Scope, headers: dict[bytes, bytes]) -> Principal | Refusal:
        """The caller, or the answer to one whom nobody knows. Raises: Overloaded for whoever guesses too often."""
        if not self._verifier.required:
            return LOCAL
        if not self._permits.on:
            return await self._look_up(scope)
        address = self._addresses.of(scope, headers)
        if not self._verifier.knows(headers.get(b"authorization")):  # whom others of his address do not lock out
            self._permits.check("failure", address)
        found = await self._look_up(scope)
        if isinstance(found, Refusal) and found.status == 401:
            await self._permits.spend("failure", address)
        return found

    async def _look_up(self, scope: Scope) -> Principal | Refusal:
        resource = self._resources.of(scope)
        token = bearer(scope["headers"])
        if token is None:
            self._metrics.auth_failure("missing")
            return resource.missing
        try:
            principal = await self._verifier.verify(token)
        except StoreUnavailable as error:
            return self._cannot_tell("store", error, "the token store is away; try again")
        except IssuerUnavailable as error:
            return self._cannot_tell("issuer", error, "the keys of the token's issuer cannot be had; try again")
        if principal is None:
            self._metrics.auth_failure("invalid")
            return resource.invalid
        return principal

    def _cannot_tell(self, who: str, error: ServerError, words: str) -> Refusal:
        event(f"token not verified: {who} away", level=logging.WARNING, reason=error.message)
        self._metrics.auth_failure(who)
        return Refusal(503, [(b"retry-after", b"2")], error_body(words))

    async def _turn_away(self, receive: Receive, send: Send) -> int:
        # The body is read and dropped first: closing on unread bytes resets the connection, and the reset can
        # overtake the 503 that tells the balancer to go to the next member.
        size, more = 0, True
        while more and size <= self._max_body:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        self._metrics.drain_refused()
        return await self._refuse(send, 503, DRAINING, _RETRY)

    async def _refuse(self, send: Send, status: int, words: str, *headers: Header) -> int:
        return await self._send(send, Refusal(status, list(headers), error_body(words)))

    async def _send(self, send: Send, refusal: Refusal) -> int:
        await self._answers.send(send, refusal.status, refusal.body, *refusal.headers)
        return refusal.status

    async def _fail(self, send: Send) -> None:
        # When an answer had begun already, uvicorn takes no second one and cuts the connection.
        with contextlib.suppress(RuntimeError):
            await self._refuse(send, 500, "unexpected error; the server's log has the cause")

    async def _serve_oauth(self, oauth: OAuth, scope: Scope, receive: Receive, send: Send) -> int:
        pairs = scope["headers"]
        headers = dict(pairs)
        if len(headers) != len(pairs) and _twice(pairs):
            return await self._refuse(send, 400, "a header was sent twice")
        if self._gate.draining:
            return await self._turn_away(receive, send)
        if scope["path"] == AUTHORIZE and headers.get(b"origin") == b"null":
            del headers[b"origin"]  # a form of a page that tells nobody where one was; its seal is what counts
        if (refusal := self._policy.refusal(headers)) is not None:
            return await self._refuse(send, *refusal)
        self._gate.enter()
        try:
            body = await _read(receive, LARGEST)
            if body is None:
                return await self._refuse(send, 413, f"the body is larger than {LARGEST} bytes")
            reply = await oauth.answer(Ask.of(scope, headers, body, self._addresses.of(scope, headers)))
            await self._answers.send(send, reply.status, reply.body, *reply.headers, kind=reply.kind)
            return reply.status
        finally:
            self._gate.leave()

    # -- the other pages -------------------------------------------------------------------------------------

    async def _nothing(self, scope: Scope, receive: Receive, send: Send) -> int:
        return await self._page(send, 404, {"error": "not found"})

    async def _metadata(self, scope: Scope, receive: Receive, send: Send) -> int:
        if (status := await self._refuse_reader(scope, send)) is not None:
            return status
        await self._answers.send(send, 200, self._resources.of(scope).metadata)
        return 200

    async def _jwks(self, scope: Scope, receive: Receive, send: Send) -> int:
        if (status := await self._refuse_reader(scope, send)) is not None:
            return status
        try:
            page = published(self._issuer_keys())
        except IssuerUnavailable as error:
            return await self._refuse(send, 503, error.message, _RETRY)
        # Kept elsewhere for less than a new key needs to take over: whoever follows knows it before it signs.
        await self._answers.send(send, 200, page, (b"cache-control", b"max-age=60"))
        return 200

    async def _refuse_reader(self, scope: Scope, send: Send) -> int | None:
        """Refuse who may not read what is public, for its Host or method; None: it may."""
        if (refusal := self._policy.refusal(dict(scope["headers"]))) is not None:
            return await self._refuse(send, *refusal)
        if scope["method"] not in ("GET", "HEAD"):
            return await self._refuse(send, 405, "GET only", (b"allow", b"GET, HEAD"))
        return None

    async def _livez(self, scope: Scope, receive: Receive, send: Send) -> int:
        return await self._page(send, 200, {"status": "alive"})

    async def _readyz(self, scope: Scope, receive: Receive, send: Send) -> int:
        status, words = self.state()
        return await self._page(send, status, {"status": words, "checks": self._health.report()})

    async def _health_page(self, scope: Scope, receive: Receive, send: Send) -> int:
        status, words = self.state()
        page = {
            "status": words,
            "checks": self._health.report(),
            "node": self._node,
            "worker": os.getpid(),  # behind one port there are several
            "release": RELEASE,
        }
        return await self._page(send, status, page)

    def state(self) -> tuple[int, str]:
        """Whether this worker wants requests: HTTP status and a word."""
        if self._gate.draining:
            return 503, "draining"
        return (200, "ready") if self._health.ready else (503, "not_ready")

    def flush_metrics(self) -> None:
        """Put what was counted, and how this worker is, where the scrape of any worker of the host finds it."""
        self._metrics.inflight = self._gate.inflight
        self._metrics.draining = self._gate.draining
        self._metrics.ready = self.state()[0] == 200
        self._metrics.flush()

    async def _metrics_page(self, scope: Scope, receive: Receive, send: Send) -> int:
        self.flush_metrics()
        text = await asyncio.to_thread(self._metrics.render)
        await self._answers.send(send, 200, text, kind=b"text/plain; version=0.0.4; charset=utf-8")
        return 200

    async def _page(self, send: Send, status: int, body: dict[str, Any]) -> int:
        await self._answers.send(send, status, orjson.dumps(body))
        return status


async def _read(receive: Receive, limit: int) -> bytes | None:
    """The body; None where it is larger than `limit` bytes."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > limit:
            return None
    return body


def _twice(headers: list[Header]) -> bytes | None:
    """The first header that came more than once and must not."""
    seen = set()
    for name, _ in headers:
        if name in seen and name in _ONCE:
            return name
        seen.add(name)
    return None
