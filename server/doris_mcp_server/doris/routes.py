"""All ways to Doris of one worker, by cluster and account, and how every frontend does.

Which account a caller comes as follows from who the caller is, never from what is asked (clusters.Cluster.account_of).
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from doris_mcp_server import clusters
from doris_mcp_server.clusters import Account, Caller
from doris_mcp_server.doris import grants
from doris_mcp_server.doris.capabilities import Capabilities, Watched
from doris_mcp_server.doris.driver import Driver, Login
from doris_mcp_server.doris.frontends import OPEN_AFTER, Frontend, Frontends
from doris_mcp_server.doris.grants import Grants
from doris_mcp_server.doris.http import AccountHTTP, FrontendHTTP
from doris_mcp_server.doris.pool import Limits, Pool, Room, Route, Rows
from doris_mcp_server.doris.wire import Answered, Lost, Wire
from doris_mcp_server.errors import DorisRefusedLogin, DorisUnavailable, InvalidArgument, ServerError

KEPT: Final = 10_000  # callers whose ways are remembered
TIDY: Final = 60.0  # seconds between looks for ways that nobody takes any more
OWN_LIMITS: Final = Limits(timeout_s=10.0, max_rows=1000, max_bytes=1 << 20)  # of the statements we ask for ourselves
# A frontend that takes longer to answer a ping, twice, counts as gone. With a second between two looks, what runs on
# one that hangs goes on elsewhere within three.
PROBE_SECONDS: Final = 0.9


@dataclass(frozen=True)
class HTTPLimits:
    """What one answer of a frontend's HTTP port may take: seconds, and bytes."""

    timeout: float = 5.0
    max_bytes: int = 4 << 20


@dataclass(frozen=True, slots=True)
class Way:
    """One account's way to one cluster: for statements, and over HTTP where that is configured."""

    pool: Pool
    http: AccountHTTP | None


class Cluster:
    """One Doris: its frontends, a way for each account that was asked for, and a look at how it does."""

    def __init__(
        self,
        config: clusters.Cluster,
        *,
        driver: Driver,
        pool_size: int,
        connect_timeout: float,
        room: Room,
        http: HTTPLimits,
    ) -> None:
        self.config = config
        self.name = config.name
        self.frontends = Frontends(config.addresses)
        self.ways: dict[Account, Way] = {}
        self._past: Counter[str] = Counter()
        self._tls = config.tls_context()
        self._http = None
        if config.http_port:
            addresses = [(host, config.http_port) for host, _ in config.addresses]
            tls = config.https_context()
            self._http = FrontendHTTP(addresses, tls=tls, timeout=http.timeout, max_bytes=http.max_bytes)
        self._watched = Watched(config.name, partial(self._ask, self.own_account))
        self._answers = True
        self._driver = driver
        self._pool_size = pool_size
        self._connect_timeout = connect_timeout
        self._room = room
        self._probes = [Probe(frontend, self) for frontend in self.frontends.all]

    def way(self, account: Account) -> Way:
        """The way of an account, made when it is first asked for. Connects to nothing."""
        way = self.ways.get(account)
        if way is None:
            login = Login(account.user, account.password, account.database, self._tls)
            pool = Pool(
                Route(self.frontends, login, self._driver),
                size=self._pool_size,
                connect_timeout=self._connect_timeout,
                room=self._room,
            )
            http = self._http.account(account.user, account.password) if self._http else None
            way = self.ways[account] = Way(pool, http)
        return way

    async def admit(self, account: Account) -> None:
        """Log in as `account`, and out again, whatever ways there are and however the frontends did before.

        What comes of it is not counted as theirs: anybody may try. Raises: DorisRefusedLogin, DorisUnavailable.
        """
        login = Login(account.user, account.password, None, self._tls)

        async def connect(frontend: Frontend) -> Wire:
            return await Wire.open(frontend, login, self._driver)

        wire = await Frontends(self.config.addresses).first(connect, self._connect_timeout)
        wire.abort()

    def tidy(self) -> int:
        """Forget the ways of callers' own accounts that nobody takes any more; how many there were."""
        own = set(self.config.accounts.values())
        unused = [account for account, way in self.ways.items() if way.pool.unused() and account not in own]
        for account in unused:
            self._past += _counts(self.ways.pop(account).pool)
        return len(unused)

    def counts(self) -> Counter[str]:
        """What all ways there were have counted: `retries`, and kills `sent` and `failed`."""
        return sum((_counts(way.pool) for way in self.ways.values()), self._past.copy())

    @property
    def own_account(self) -> Account:
        """The account this server itself comes as, to look how the cluster does."""
        return self.config.accounts[self.config.fallback or next(iter(self.config.accounts))]

    @property
    def own_way(self) -> Way:
        """Its way."""
        return self.way(self.own_account)

    @property
    def capabilities(self) -> Capabilities | None:
        """What the cluster is and offers, as the last look found it; None before the first one."""
        return self._watched.current

    async def grants(self, account: Account) -> Grants:
        """What an account may do, asked as that account; unknown where it cannot be asked."""
        try:
            return await grants.ask(partial(self._ask, account))
        except ServerError as error:
            return Grants(unknown=error.message)

    async def watch(self) -> None:
        """Find out what the cluster offers, now and again, until cancelled."""
        await self._watched.run()

    @property
    def available(self) -> bool:
        """Whether a frontend answers, as far as is known."""
        return not all(frontend.open for frontend in self.frontends.all)

    def report(self) -> dict[str, Any]:
        """How each frontend does: null, or what is wrong."""
        return {"frontends": {str(f): f.fault.message if f.fault else None for f in self.frontends.all}}

    async def ping(self) -> None:
        """Look at every frontend. DorisUnavailable when none answers, DorisRefusedLogin when the account may not in."""
        looks = await asyncio.gather(*(probe.look() for probe in self._probes), return_exceptions=True)
        failures = [look for look in looks if look is not None]
        answered, self._answers = self._answers, len(failures) < len(looks)
        if self._answers:
            if not answered:
                self._watched.look_again()
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
        closing = [way.pool.close(timeout) for way in self.ways.values()]
        if self._http:
            closing.append(self._http.close())
        await asyncio.gather(*closing)

    async def _ask(self, account: Account, sql: str) -> Rows:
        return await self.way(account).pool.query(sql, catalog=None, database=None, limits=OWN_LIMITS)


