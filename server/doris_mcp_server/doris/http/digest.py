"""The few of a frontend's several hundred metrics that tell how it is doing.

Names and labels are those of MetricRepo and PrometheusMetricVisitor of the frontend (2.1 to 4.0).
"""

import math
import re
from dataclasses import dataclass
from typing import Final

from doris_mcp_server.doris.capabilities import Nodes

_SAMPLE: Final = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>[^}]*)\})?\s+(?P<value>\S+)", re.MULTILINE)
_BLANK: Final = re.compile(r",\s+")
# In storage-compute mode every sample carries these as well.
_CLUSTER: Final = re.compile(r'(?:^|,)cluster_(?:id|name)="[^"]*"')


@dataclass(frozen=True, slots=True)
class Digest:
    """None where the frontend did not tell. Rates per second, latency in milliseconds, counts since its start."""

    queries_per_second: float | None
    connections: int | None
    query_latency_p99_ms: float | None
    queries: int | None
    query_errors: int | None
    heap_used_bytes: int | None
    heap_max_bytes: int | None
    backends: Nodes | None


def digest(text: str) -> Digest:
    """A frontend's /metrics as a Digest; lines that are no samples are passed over."""
    samples = {(found["name"], _labels(found["labels"] or "")): found["value"] for found in _SAMPLE.finditer(text)}

    def number(name: str, labels: str = "") -> float | None:
        try:
            value = float(samples[name, labels])
        except (KeyError, ValueError):
            return None
        return value if math.isfinite(value) else None

    def count(name: str, labels: str = "") -> int | None:
        value = number(name, labels)
        return None if value is None else int(value)

    alive, total = (count("node_info", f'type="be_node_num",state="{state}"') for state in ("alive", "total"))
    return Digest(
        queries_per_second=number("doris_fe_qps"),
        connections=count("doris_fe_connection_total"),
        query_latency_p99_ms=number("doris_fe_query_latency_ms", 'quantile="0.99"'),
        queries=count("doris_fe_query_total"),
        query_errors=count("doris_fe_query_err"),
        heap_used_bytes=count("jvm_heap_size_bytes", 'type="used"'),
        heap_max_bytes=count("jvm_heap_size_bytes", 'type="max"'),
        backends=Nodes(alive, total) if alive is not None and total is not None else None,
    )


def _labels(text: str) -> str:
    return _CLUSTER.sub("", _BLANK.sub(",", text)).lstrip(",")
