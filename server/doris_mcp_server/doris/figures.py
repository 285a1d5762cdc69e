"""How the ways to Doris do, as metrics: what the pools and frontends count, brought to a scrape once a second."""

from collections import defaultdict
from typing import TYPE_CHECKING

from doris_mcp_server.doris.routes import Cluster, Routes

if TYPE_CHECKING:
    from doris_mcp_server.observe import Instruments


class Figures:
    """Counters of the pools only grow; the difference to what was shown last goes into the metrics."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._shown: defaultdict[tuple[str, ...], int] = defaultdict(int)

    def show(self, to: "Instruments") -> None:
        """Bring the metrics up to date."""
        for cluster in self._routes.clusters.values():
            pools = [way.pool for way in cluster.ways.values()]
            to.retries.labels(cluster.name).inc(self._new("retries", cluster, sum(p.retries for p in pools)))
            to.failovers.labels(cluster.name).inc(self._new("failovers", cluster, cluster.frontends.failovers))
            for outcome in ("sent", "failed"):
                count = sum(pool.kills.counts[outcome] for pool in pools)
                to.kills.labels(cluster.name, outcome).inc(self._new(outcome, cluster, count))
            for frontend in cluster.frontends.all:
                to.frontend_up.labels(cluster.name, str(frontend)).set(not frontend.open)
            for account, way in cluster.ways.items():
                to.connections.labels(cluster.name, account, "busy").set(way.pool.in_use)
                to.connections.labels(cluster.name, account, "idle").set(way.pool.open - way.pool.in_use)

    def _new(self, what: str, cluster: Cluster, count: int) -> int:
        before, self._shown[what, cluster.name] = self._shown[what, cluster.name], count
        return count - before
