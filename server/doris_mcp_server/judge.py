"""`doris-mcp-server guard`: statements as JSON lines in, what the guard says to each as JSON lines out, in order."""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TextIO

from doris_mcp_server.doris import guard
from doris_mcp_server.doris.capabilities import Version
from doris_mcp_server.doris.guard.dialect import dialect_of
from doris_mcp_server.doris.guard.policy import POLICY, Policy
from doris_mcp_server.errors import StatementRefused
from doris_mcp_server.patterns import CLOSED_TABLES

EXPECTED = 'one JSON object a line: {"sql": "SELECT 1"}'


def run(lines: Iterable[bytes], out: TextIO, version: Version | None = None) -> int:
    """Answer each line with verdict, reason, hint, at, kind, tables and the text to be sent, for a Doris of `version`.

    `reason` is null for what is accepted. A line that cannot be read is answered in its place, as a refusal.
    Exit code: 0, or 2 if a line had no statement.
    """
    policy = replace(POLICY, dialect=dialect_of(version))
    code = 0
    for number, line in enumerate(lines, 1):
        sql = _statement(line)
        if sql is None:
            code = 2
            words = f"Line {number} is no statement: expected {EXPECTED}"
            answer = _refused(StatementRefused(words, hint="Correct the line and send it again."))
        else:
            answer = _judged(sql, policy)
        print(json.dumps(answer), file=out, flush=True)
    return code


def _statement(line: bytes) -> str | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    sql = row.get("sql") if isinstance(row, dict) else None
    return sql if isinstance(sql, str) else None


def _judged(sql: str, policy: Policy) -> dict[str, Any]:
    try:
        verdict = guard.check(sql, policy)
    except StatementRefused as refused:
        return _refused(refused)
    return {"verdict": "accept", "reason": None, "kind": verdict.kind, "tables": verdict.tables, "sent": verdict.sent}


def _refused(refused: StatementRefused) -> dict[str, Any]:
    at = refused.at._asdict() if refused.at else None
    return {
        "verdict": "refuse",
        "reason": refused.message,
        "hint": refused.hint,
        "at": at,
        "kind": None,
        "tables": [],
        "sent": None,
    }


def policy() -> dict[str, Any]:
    """What the guard goes by where no setting says otherwise, as `guard --policy` prints it."""
    return {
        "refused_functions": sorted(POLICY.refused_functions),
        "refused_prefixes": sorted(POLICY.refused_prefixes),
        "table_functions": sorted(POLICY.table_functions),
        "row_functions": sorted(POLICY.row_functions),
        "bounded_arguments": sorted(f"{name}() argument {place + 1}" for name, place in POLICY.row_makers),
        "most_rows_of_a_literal": POLICY.max_numbers,
        "closed_tables": list(CLOSED_TABLES),
    }
