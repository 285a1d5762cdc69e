"""The composition root: builds everything of one worker once, and closes it in reverse, each step bounded."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable

from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from sse_starlette.sse import AppStatus

from doris_mcp_server import RELEASE
from doris_mcp_server.asgi import Application, Gate
from doris_mcp_server.auth import Verifier
from doris_mcp_server.config import Settings
from doris_mcp_server.doris.pool import Limits, Pool, Route
from doris_mcp_server.errors import DorisUnavailable
from doris_mcp_server.health import Check, Health
from doris_mcp_server.observe import Metrics, event
from doris_mcp_server.protocol import Protocol
from doris_mcp_server.state import open_store
from doris_mcp_server.state.bus import Bus
from doris_mcp_server.tools import Context

CLOSE_LIMIT = 3.0  # seconds any one part may take to close


class App:
    """One worker's parts, wired."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.metrics.build_info.labels(RELEASE).set(1)
        self.gate = Gate()
        self.bus = Bus()
        self.store = open_store(settings)
        self.pool = Pool(
            Route(
                host=settings.doris_host or "",
                port=settings.doris_port,
                user=settings.doris_user,
                password=settings.doris_password,
                database=settings.doris_database,
            ),
            size=min(settings.pool_size, settings.max_connections),
            connect_timeout=settings.doris_connect_timeout,
        )
        checks = [Check("doris", self._ping_doris)]
        if settings.redis_url:
            checks.append(Check("store", self.store.ping))
        self.health = Health(checks)
        limits = Limits(settings.query_timeout, settings.max_rows, settings.max_result_bytes)
        self.protocol = Protocol(
            lambda principal: Context(doris=self.pool, limits=limits, principal=principal), self.metrics
        )
        self.manager = StreamableHTTPSessionManager(
            self.protocol.server,
            stateless=True,
            # No JSON-only mode: with it a client that goes away no longer cancels the handler.
            json_response=False,
            # asgi has checked Host and Origin before the token; None would also switch the check off, silently.
            security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
            max_request_body_size=settings.max_body_bytes,
        )
        self.asgi = Application(
            settings,
            gate=self.gate,
            health=self.health,
            verifier=Verifier(settings, self.store),
            metrics=self.metrics,
            mcp=self.manager.handle_request,
            lifespan=self._lifespan,
        )

    def end_streams(self) -> None:
        """Give every open event stream its final frame: the server is about to stop."""
        self.protocol.listen.close()

    async def _ping_doris(self) -> None:
        if not self.settings.doris_host:
            raise DorisUnavailable(
                "DORIS_HOST is not set", hint="set DORIS_HOST, or try the demo engine with --sandbox"
            )
        await self.pool.ping()

    @contextlib.asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        """The HTTP worker's life. Starting needs neither Doris nor the store: health finds out."""
        # sse-starlette would cut legacy answers half a second into an exit; the drain waits for them instead.
        AppStatus.disable_automatic_graceful_drain()  # type: ignore[no-untyped-call]
        watch = asyncio.create_task(self.health.watch())
        try:
            async with self.manager.run():
                yield
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
            await self._close()

    async def _close(self) -> None:
        await _bounded("doris pool", self.pool.close(CLOSE_LIMIT))
        await _bounded("store", self.store.close())

    async def serve_stdio(self) -> None:
        """One client on stdin and stdout, until stdin ends."""
        server = self.protocol.server
        try:
            async with stdio_server() as (reader, writer):
                await server.run(reader, writer, server.create_initialization_options())
        finally:
            await self._close()


async def _bounded(name: str, closing: Awaitable[None]) -> None:
    """Close one part: at most CLOSE_LIMIT seconds, and its failure never keeps the next from closing."""
    started = time.monotonic()
    result = "closed"
    try:
        async with asyncio.timeout(CLOSE_LIMIT):
            await closing
    except TimeoutError:
        result = f"not closed within {CLOSE_LIMIT:g} s"
    except Exception as error:  # the shutdown path must reach its end whatever a part does
        result = f"failed to close: {error!r}"
    level = logging.INFO if result == "closed" else logging.WARNING
    event(f"{name} {result}", level=level, ms=round((time.monotonic() - started) * 1e3, 1))
