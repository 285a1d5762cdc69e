"""The composition root: builds everything of one worker once, and closes it in reverse, each step bounded."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from doris_mcp_server import RELEASE
from doris_mcp_server.answers import Answers
from doris_mcp_server.asgi import Application
from doris_mcp_server.auth import Verifier
from doris_mcp_server.auth.challenge import Resources
from doris_mcp_server.auth.signed import Signed
from doris_mcp_server.config import Settings
from doris_mcp_server.doris.driver import choose
from doris_mcp_server.doris.figures import Figures
from doris_mcp_server.doris.pool import Limits
from doris_mcp_server.doris.routes import HTTPLimits, Routes
from doris_mcp_server.gate import Gate
from doris_mcp_server.health import Check, Health
from doris_mcp_server.keys.rotation import Rotation
from doris_mcp_server.observe import Metrics
from doris_mcp_server.protocol import Protocol
from doris_mcp_server.protocol.admission import Admission
from doris_mcp_server.protocol.calls import Calls
from doris_mcp_server.sessions import Sessions
from doris_mcp_server.state import open_store
from doris_mcp_server.state.bus import Bus
from doris_mcp_server.steps import CUT, Steps
from doris_mcp_server.tools import TOOLS, Context, Tool
from doris_mcp_server.tools.cache import ResultCache

DORIS_GOOD_FOR = 1.0  # seconds between looks at frontends that answer: one that hangs is found within three
RESERVE = 6.0  # seconds of a shutdown that calls may not use up, at most half of it: other steps come after them
CLOSE_LIMIT = 2.0  # seconds any one part may take to close


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
        self.rotation = Rotation(settings, self.store, self.bus)
        checks = _checks(self.routes)
        if settings.redis_url:
            checks.append(Check("store", self.store.ping, "store"))
        if settings.token_key:
            checks.append(Check("keyring", self.rotation.check, "keyring"))
        self.health = Health(checks)
        limits = Limits(settings.query_timeout, settings.max_rows, settings.max_result_bytes)
        admission = Admission(
            total=settings.max_concurrent,
            each=settings.max_concurrent_per_principal,
            queued=settings.max_queued,
            patience=settings.queue_seconds,
        )
        self.metrics.sources += [
            Figures(self.routes).show,
            self.rotation.show,
            lambda to: to.waiting.set(admission.waiting),
        ]
        kept = settings.result_cache_seconds
        results = ResultCache(seconds=kept, max_bytes=settings.result_cache_bytes) if kept else None
        calls = Calls(partial(Context, self.routes, limits, results=results), admission, self.metrics)
        keys = self.rotation.keys
        self.sessions = Sessions(
            keys,
            self.store,
            self.bus,
            idle_seconds=settings.session_idle_seconds,
            max_seconds=settings.session_max_seconds,
            node=settings.node_name,
        )
        self.verifier = Verifier(settings, self.store, self.bus, signed=Signed(settings, self.rotation.issuer_keys))
        resources = Resources(settings)
        self.protocol = Protocol(settings, _tools(settings), calls, answers, self.sessions, self.bus, keys, resources)
        self.asgi = Application(
            settings,
            answers=answers,
            gate=self.gate,
            health=self.health,
            verifier=self.verifier,
            issuer_keys=self.rotation.issuer_keys,
            resources=resources,
            metrics=self.metrics,
            protocol=self.protocol,
        )
        self.steps = Steps(settings.drain_seconds, self.metrics)

    async def start(self) -> None:
        """What comes before the first request. It needs neither Doris nor the store."""
        await self.rotation.start()

    async def watch(self) -> None:
        """Look how Doris and the store do, and follow what all hosts share, until cancelled."""
        parts = (self.health, self.routes, self.store, self.rotation, self.verifier)
        await asyncio.gather(*(part.watch() for part in parts))

    async def hand_over(self, leave: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
        """What comes before a shutdown where another worker has this one's place: nobody is turned away.

        `leave` returns when all clients have left; what it is given, it calls again and again.
        """

        def look() -> None:
            if not self.gate.inflight:
                self.protocol.end_streams()

        await self.steps.run("handover", leave(look), self._patience)

    async def drain(self) -> None:
        """The first part of a shutdown, while clients are still connected: calls finish, streams get a last frame.

        Who is let in meanwhile is for the gate to say.
        """
        limit = self._patience
        await self.steps.run("calls", self._finish_calls(limit), limit + CLOSE_LIMIT)
        await self.steps.run("streams", self._end_streams(), CLOSE_LIMIT)

    @property
    def _patience(self) -> float:
        """Seconds that calls still have to finish."""
        whole = self.settings.drain_seconds
        return max(0.0, self.steps.left - min(RESERVE, whole / 2))

    async def _finish_calls(self, limit: float) -> str | None:
        try:
            async with asyncio.timeout(limit):
                await self.gate.idle()
            return None
        except TimeoutError:
            self.protocol.end_calls()
        await self.gate.idle()  # what they are answered has to be sent
        return CUT

    async def _end_streams(self) -> None:
        """More than once: one that was let in just before may open only now."""
        self.protocol.end_waiting()
        still = asyncio.create_task(self.gate.still())
        try:
            while not still.done():
                self.protocol.end_streams()
                await asyncio.wait([still], timeout=0.05)
        finally:
            still.cancel()

    async def close(self) -> None:
        """The rest, from the outside to the inside. A step that fails or hangs keeps none of the others waiting."""
        run = self.steps.run
        await run("background", self.protocol.close(), CLOSE_LIMIT)
        await run("sessions", self.sessions.close(), CLOSE_LIMIT)
        await run("doris", self.routes.close(CLOSE_LIMIT), CLOSE_LIMIT + 0.5)
        await run("store", self.store.close(), CLOSE_LIMIT)


def _checks(routes: Routes) -> list[Check]:
    """One for each cluster, where one is enough."""

    async def nowhere() -> None:
        routes.cluster(None)

    checks = []
    for name, cluster in routes.clusters.items():
        label = "doris" if name == routes.default else f"doris:{name}"
        checks.append(Check(label, cluster.ping, "doris", DORIS_GOOD_FOR, cluster.report))
    if not checks:
        checks.append(Check("doris", nowhere, "doris"))
    return checks


def _tools(settings: Settings) -> tuple[Tool, ...]:
    if settings.test_fixtures == "none":
        return TOOLS
    from doris_mcp_server import fixtures

    return (*TOOLS, *fixtures.TOOLS)
