"""What the server tells its operators: JSON log lines with secrets taken out, and Prometheus metrics.

A leaf: imports nothing of the package. Both are made for the hot path: a log line or a count costs a microsecond or
two, and what is slow (writing, prometheus_client) happens once for many.
"""

import os
import socket
from typing import TYPE_CHECKING

from doris_mcp_server.observe.logs import RepeatedEvent, configure_logging, event, flush_logs, set_level
from doris_mcp_server.observe.metrics import Metrics
from doris_mcp_server.observe.redaction import redact

if TYPE_CHECKING:
    from doris_mcp_server.observe.instruments import Instruments

__all__ = [
    "Instruments",
    "Metrics",
    "RepeatedEvent",
    "configure_logging",
    "event",
    "flush_logs",
    "notify_systemd",
    "redact",
    "set_level",
]


def notify_systemd(state: str) -> None:
    """Tell systemd (sd_notify(3)); without NOTIFY_SOCKET, nothing."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
        sock.sendall(state.encode())
