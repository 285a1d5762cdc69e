"""Metrics: what Prometheus reads is what plain prometheus_client calls would have told it, over all processes."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.multiprocess import mark_process_dead

from doris_mcp_server.observe import Metrics
from doris_mcp_server.observe.instruments import BatchHistogram
from doris_mcp_server.observe.metrics import BUCKETS, Durations

from ..conftest import LIMIT

OURS = """
import json, sys
from doris_mcp_server.observe import Metrics
metrics = Metrics()
metrics.build_info.labels("0.1.0").set(1)
for name, *args in json.loads(sys.argv[1]):
    if name in ("inflight", "ready", "draining"):
        setattr(metrics, name, *args)
    else:
        getattr(metrics, name)(*args)
metrics.flush()
sys.stdout.buffer.write(metrics.render())
"""
# The names, labels, buckets and modes that dashboards and alerts rely on, with a call for each observation.
PLAIN = """
import json, sys
import prometheus_client as prom
from prometheus_client import multiprocess
requests = prom.Counter("doris_mcp_requests", "HTTP requests answered", ["route", "status"])
calls = prom.Counter("doris_mcp_tool_calls", "Tool calls by outcome", ["tool", "outcome"])
seconds = prom.Histogram(
    "doris_mcp_tool_seconds", "Duration of tool calls in seconds", ["tool"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300))
refused = prom.Counter("doris_mcp_drain_refused", "Requests answered 503 by the drain gate")
failures = prom.Counter("doris_mcp_auth_failures", "Requests without a valid bearer token", ["reason"])
prom.Gauge(
    "doris_mcp_key_ring", "Revision of the key ring of the worker that is furthest behind; 0 without one in the store",
    multiprocess_mode="livemin")
prom.Gauge(
    "doris_mcp_key_age_seconds", "How long the current key of the ring has been in use; 0 without one",
    multiprocess_mode="livemax")
prom.Gauge(
    "doris_mcp_config_version",
    "Version of the fleet's settings on the worker that is furthest behind; 0 where nothing is set",
    multiprocess_mode="livemin")
prom.Gauge("doris_mcp_calls_waiting", "Calls that wait until others end", multiprocess_mode="livesum")
prom.Gauge(
    "doris_mcp_fleet_workers",
    "Workers of the fleet, as the store has them, or had them last; of the worker that knows fewest",
    multiprocess_mode="livemin")
prom.Gauge(
    "doris_mcp_rate_limit_fallback",
    "1 while the store is away and a worker keeps to its own share of the rate limits",
    multiprocess_mode="livemax")
prom.Gauge(
    "doris_mcp_concurrency_limit_fallback",
    "1 while the store is away and a worker keeps to its own share of the concurrency limits",
    multiprocess_mode="livemax")
prom.Gauge(
    "doris_mcp_store_up",
    "1 while the store answers, 0 while it does not answer one of the workers; always 1 without Redis",
    multiprocess_mode="livemin")
prom.Gauge(
    "doris_mcp_revoked_tokens",
    "Revoked tokens that the worker knows which knows fewest; gone some time after they would have expired",
    multiprocess_mode="livemin")
inflight = prom.Gauge("doris_mcp_requests_in_flight", "MCP requests being worked on", multiprocess_mode="livesum")
ready = prom.Gauge("doris_mcp_ready_workers", "Workers that are ready", multiprocess_mode="livesum")
draining = prom.Gauge("doris_mcp_draining", "1 while this host is drained", multiprocess_mode="livemax")
info = prom.Gauge(
    "doris_mcp_build_info", "The release that runs, as a label", ["release"], multiprocess_mode="livemax")
info.labels("0.1.0").set(1)
for name, *args in json.loads(sys.argv[1]):
    match name:
        case "request":
            requests.labels(args[0], str(args[1] or "none")).inc()
        case "tool_call":
            calls.labels(args[0], args[1]).inc()
            seconds.labels(args[0]).observe(args[2])
        case "auth_failure":
            failures.labels(args[0]).inc()
        case "drain_refused":
            refused.inc()
        case "flush":
            pass
        case gauge:
            {"inflight": inflight, "ready": ready, "draining": draining}[gauge].set(args[0])
