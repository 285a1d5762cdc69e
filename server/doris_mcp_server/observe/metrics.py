"""What is counted: tallies in plain dicts, moved into prometheus_client's values once a second.

A count costs a dict entry; prometheus_client costs locks, label lookups and writes into a memory map. The metrics of
all workers of a host are merged through the files in PROMETHEUS_MULTIPROC_DIR, so a scrape of any worker shows the
host; a worker that dies takes the counts since its last flush with it.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""Upper bounds of the tool seconds, inclusive; the last bucket, beyond them, has none."""


class Durations:
    """The calls of one tool since the last flush: how many in each bucket, and their sum in seconds."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds


class Metrics:
    """The counters of one process. Built once, in the process they count for, after PROMETHEUS_MULTIPROC_DIR is set.

    Everything but `render` belongs to one thread. `inflight`, `ready` and `draining` are set by their owners and shown
    as they are at each flush, at which every one of `sources` also brings what it counts itself.
    """

    def __init__(self) -> None:
        from doris_mcp_server.observe.instruments import Instruments  # reads PROMETHEUS_MULTIPROC_DIR when imported

        self.inflight = 0
        self.ready = False
        self.draining = False
        self.sources: list[Callable[[Instruments], None]] = []
        self._instruments = Instruments(BUCKETS)
        self.build_info = self._instruments.build_info
        self._requests: defaultdict[tuple[str, int], int] = defaultdict(int)
        self._calls: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._durations: defaultdict[str, Durations] = defaultdict(Durations)
        self._auth_failures: defaultdict[str, int] = defaultdict(int)
        self._oauth: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._drain_refused = 0

    def request(self, route: str, status: int) -> None:
        """One HTTP request is over. `status` is 0 where none was sent; `route` must not be the caller's to choose."""
        self._requests[route, status] += 1

    def tool_call(self, tool: str, outcome: str, seconds: float) -> None:
        """One call of a tool that exists is over."""
        self._calls[tool, outcome] += 1
        self._durations[tool].add(seconds)

    def auth_failure(self, reason: str) -> None:
        """One request came without a valid bearer token."""
        self._auth_failures[reason] += 1

    def oauth(self, what: str, outcome: str) -> None:
        """One `login`, `code` or `refresh` of the authorization server came out like this."""
        self._oauth[what, outcome] += 1

    def drain_refused(self) -> None:
        """One request was answered 503 by the drain gate."""
        self._drain_refused += 1

    def shutdown_step(self, step: str, result: str, seconds: float) -> None:
        """One step of this worker's end is over."""
        self._instruments.shutdown_steps.labels(step, result).inc()
        self._instruments.shutdown_seconds.labels(step).observe(seconds)

    def flush(self) -> None:
        """Move everything into the values that a scrape sees: each second, before `render` and before the exit."""
        to = self._instruments
        while self._requests:
            (route, status), count = self._requests.popitem()
            to.requests.labels(route, str(status or "none")).inc(count)
        while self._calls:
            labels, count = self._calls.popitem()
            to.tool_calls.labels(*labels).inc(count)
        while self._durations:
            tool, durations = self._durations.popitem()
            to.tool_seconds.labels(tool).observe_many(durations.counts, durations.seconds)
        while self._auth_failures:
            reason, count = self._auth_failures.popitem()
            to.auth_failures.labels(reason).inc(count)
        while self._oauth:
            (what, outcome), count = self._oauth.popitem()
            to.oauth[what].labels(outcome).inc(count)
        if self._drain_refused:
            to.refused_draining.inc(self._drain_refused)
            self._drain_refused = 0
        for source in self.sources:
            source(to)
        to.inflight.set(self.inflight)
        to.ready.set(self.ready)
        to.draining.set(self.draining)

    def render(self) -> bytes:
        """The exposition text of all workers of this host. Reads their files: for another thread than the loop's."""
        return self._instruments.render()
