"""`doris-mcp-server guard`: statements as JSON lines in, what the guard says to each as JSON lines out, in order."""

import json
from collections.abc import Iterable
from typing import Any, TextIO

from doris_mcp_server.doris import guard
from doris_mcp_server.errors import StatementRefused

EXPECTED = 'one JSON object a line: {"sql": "SELECT 1"}'


def run(lines: Iterable[bytes], out: TextIO) -> int:
    """Answer each line with verdict, reason, hint, at, kind and tables. Exit code: 0, or 2 if a line had no statement.

    `reason` is null for what is accepted. A line that cannot be read is answered in its place, as a refusal.
    """
    code = 0
    for number, line in enumerate(lines, 1):
        sql = _statement(line)
        if sql is None:
            code = 2
            words = f"Line {number} is no statement: expected {EXPECTED}"
            answer = _refused(StatementRefused(words, hint="Correct the line and send it again."))
        else:
            answer = _judged(sql)
        print(json.dumps(answer), file=out, flush=True)
    return code


def _statement(line: bytes) -> str | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    sql = row.get("sql") if isinstance(row, dict) else None
    return sql if isinstance(sql, str) else None


def _judged(sql: str) -> dict[str, Any]:
    try:
        verdict = guard.check(sql)
    except StatementRefused as refused:
        return _refused(refused)
    return {"verdict": "accept", "reason": None, "kind": verdict.kind, "tables": verdict.tables}


def _refused(refused: StatementRefused) -> dict[str, Any]:
    at = refused.at._asdict() if refused.at else None
    return {
        "verdict": "refuse",
        "reason": refused.message,
        "hint": refused.hint,
        "at": at,
        "kind": None,
        "tables": [],
    }
