"""All ways to Doris of one worker: for each cluster and account a pool, and how every frontend does.

Which account a caller comes as follows from who the caller is, never from what is asked (clusters.Cluster.account_of).
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

from doris_mcp_server import clusters
from doris_mcp_server.doris.driver import Driver, Login
from doris_mcp_server.doris.frontends import OPEN_AFTER, Frontend, Frontends
from doris_mcp_server.doris.pool import Pool, Room, Route
from doris_mcp_server.doris.wire import Answered, Lost, Wire
from doris_mcp_server.errors import DorisRefusedLogin, DorisUnavailable, InvalidArgument

# A frontend that takes longer to answer a ping, twice, counts as gone. With a second between two looks, what runs on
# one that hangs goes on elsewhere within three.
PROBE_SECONDS: Final = 0.9


class Cluster:
    """One Doris: its frontends, a pool for each account that was asked for, and a look at how it does."""

    def __init__(
        self, config: clusters.Cluster, *, driver: Driver, pool_size: int, connect_timeout: float, room: Room
    ) -> None:
        self.config = config
        self.name = config.name
        self.frontends = Frontends(config.addresses)
        self._tls = config.tls_context()
        self.pools: dict[str, Pool] = {}
        self._driver = driver
        self._pool_size = pool_size
        self._connect_timeout = connect_timeout
        self._room = room
        self._probes = [Probe(frontend, self) for frontend in self.frontends.all]

    def pool(self, account: str) -> Pool:
        """The pool of one of its accounts, made when it is first asked for. Connects to nothing."""
        pool = self.pools.get(account)
        if pool is None:
            who = self.config.accounts[account]
            login = Login(who.user, who.password, who.database, self._tls)
            pool = self.pools[account] = Pool(
                Route(self.frontends, login, self._driver),
                size=self._pool_size,
                connect_timeout=self._connect_timeout,
                room=self._room,
            )
        return pool

    @property
    def available(self) -> bool:
        """Whether a frontend answers, as far as is known."""
        return not all(frontend.open for frontend in self.frontends.all)

    async def ping(self) -> None:
        """Look at every frontend. DorisUnavailable when none answers, DorisRefusedLogin when the account may not in."""
        looks = await asyncio.gather(*(probe.look() for probe in self._probes), return_exceptions=True)
        failures = [look for look in looks if look is not None]
        if len(failures) < len(looks):
            return
        for failure in failures:
            if not isinstance(failure, DorisUnavailable):
                raise failure
        if len(failures) == 1:
            raise failures[0]
        reasons = "; ".join(str(failure) for failure in failures)
        raise DorisUnavailable(f"No frontend answers: {reasons}")

    async def close(self, timeout: float) -> None:
        """Close every pool and probe within `timeout` seconds."""
        for probe in self._probes:
            probe.close()
        await asyncio.gather(*(pool.close(timeout) for pool in self.pools.values()))


class Probe:
    """Looks at one frontend over a connection of its own, so that a busy pool says nothing about it."""

    def __init__(self, frontend: Frontend, cluster: Cluster) -> None:
        self.frontend = frontend
        self._cluster = cluster
        self._wire: Wire | None = None

    async def look(self) -> None:
        """One round trip. Raises DorisUnavailable when it gets no answer twice in a row, or DorisRefusedLogin."""
        loop = asyncio.get_running_loop()
        try:
            try:
                await self._ping()
            except DorisUnavailable:
                await self._ping()
        except DorisUnavailable as error:
            # Twice in a row is as sure as OPEN_AFTER callers: nothing goes there until it answers again.
            self.frontend.failed(error, loop.time(), times=OPEN_AFTER)
            for pool in self._cluster.pools.values():
                pool.abandon(self.frontend)
            raise
        self.frontend.worked()

    async def _ping(self) -> None:
        done = False
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                if self._wire is None or not self._wire.usable:
                    self._wire = await self._connect()
                await self._wire.ping()
            done = True
        except TimeoutError:
            raise DorisUnavailable(f"{self.frontend} did not answer a ping within {PROBE_SECONDS:g} s") from None
        except Lost:
            raise DorisUnavailable(f"{self.frontend} closed the connection") from None
        except Answered as answer:
            raise DorisUnavailable(f"{self.frontend} answered a ping with: {answer.text}") from None
        except DorisRefusedLogin:
            self.frontend.worked()
            raise
        finally:
            if not done:
                self.close()

    async def _connect(self) -> Wire:
        config = self._cluster.config
        pool = self._cluster.pool(config.fallback or next(iter(config.accounts)))
        return await pool.connect(self.frontend)

    def close(self) -> None:
        if self._wire is not None:
            self._wire.abort()
            self._wire = None


class Routes:
    """The clusters of a worker, the default one first. Making it connects to nothing."""

    def __init__(
        self,
        configured: Sequence[clusters.Cluster],
        *,
        driver: Driver,
        pool_size: int,
        max_connections: int,
        connect_timeout: float,
    ) -> None:
        room = Room(max_connections)
        self.clusters = {
            config.name: Cluster(
                config,
                driver=driver,
                pool_size=min(pool_size, max_connections),
                connect_timeout=connect_timeout,
                room=room,
            )
            for config in configured
        }
        self.default = next(iter(self.clusters), None)
        self._pools: dict[tuple[str | None, str], Pool] = {}

    def pool(self, cluster: str | None, principal: str) -> Pool:
        """The pool of the caller's own account at a cluster, None: the default one.

        Raises: InvalidArgument where there is no such cluster, or the caller has no account there;
        DorisUnavailable where no Doris is configured.
        """
        pool = self._pools.get((cluster, principal))
        if pool is None:
            found = self.cluster(cluster)
            account = found.config.account_of(principal)
            if account is None:
                raise InvalidArgument(
                    f"no Doris account is bound to you at the cluster {found.name}",
                    hint="ask the operator to name you under `principals` in DORIS_MCP_CLUSTERS",
                )
            if len(self._pools) >= 10_000:
                self._pools.clear()  # bounded; each is found again by its account
            pool = self._pools[cluster, principal] = found.pool(account)
        return pool

    def cluster(self, name: str | None) -> Cluster:
        """A cluster by name, None: the default one. InvalidArgument, DorisUnavailable as `pool`."""
        if self.default is None:
            raise DorisUnavailable(
                "DORIS_HOST is not set", hint="set DORIS_HOST, or try the demo engine with --sandbox"
            )
        found = self.clusters.get(name or self.default)
        if found is None:
            raise InvalidArgument(f"there is no cluster {name!r}", hint="list_clusters shows those there are")
        return found

    def open_to(self, principal: str) -> Iterator[Cluster]:
        """The clusters at which the caller has an account."""
        return (c for c in self.clusters.values() if c.config.account_of(principal) is not None)

    async def close(self, timeout: float) -> None:
        """Close all pools side by side, within `timeout` seconds."""
        await asyncio.gather(*(cluster.close(timeout) for cluster in self.clusters.values()))
