"""`doris-mcp-server fleet`: who serves, on all hosts, as the workers themselves say it."""

import argparse
import json
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from doris_mcp_server.config import Settings
from doris_mcp_server.registry import Member, members
from doris_mcp_server.shared import opened

_COLUMNS = ("host", "state", "release", "workers", "ready", "in flight", "streams", "since")


async def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the hosts that say they serve. Exit code 0."""
    async with opened(settings, "the workers of the fleet") as shared:
        found = await members(shared.store)
    hosts = [_host(node, list(those)) for node, those in groupby(found, key=lambda member: member.node)]
    print(json.dumps({"hosts": hosts}) if args.json else _in_words(hosts))
    return 0


def _host(node: str, workers: list[Member]) -> dict[str, Any]:
    return {
        "node": node,
        "state": _state({worker.state for worker in workers}),
        "releases": sorted({worker.release for worker in workers}),
        "ready": sum(worker.state == "ready" for worker in workers),
        "inflight": sum(worker.inflight for worker in workers),
        "streams": sum(worker.streams for worker in workers),
        "since": _when(min(worker.started for worker in workers)),
        "reasons": sorted({reason for worker in workers for reason in worker.reasons}),
        "workers": [asdict(worker) | {"started": _when(worker.started)} for worker in workers],
    }


def _state(states: set[str]) -> str:
    """Of a host, in one word: what is not as it should be comes first."""
    return next((state for state in ("draining", "not_ready", "starting") if state in states), "ready")


def _in_words(hosts: list[dict[str, Any]]) -> str:
    if not hosts:
        return "no worker says that it serves: a host that is down, or whose store is away, is not in here"
    rows = [_COLUMNS, *(_row(host) for host in hosts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines + [f"{host['node']}: {reason}" for host in hosts for reason in host["reasons"]])


def _row(host: dict[str, Any]) -> tuple[str, ...]:
    return (
        host["node"],
        host["state"].replace("_", " "),
        ", ".join(host["releases"]),
        str(len(host["workers"])),
        str(host["ready"]),
        str(host["inflight"]),
        str(host["streams"]),
        host["since"],
    )


def _when(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
