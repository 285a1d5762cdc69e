"""What the server tells its operators: JSON log lines with secrets taken out, and Prometheus metrics.

A leaf: imports nothing of the package. Metrics of all workers of a host are merged through the files in
PROMETHEUS_MULTIPROC_DIR, so a scrape of any worker shows the host.
"""

import json
import logging
import os
import re
import socket
import sys
from datetime import UTC, datetime

_SECRET = re.compile(
    r"(?i)(bearer\s+)[^\s\"',;]+"
    r"|((?:password|passwd|token|secret|authorization)[\"']?\s*[=:]\s*[\"']?)[^\s\"',;]+"
    r"|(://[^:/\s@]*:)[^@\s]+(?=@)"
)


def redact(text: str) -> str:
    """`text` with bearer tokens, passwords in assignments and passwords in URLs replaced by `***`."""
    return _SECRET.sub(lambda m: f"{m.group(1) or m.group(2) or m.group(3)}***", text)


class JsonFormatter(logging.Formatter):
    """One JSON object a line; line breaks and control characters of a message cannot forge another line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
            "message": redact(record.getMessage()),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=True, default=str)


def configure_logging(level: str) -> None:
    """JSON lines on stderr for everything; stdout belongs to the stdio transport."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("mcp", "uvicorn", "sqlglot", "httpx", "sse_starlette"):
        logging.getLogger(chatty).setLevel(max(logging.getLevelName(level), logging.WARNING))


log = logging.getLogger("doris_mcp")


def event(message: str, *, level: int = logging.INFO, **fields: object) -> None:
    """Log `message` with `fields` as JSON members beside it."""
    log.log(level, message, extra={"fields": fields})


class Metrics:
    """The counters of one process. Built once, after PROMETHEUS_MULTIPROC_DIR is set."""

    def __init__(self) -> None:
        import prometheus_client as prom  # reads PROMETHEUS_MULTIPROC_DIR when first imported

        self._prom = prom
        self.registry = registry = prom.CollectorRegistry()
        # In multi-process mode the files are the truth; this registry only holds the instruments.
        self.requests = prom.Counter(
            "doris_mcp_requests", "HTTP requests answered", ["route", "status"], registry=registry
        )
        self.tool_calls = prom.Counter(
            "doris_mcp_tool_calls", "Tool calls by outcome", ["tool", "outcome"], registry=registry
        )
        self.tool_seconds = prom.Histogram(
            "doris_mcp_tool_seconds",
            "Duration of tool calls in seconds",
            ["tool"],
            buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
            registry=registry,
        )
        self.refused_draining = prom.Counter(
            "doris_mcp_drain_refused", "Requests answered 503 by the drain gate", registry=registry
        )
        self.auth_failures = prom.Counter(
            "doris_mcp_auth_failures", "Requests without a valid bearer token", ["reason"], registry=registry
        )
        self.inflight = prom.Gauge(
            "doris_mcp_requests_in_flight",
            "MCP requests being worked on",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.ready = prom.Gauge(
            "doris_mcp_ready_workers",
            "Workers that are ready",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.draining = prom.Gauge(
            "doris_mcp_draining",
            "1 while this host is drained",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.build_info = prom.Gauge(
            "doris_mcp_build_info",
            "The release that runs, as a label",
            ["release"],
            registry=registry,
            multiprocess_mode="livemax",
        )

    def render(self) -> bytes:
        """The exposition text of all workers of this host."""
        if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            return self._prom.generate_latest(self.registry)
        from prometheus_client import multiprocess

        merged = self._prom.CollectorRegistry()
        multiprocess.MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
        return self._prom.generate_latest(merged)


def notify_systemd(state: str) -> None:
    """Tell systemd (sd_notify(3)); without NOTIFY_SOCKET, nothing."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
        sock.sendall(state.encode())
