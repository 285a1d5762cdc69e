"""The metrics as Prometheus sees them: names, labels, buckets, and how the values of several workers become one.

Imported when PROMETHEUS_MULTIPROC_DIR is set: prometheus_client looks for it once, when it is imported itself.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from doris_mcp_server.observe.past import reading


class BatchHistogram(Histogram):
    """A histogram that takes many observations at once."""

    def observe_many(self, counts: Sequence[int], total: float) -> None:
        """Add observations: how many in each bucket (not cumulative, the last one unbounded), and their sum."""
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


class Instruments:
    """The values of one process; `buckets` are the upper bounds of the tool seconds."""

    def __init__(self, buckets: Sequence[float]) -> None:
        # In multi-process mode the files are the truth; this registry only holds the instruments.
        self._registry = registry = CollectorRegistry()
        self.requests = Counter("doris_mcp_requests", "HTTP requests answered", ["route", "status"], registry=registry)
        self.tool_calls = Counter(
            "doris_mcp_tool_calls", "Tool calls by outcome", ["tool", "outcome"], registry=registry
        )
        self.tool_seconds = BatchHistogram(
            "doris_mcp_tool_seconds",
            "Duration of tool calls in seconds",
            ["tool"],
            buckets=buckets,
            registry=registry,
        )
        self.refused_draining = Counter(
            "doris_mcp_drain_refused", "Requests answered 503 by the drain gate", registry=registry
        )
        self.auth_failures = Counter(
            "doris_mcp_auth_failures", "Requests without a valid bearer token", ["reason"], registry=registry
        )
        self.oauth = {
            what: Counter(f"doris_mcp_oauth_{name}", f"{words}, by outcome", ["outcome"], registry=registry)
            for what, name, words in (
                ("login", "logins", "Logins at the authorization server"),
                ("code", "codes", "Authorization codes issued and redeemed"),
                ("refresh", "refreshes", "Refreshes of tokens"),
            )
        }
        self.shutdown_steps = Counter(
            "doris_mcp_shutdown_steps",
            "Steps of the ends of workers, by result: ok, cut, late or failed",
            ["step", "result"],
            registry=registry,
        )
        self.shutdown_seconds = Histogram(
            "doris_mcp_shutdown_step_seconds",
            "Duration of these steps in seconds",
            ["step"],
            buckets=buckets,
            registry=registry,
        )
        self.retries = Counter(
            "doris_mcp_statement_retries",
            "Statements sent again because their connection ended first",
            ["cluster"],
            registry=registry,
        )
        self.failovers = Counter(
            "doris_mcp_failovers",
            "Connections made to another frontend than the first",
            ["cluster"],
            registry=registry,
        )
        self.kills = Counter("doris_mcp_kills", "Statements ended by KILL", ["cluster", "outcome"], registry=registry)
        self.frontend_up = Gauge(
            "doris_mcp_frontend_up",
            "1 while a frontend is being asked, 0 while one of the workers leaves it alone",
            ["cluster", "frontend"],
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.connections = Gauge(
            "doris_mcp_connections",
            "Connections to Doris, by cluster, account and whether a statement has it",
            ["cluster", "account", "state"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.waiting = Gauge(
            "doris_mcp_calls_waiting",
            "Calls that wait until others end",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.key_ring = Gauge(
            "doris_mcp_key_ring",
            "Revision of the key ring of the worker that is furthest behind; 0 without one in the store",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.key_age = Gauge(
            "doris_mcp_key_age_seconds",
            "How long the current key of the ring has been in use; 0 without one",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.fleet_workers = Gauge(
            "doris_mcp_fleet_workers",
            "Workers of the fleet, as the store has them, or had them last; of the worker that knows fewest",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.rate_limited = Counter(
            "doris_mcp_rate_limited",
            "Requests answered 429 because a rate limit was reached: principal, tool, address or failure",
            ["limit"],
            registry=registry,
        )
        self.rate_limit_fallback = Gauge(
            "doris_mcp_rate_limit_fallback",
            "1 while the store is away and a worker keeps to its own share of the rate limits",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.concurrency_limited = Counter(
            "doris_mcp_concurrency_limited",
            "Calls answered 429 because as many ran at once: of a principal, of a tool or from an address",
            ["limit"],
            registry=registry,
        )
        self.concurrency_limit_fallback = Gauge(
            "doris_mcp_concurrency_limit_fallback",
            "1 while the store is away and a worker keeps to its own share of the concurrency limits",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.store_up = Gauge(
            "doris_mcp_store_up",
            "1 while the store answers, 0 while it does not answer one of the workers; always 1 without Redis",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.store_operations = Counter(
            "doris_mcp_store_operations",
            "Operations of the store by outcome: ok or unavailable",
            ["op", "outcome"],
            registry=registry,
        )
        self.revoked = Gauge(
            "doris_mcp_revoked_tokens",
            "Revoked tokens that the worker knows which knows fewest; gone some time after they would have expired",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.config_version = Gauge(
            "doris_mcp_config_version",
            "Version of the fleet's settings on the worker that is furthest behind; 0 where nothing is set",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.config_reloads = Counter(
            "doris_mcp_config_reloads",
            "Versions of the fleet's settings taken in by workers, by outcome: applied, partly or unreadable",
            ["outcome"],
            registry=registry,
        )
        self.inflight = Gauge(
            "doris_mcp_requests_in_flight",
            "MCP requests being worked on",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.ready = Gauge(
            "doris_mcp_ready_workers",
            "Workers that are ready",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.draining = Gauge(
            "doris_mcp_draining",
            "1 while this host is drained",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.build_info = Gauge(
            "doris_mcp_build_info",
            "The release that runs, as a label",
            ["release"],
            registry=registry,
            multiprocess_mode="livemax",
        )

    def render(self) -> bytes:
        """The exposition text: of this process, or of all whose files are in PROMETHEUS_MULTIPROC_DIR."""
        directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if not directory:
            return generate_latest(self._registry)
        merged = CollectorRegistry()
        MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
        with reading(Path(directory)):
            return generate_latest(merged)