registry = prom.CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
sys.stdout.buffer.write(prom.generate_latest(registry))
"""
FIRST: list[Any] = [
    ["request", "/mcp", 200],
    ["request", "/mcp", 200],
    ["request", "/mcp", 0],
    ["request", "other", 404],
    ["tool_call", "execute_query", "ok", 0.5],  # on a bound
    ["tool_call", "execute_query", "error", 0.5000001],
    ["flush"],
    ["tool_call", "execute_query", "ok", 1000.0],
    ["tool_call", "list_tables", "cancelled", 0.0],
    ["auth_failure", "missing"],
    ["drain_refused"],
    ["inflight", 3],
    ["ready", True],
    ["draining", False],
]
SECOND: list[Any] = [
    ["request", "/mcp", 200],
    ["request", "/mcp", 503],
    ["tool_call", "execute_query", "ok", 0.0078125],
    ["flush"],
    ["flush"],
    ["auth_failure", "missing"],
    ["auth_failure", "invalid"],
    ["drain_refused"],
    ["drain_refused"],
    ["inflight", 2],
    ["ready", True],
    ["draining", True],
]


async def told_by(script: str, observations: list[Any], folder: Path) -> list[str]:
    """The lines of the exposition, sorted: their order depends on the order of the files."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, json.dumps(observations)),
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(LIMIT):
        text, _ = await process.communicate()
    assert process.returncode == 0
    return sorted(text.decode().splitlines())


async def test_two_processes_tell_what_plain_prometheus_calls_would(tmp_path: Path) -> None:
    told = []
    for name, script in (("ours", OURS), ("plain", PLAIN)):
        folder = tmp_path / name
        folder.mkdir()
        await told_by(script, FIRST, folder)
        told.append(await told_by(script, SECOND, folder))
    ours, plain = told
    assert ours == plain
    assert 'doris_mcp_requests_total{route="/mcp",status="200"} 3.0' in ours
    assert 'doris_mcp_tool_seconds_bucket{le="0.5",tool="execute_query"} 2.0' in ours
    assert 'doris_mcp_tool_seconds_count{tool="execute_query"} 4.0' in ours
    assert "doris_mcp_requests_in_flight 5.0" in ours


async def test_counters_outlive_their_process_and_gauges_do_not(tmp_path: Path) -> None:
    killed = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", f"{OURS}\nprint(flush=True)\nmetrics.request('/mcp', 200)\nsys.stdin.read()"),
        json.dumps(FIRST),
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert killed.stdout is not None
    async with asyncio.timeout(LIMIT):
        while (await killed.stdout.readline()).strip():  # the exposition has no empty line; then comes one
            pass
        killed.kill()
        await killed.communicate()
    mark_process_dead(killed.pid, str(tmp_path))  # type: ignore[no-untyped-call]
    told = await told_by(OURS, [["inflight", 1]], tmp_path)
    assert 'doris_mcp_requests_total{route="/mcp",status="200"} 2.0' in told  # without the one after the last flush
    assert 'doris_mcp_tool_calls_total{outcome="ok",tool="execute_query"} 2.0' in told
    assert "doris_mcp_requests_in_flight 1.0" in told
    assert "doris_mcp_ready_workers 0.0" in told


@given(st.lists(st.floats(0, 1000) | st.sampled_from(BUCKETS)))
def test_a_batch_of_observations_is_these_observations(amounts: list[float]) -> None:
    durations = Durations()
    for amount in amounts:
        durations.add(amount)
    texts = []
    for kind in (Histogram, BatchHistogram):
        registry = CollectorRegistry()
        histogram = kind("seconds", "What took how long", ["tool"], buckets=BUCKETS, registry=registry).labels("a")
        if isinstance(histogram, BatchHistogram):
            histogram.observe_many(durations.counts, durations.seconds)
        else:
            for amount in amounts:
                histogram.observe(amount)
        text = generate_latest(registry).decode()
        texts.append([row for row in text.splitlines() if "_created" not in row])
    assert texts[0] == texts[1]


def test_a_batch_has_a_count_for_each_bucket() -> None:
    histogram = BatchHistogram("seconds", "What took how long", buckets=BUCKETS, registry=CollectorRegistry())
    with pytest.raises(ValueError, match="shorter"):
        histogram.observe_many([1], 0.5)


def test_nothing_is_told_before_the_flush_and_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    metrics = Metrics()
    row = 'doris_mcp_tool_calls_total{outcome="ok",tool="list_tables"}'
    metrics.tool_call("list_tables", "ok", 0.25)
    assert row not in metrics.render().decode()
    for _ in range(3):
        metrics.flush()
        assert f"{row} 1.0\n" in metrics.render().decode()
