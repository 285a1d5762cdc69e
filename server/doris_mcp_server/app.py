"""The composition root: builds everything of one worker once, and closes it in reverse, each step bounded."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable
from functools import partial

from doris_mcp_server import RELEASE
from doris_mcp_server.answers import Answers
from doris_mcp_server.asgi import Application, Gate
from doris_mcp_server.auth import Verifier
from doris_mcp_server.challenge import Resources
from doris_mcp_server.config import Settings
from doris_mcp_server.doris.driver import choose
from doris_mcp_server.doris.figures import Figures
from doris_mcp_server.doris.pool import Limits
from doris_mcp_server.doris.routes import HTTPLimits, Routes
from doris_mcp_server.health import Check, Health
from doris_mcp_server.keys import KeyRing
from doris_mcp_server.observe import Metrics, event
from doris_mcp_server.protocol import Protocol
from doris_mcp_server.protocol.admission import Admission
from doris_mcp_server.protocol.calls import Calls
from doris_mcp_server.sessions import Sessions
from doris_mcp_server.state import Store, open_store
from doris_mcp_server.state.bus import Bus
from doris_mcp_server.tools import TOOLS, Context, Tool
from doris_mcp_server.tools.cache import ResultCache

DORIS_GOOD_FOR = 1.0  # seconds between looks at frontends that answer: one that hangs is found within three
CLOSE_LIMIT = 3.0  # seconds any one part may take to close


class App:
    """One worker's parts, wired."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.metrics.build_info.labels(RELEASE).set(1)
        answers = Answers(settings.node_name)
        self.gate = Gate(answers)
        self.bus = Bus()
        self.store = open_store(settings, self.bus)
        self.routes = Routes(
            settings.doris,
            driver=choose(settings.driver),
            pool_size=settings.pool_size,
            max_connections=settings.max_connections,
            connect_timeout=settings.doris_connect_timeout,
            http=HTTPLimits(settings.fe_http_timeout, settings.fe_http_max_bytes),
        )
        self.health = Health(_checks(self.routes, self.store if settings.redis_url else None))
        limits = Limits(settings.query_timeout, settings.max_rows, settings.max_result_bytes)
        admission = Admission(
            total=settings.max_concurrent,
            each=settings.max_concurrent_per_principal,
            queued=settings.max_queued,
            patience=settings.queue_seconds,
        )
        self.metrics.sources += [Figures(self.routes).show, lambda to: to.waiting.set(admission.waiting)]
        kept = settings.result_cache_seconds
        results = ResultCache(seconds=kept, max_bytes=settings.result_cache_bytes) if kept else None
        calls = Calls(partial(Context, self.routes, limits, results=results), admission, self.metrics)
        keys = KeyRing.of(settings)
        self.sessions = Sessions(
            keys,
            self.store,
            idle_seconds=settings.session_idle_seconds,
            max_seconds=settings.session_max_seconds,
        )
        resources = Resources(settings)
        self.protocol = Protocol(settings, _tools(settings), calls, answers, self.sessions, self.bus, keys, resources)
        self.asgi = Application(
            settings,
            answers=answers,
            gate=self.gate,
            health=self.health,
            verifier=Verifier(settings, self.store),
            resources=resources,
            metrics=self.metrics,
            protocol=self.protocol,
            lifespan=self._lifespan,
        )

    def end_streams(self) -> None:
        """Give every open event stream its final frame: the server is about to stop."""
        self.protocol.end_streams()

    @contextlib.asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        """The life of all parts. Starting needs neither Doris nor the store: health finds out."""
        watches = [asyncio.create_task(self.health.watch()), asyncio.create_task(self.routes.watch())]
        try:
            yield
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
            await self._close()

    async def _close(self) -> None:
        await _bounded("protocol", self.protocol.close())
        await _bounded("sessions", self.sessions.close())
        await _bounded("doris pool", self.routes.close(CLOSE_LIMIT))
        await _bounded("store", self.store.close())

    async def serve_stdio(self) -> None:
        """One client on stdin and stdout, until stdin ends."""
        async with self._lifespan():
            await (await self.protocol.sdk()).serve_stdio()


def _checks(routes: Routes, store: Store | None) -> list[Check]:
    """One for each cluster, where one is enough, and one for the store."""

    async def nowhere() -> None:
        routes.cluster(None)

    checks = []
    for name, cluster in routes.clusters.items():
        label = "doris" if name == routes.default else f"doris:{name}"
        checks.append(Check(label, cluster.ping, "doris", DORIS_GOOD_FOR, cluster.report))
    if not checks:
        checks.append(Check("doris", nowhere, "doris"))
    if store is not None:
        checks.append(Check("store", store.ping, "store"))
    return checks


def _tools(settings: Settings) -> tuple[Tool, ...]:
    if settings.test_fixtures == "none":
        return TOOLS
    from doris_mcp_server import fixtures

    return (*TOOLS, *fixtures.TOOLS)


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