def _counts(pool: Pool) -> Counter[str]:
    return Counter(retries=pool.retries, **pool.kills.counts)


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
            for way in self._cluster.ways.values():
                way.pool.abandon(self.frontend)
            raise
        self.frontend.worked()

    async def _ping(self) -> None:
        done = False
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                if self._wire is None or not self._wire.usable:
                    self._wire = await self._cluster.own_way.pool.connect(self.frontend)
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
        http: HTTPLimits = HTTPLimits(),
    ) -> None:
        room = Room(max_connections)
        self.clusters = {
            config.name: Cluster(
                config,
                driver=driver,
                pool_size=min(pool_size, max_connections),
                connect_timeout=connect_timeout,
                room=room,
                http=http,
            )
            for config in configured
        }
        self.default = next(iter(self.clusters), None)
        self._ways: dict[tuple[str | None, Caller], Way] = {}

    def way(self, cluster: str | None, caller: Caller) -> Way:
        """The way of the caller's own account to a cluster, None: the default one.

        Raises: InvalidArgument where there is no such cluster, or the caller has no account there;
        DorisUnavailable where no Doris is configured.
        """
        way = self._ways.get((cluster, caller))
        if way is None:
            found = self.cluster(cluster)
            account = found.config.account_of(caller)
            if account is None:
                raise InvalidArgument(
                    f"no Doris account is bound to you at the cluster {found.name}",
                    hint="ask the operator to name you under `principals` in DORIS_MCP_CLUSTERS",
                )
            if len(self._ways) >= KEPT:
                self._ways.clear()  # bounded; each is found again by its account
            way = self._ways[cluster, caller] = found.way(account)
        return way

    def cluster(self, name: str | None) -> Cluster:
        """A cluster by name, None: the default one. InvalidArgument, DorisUnavailable as `way`."""
        if self.default is None:
            raise DorisUnavailable(
                "DORIS_HOST is not set", hint="set DORIS_HOST, or try the demo engine with --sandbox"
            )
        found = self.clusters.get(name or self.default)
        if found is None:
            raise InvalidArgument(f"there is no cluster {name!r}", hint="list_clusters shows those there are")
        return found

    def open_to(self, caller: Caller) -> Iterator[Cluster]:
        """The clusters at which the caller has an account."""
        return (c for c in self.clusters.values() if c.config.account_of(caller) is not None)

    def accounts(self) -> dict[str, Any]:
        """What the account this server looks with may do, by cluster, as far as it was looked at."""
        seen = {name: cluster.capabilities for name, cluster in self.clusters.items()}
        return {name: capabilities.grants.report() for name, capabilities in seen.items() if capabilities}

    async def grants(self) -> dict[tuple[str, str], Grants]:
        """What each configured account may do, asked now: {(cluster, the account's name there): its grants}."""
        named = [(c, name, account) for c in self.clusters.values() for name, account in c.config.accounts.items()]
        found = await asyncio.gather(*(cluster.grants(account) for cluster, _, account in named))
        return {(cluster.name, name): each for (cluster, name, _), each in zip(named, found, strict=True)}

    async def watch(self) -> None:
        """Find out what each cluster offers, and forget what nobody needs any more, until cancelled."""
        await asyncio.gather(self._tidy(), *(cluster.watch() for cluster in self.clusters.values()))

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY)
            if sum(cluster.tidy() for cluster in self.clusters.values()):
                self._ways.clear()

    async def close(self, timeout: float) -> None:
        """Close all pools side by side, within `timeout` seconds."""
        await asyncio.gather(*(cluster.close(timeout) for cluster in self.clusters.values()))
