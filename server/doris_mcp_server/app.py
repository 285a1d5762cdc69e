"""The composition root: builds everything of one worker once, and closes it in reverse, each step bounded."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import partial
from time import time as wall
from typing import Any

from doris_mcp_server import RELEASE
from doris_mcp_server.answers import Answers
from doris_mcp_server.asgi import Application
from doris_mcp_server.auth import Verifier
from doris_mcp_server.auth.challenge import Resources
from doris_mcp_server.auth.permits import Permits
from doris_mcp_server.auth.seats import Seats
from doris_mcp_server.auth.signed import Signed
from doris_mcp_server.centre.follower import Follower
from doris_mcp_server.clusters import Caller
from doris_mcp_server.config import Settings
from doris_mcp_server.doris.driver import choose
from doris_mcp_server.doris.figures import Figures
from doris_mcp_server.doris.pool import Limits
from doris_mcp_server.doris.routes import HTTPLimits, Routes
from doris_mcp_server.gate import Gate
from doris_mcp_server.health import Check, Health
from doris_mcp_server.keys.rotation import Rotation
from doris_mcp_server.oauth import OAuth
from doris_mcp_server.observe import Metrics, set_level
from doris_mcp_server.protocol import Protocol
from doris_mcp_server.protocol.admission import Admission
from doris_mcp_server.protocol.calls import Calls, MakeContext
from doris_mcp_server.registry import Member, Registry
from doris_mcp_server.sessions import Sessions
from doris_mcp_server.state import open_store
from doris_mcp_server.state.bus import Bus
from doris_mcp_server.state.figures import Figures as StoreFigures
from doris_mcp_server.steps import CUT, Steps
from doris_mcp_server.tools import TOOLS, Context, Tool
from doris_mcp_server.tools.cache import ResultCache
from doris_mcp_server.tools.rules import Rules

DORIS_GOOD_FOR = 1.0  # seconds between looks at frontends that answer: one that hangs is found within three
RESERVE = 6.0  # seconds of a shutdown that calls may not use up, at most half of it: other steps come after them
CLOSE_LIMIT = 2.0  # seconds any one part may take to close


class App:
    """One worker's parts, wired."""

    def __init__(self, base: Settings) -> None:
        """`base` are the host's own settings; what the fleet's say comes over them."""
        self.slot = 0  # its place among the workers of its host
        self.address = ""  # where it listens, once it does
        self._born = wall()
        self.bus = Bus()
        self.store = open_store(base, self.bus)
        self.follower = Follower(base, self.store, self.bus)
        settings = self.settings = self.follower.settings
        self.metrics = Metrics()
        self.metrics.build_info.labels(RELEASE).set(1)
        answers = Answers(settings.node_name)
        self.gate = Gate(answers)
        self.routes = Routes(
            settings.doris,
            driver=choose(settings.driver),
            pool_size=settings.pool_size,
            max_connections=settings.max_connections,
            connect_timeout=settings.doris_connect_timeout,
            http=HTTPLimits(settings.fe_http_timeout, settings.fe_http_max_bytes),
        )
        self.rotation = Rotation(settings, self.store, self.bus)
        self.registry = Registry(self.store, self._member)
        checks = _checks(self.routes)
        store = Check("store", self.store.ping, "store")
        if settings.redis_url:
            checks.append(store)
        if settings.token_key:
            checks.append(Check("keyring", self.rotation.check, "keyring"))
            checks.append(Check("settings", self.follower.check, "settings"))
        self.health = Health(checks)
        admission = Admission(**_admitted(settings))
        self.metrics.sources += [
            Figures(self.routes).show,
            StoreFigures(self.store, lambda: store.ok or not settings.redis_url).show,
            lambda to: to.revoked.set(len(self.verifier.denied)),
            self.rotation.show,
            self.follower.show,
            lambda to: to.waiting.set(admission.waiting),
        ]
        tools = _tools(settings)
        self.permits = Permits(settings, self.store, lambda: self.registry.workers, {tool.name for tool in tools})
        self.seats = Seats(settings, self.store, lambda: self.registry.workers, {tool.name for tool in tools})
        self.metrics.sources += [
            self.permits.show,
            self.seats.show,
            lambda to: to.fleet_workers.set(self.registry.workers),
        ]
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
        self.oauth = None
        if settings.oauth:
            self.oauth = OAuth(
                settings,
                store=self.store,
                verifier=self.verifier,
                routes=self.routes,
                keys=keys,
                metrics=self.metrics,
            )
        calls = Calls(
            self._nothing_yet,
            admission,
            self.metrics,
            self.permits,
            self.seats,
            self.oauth.refused if self.oauth else None,
        )
        resources = Resources(settings)
        self.protocol = Protocol(settings, tools, calls, answers, self.sessions, self.bus, keys, resources)
        self.asgi = Application(
            settings,
            answers=answers,
            gate=self.gate,
            health=self.health,
            verifier=self.verifier,
            permits=self.permits,
            issuer_keys=self.rotation.issuer_keys,
            resources=resources,
            metrics=self.metrics,
            protocol=self.protocol,
            oauth=self.oauth,
        )
        self.steps = Steps(settings.drain_seconds, self.metrics)
        # Whoever uses a hot setting takes its new value here. What runs goes on with what it began with.
        self.appliers: tuple[Callable[[Settings], None], ...] = (
            lambda new: set_level(new.log_level),
            lambda new: admission.limit(**_admitted(new)),
            lambda new: calls.use(self._contexts(new)),
            self.protocol.apply,
            self.asgi.apply,
            self.permits.apply,
            self.seats.apply,
        )
        self.follower.apply_to(self.apply)

    def apply(self, settings: Settings) -> None:
        """Use the hot ones of these settings from now on."""
        for use in self.appliers:
            use(settings)

    async def start(self) -> None:
        """What comes before the first request. It needs neither Doris nor the store."""
        await asyncio.gather(self.rotation.start(), self.follower.start())

    async def watch(self) -> None:
        """Look how Doris and the store do, and follow what all hosts share, until cancelled."""
        parts = (self.health, self.routes, self.store, self.rotation, self.follower, self.verifier, self.seats)
        await asyncio.gather(*(part.watch() for part in parts))

    async def hand_over(self, leave: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
        """What comes before a shutdown where another worker has this one's place: nobody is turned away.

        `leave` returns when all clients have left; what it is given, it calls again and again.
        """

        def look() -> None:
            if not self.gate.inflight:
                self.protocol.end_streams()

        await self.steps.run("handover", leave(look), self._patience)

    async def drain(self, others: Callable[[], Awaitable[None]]) -> None:
        """The first part of a shutdown, while clients are still connected: calls finish, streams get a last frame.

        Who is let in meanwhile is for the gate to say. `others` returns when they are as far.
        """
        limit = self._patience
        await self.steps.run("calls", self._finish_calls(limit), limit + CLOSE_LIMIT)
        await self.steps.run("streams", self._end_streams(), CLOSE_LIMIT)
        await self.steps.run("others", others(), self._patience + CLOSE_LIMIT)

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
        await run("background", self._end_background(), CLOSE_LIMIT)
        await run("sessions", self.sessions.close(), CLOSE_LIMIT)
        await run("doris", self.routes.close(CLOSE_LIMIT), CLOSE_LIMIT + 0.5)
        await run("store", self.store.close(), CLOSE_LIMIT)

    async def _end_background(self) -> None:
        await asyncio.gather(self.protocol.close(), self.registry.close(), self.seats.close())

    def _member(self) -> Member:
        """This worker, as the others may know it."""
        state = self.asgi.state()[1] if self.address else "starting"
        return Member(
            node=self.settings.node_name,
            pid=os.getpid(),
            slot=self.slot,
            release=RELEASE,
            state=state,
            started=self._born,
            reasons=tuple(self.health.reasons) if state == "not_ready" else (),
            inflight=self.gate.inflight,
            streams=self.gate.streams,
            address=self.address,
            config=self.settings.config_digest,
            settings=self.follower.version.number,
            settings_started=self.follower.started.number,
            **self.rotation.status(),
        )

    def _nothing_yet(self, caller: Caller, cluster: str | None) -> Context:
        raise self.follower.unknown()

    def _contexts(self, settings: Settings) -> MakeContext:
        """What tools work with under these settings. No result is kept that was made under others."""
        kept = settings.result_cache_seconds
        return partial(
            Context,
            self.routes,
            Limits(settings.query_timeout, settings.max_rows, settings.max_result_bytes),
            results=ResultCache(seconds=kept, max_bytes=settings.result_cache_bytes) if kept else None,
            rules=Rules(
                settings.allowed_tables, settings.masked_columns, settings.closed_tables, settings.refused_functions
            ),
        )


def _admitted(settings: Settings) -> dict[str, Any]:
    return {
        "total": settings.max_concurrent,
        "each": settings.max_concurrent_per_principal,
        "queued": settings.max_queued,
        "patience": settings.queue_seconds,
    }


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
