"""`doris-mcp-server session …`: what an operator does with the sessions of clients of the handshake era."""

import argparse
import json
import time
from dataclasses import asdict
from datetime import UTC, datetime

from doris_mcp_server.config import Settings
from doris_mcp_server.sessions.records import Record, Records
from doris_mcp_server.shared import Shared, opened
from doris_mcp_server.state.bus import SESSION_ENDED, SESSIONS_ENDED


async def run(args: argparse.Namespace, settings: Settings) -> int:
    """List or end sessions. Exit code 0, or 1 when there was no such session."""
    async with opened(settings, "sessions") as shared:
        records = Records(
            shared.store, idle_seconds=settings.session_idle_seconds, max_seconds=settings.session_max_seconds
        )
        if args.action == "list":
            return _list(args, await records.all(args.principal))
        if args.principal is None:
            return await _end(args, shared, records)
        return await _end_all(args, shared, records)


def _list(args: argparse.Namespace, found: list[Record]) -> int:
    if args.json:
        shown = [asdict(record) | {"began": _when(record.began), "used": _when(record.used)} for record in found]
        print(json.dumps(shown))
        return 0
    for record in found:
        print(
            f"{record.id}  {record.principal:20}  {record.version}  began {_when(record.began)}"
            f"  last used {_when(record.used)} on {record.node}"
        )
    return 0


async def _end(args: argparse.Namespace, shared: Shared, records: Records) -> int:
    found = isinstance(await records.get(args.id), Record)
    if found:
        await records.end(args.id)
        shared.bus.publish(SESSION_ENDED, {"id": args.id})
    if args.json:
        print(json.dumps({"ended": [args.id] if found else []}))
    else:
        print(f"{args.id} ended" if found else f"there is no session {args.id}")
    return 0 if found else 1


async def _end_all(args: argparse.Namespace, shared: Shared, records: Records) -> int:
    """End also those that are too young for a record: of these the workers hear, and the store knows nothing."""
    before = time.time()
    found = await records.all(args.principal)
    for record in found:
        await records.end(record.id)
    shared.bus.publish(SESSIONS_ENDED, {"principal": args.principal, "before": before})
    if args.json:
        print(json.dumps({"ended": [record.id for record in found]}))
    else:
        print(f"all sessions of {args.principal} ended, {len(found)} of them older than a few seconds")
    return 0


def _when(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
