"""How the ways to Doris do, as metrics: what the pools and frontends count, brought to a scrape once a second."""

from collections import defaultdict
from typing import TYPE_CHECKING

from doris_mcp_server.doris.routes import Cluster, Routes

if TYPE_CHECKING:
    from doris_mcp_server.observe import Instruments

CALLERS = "(callers)"  # no account in the settings can have this name


class Figures:
    """Counters of the pools only grow; the difference to what was shown last goes into the metrics."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._shown: defaultdict[tuple[str, ...], int] = defaultdict(int)

    def show(self, to: "Instruments") -> None:
        """Bring the metrics up to date."""
        for cluster in self._routes.clusters.values():
            counts = cluster.counts()
            to.retries.labels(cluster.name).inc(self._new("retries", cluster, counts["retries"]))
            to.failovers.labels(cluster.name).inc(self._new("failovers", cluster, cluster.frontends.failovers))
            for outcome in ("sent", "failed"):
                to.kills.labels(cluster.name, outcome).inc(self._new(outcome, cluster, counts[outcome]))
            for frontend in cluster.frontends.all:
                to.frontend_up.labels(cluster.name, str(frontend)).set(not frontend.open)
            for account, (busy, idle) in _connections(cluster).items():
                to.connections.labels(cluster.name, account, "busy").set(busy)
                to.connections.labels(cluster.name, account, "idle").set(idle)

    def _new(self, what: str, cluster: Cluster, count: int) -> int:
        before, self._shown[what, cluster.name] = self._shown[what, cluster.name], count
        return count - before


def _connections(cluster: Cluster) -> dict[str, list[int]]:
    """Busy and idle ones, by the account's name in the settings; those of callers' own accounts are one sum."""
    names = {account: name for name, account in cluster.config.accounts.items()}
    found = {name: [0, 0] for name in (*names.values(), CALLERS)}
    for account, way in cluster.ways.items():
        row = found[names.get(account, CALLERS)]
        row[0] += way.pool.in_use
        row[1] += way.pool.open - way.pool.in_use
    return found
