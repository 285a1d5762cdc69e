"""What was asked of the server and what the rows say about it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
Rows = Sequence[Row]
Facts = Mapping[str, Any]

SYSTEMS = {
    "ours": "this server, everything on: bearer token, Host check, guard, limits, log line and metrics for each call",
    "bare": "the limit: a bare ASGI app under the same uvicorn that parses the body and dumps the same answer",
    "bare+driver": "the limit with a database: the same, and one statement over an aiomysql pool of the same size",
    "sdk": "the official SDK's own server with the same tools, stateless, JSON answers, no token asked",
    "fastmcp": "fastmcp with one tool, stateless, JSON answers, no token asked",
    "public": "the public `doris-mcp-server` 1.0.0, one worker, on an engine that calls itself Doris",
}
CALLS = {
    "echo": "A tool that touches no database",
    "tools/list": "tools/list",
    "execute_query": "execute_query `SELECT 1`",
}
HEAD = (1, 16)  # workers and connections of the figures that are compared


@dataclass(frozen=True)
class Verdict:
    """One thing that was asked for. `met` is None where it was not measured."""

    line: str
    asked: str
    seen: str
    met: bool | None


def pick(rows: Rows, system: str, call: str, era: str = "modern", at: tuple[int, int] = HEAD) -> Row | None:
    wanted = (system, call, era, *at)
    keys = ("system", "call", "era", "workers", "connections")
    return next((row for row in rows if tuple(row[key] for key in keys) == wanted), None)


def ratio(one: Row | None, other: Row | None) -> float | None:
    """How many times the requests per CPU-second; None when one of them was not measured."""
    if one is None or other is None or not other["requests_per_cpu_second"]["median"]:
        return None
    return float(one["requests_per_cpu_second"]["median"] / other["requests_per_cpu_second"]["median"])


def verdicts(rows: Rows, facts: Facts) -> Iterator[Verdict]:
    """The acceptance lines that are numbers."""
    for era in ("modern", "legacy"):
        found = ratio(pick(rows, "ours", "echo", era), pick(rows, "bare", "echo", era))
        yield _at_least("B3", f"ours / bare, {era}", found, 0.75)
    yield _at_least("B3", "ours / sdk, modern", ratio(pick(rows, "ours", "echo"), pick(rows, "sdk", "echo")), 4)
    found = ratio(pick(rows, "ours", "echo", "legacy"), pick(rows, "ours", "echo"))
    yield _at_least("B3", "legacy / modern", found, 0.85)
    for system, least in (("bare+driver", 0.5), ("public", 100)):
        found = ratio(pick(rows, "ours", "execute_query"), pick(rows, system, "execute_query"))
        yield _at_least("B4", f"ours / {system}, modern", found, least)
    yield from _table(rows)
    yield from _balance(facts["balance"])
    start = facts["startup_s"].get("ours")
    seen = f"{start['median']:g} s ({start['min']:g}–{start['max']:g})" if start else "not measured"
    yield Verdict("B7", "start to first answer, one worker ≤ 0.8 s", seen, start["median"] <= 0.8 if start else None)


def _at_least(line: str, what: str, found: float | None, least: float) -> Verdict:
    if found is None:
        return Verdict(line, f"{what} ≥ {least:g}", "not measured", None)
    return Verdict(line, f"{what} ≥ {least:g}", f"{found:.2f}" if found < 10 else f"{found:.0f}", found >= least)


def _table(rows: Rows) -> Iterator[Verdict]:
    one = pick(rows, "ours", "echo")
    for key, asked, limit, sign in (
        ("requests_per_second", "one process, 16 connections: tool calls/s", 5000, 1),
        ("p99_ms", "one process, 16 connections: p99 ms", 20, -1),
        ("worker_rss_mb", "one process, 16 connections: MB of the worker", 90, -1),
        ("rss_mb", "one process, 16 connections: MB, its supervisor included", 90, -1),
    ):
        yield _bounded(asked, one[key]["median"] if one else None, limit, sign)
    four = pick(rows, "ours", "echo", at=(4, 16))
    yield _bounded("four workers in all: MB", four["rss_mb"]["median"] if four else None, 300, -1)


def _bounded(what: str, found: float | None, limit: float, sign: int) -> Verdict:
    asked = f"{what} {'≥' if sign > 0 else '≤'} {limit:,}"
    if found is None:
        return Verdict("B5", asked, "not measured", None)
    return Verdict("B5", asked, f"{found:,.{0 if found >= 100 else 1}f}", sign * found >= sign * limit)


def _balance(runs: Rows) -> Iterator[Verdict]:
    for clients in sorted({run["clients"] for run in runs}):
        found = [run for run in runs if run["clients"] == clients]
        seen = ", ".join(f"{run['busiest_over_mean']:.2f}" for run in found)
        asked = f"busiest worker / mean, {clients} clients over nginx, {found[0]['requests']:,} requests ≤ 1.3"
        met = all(run["busiest_over_mean"] <= 1.3 and not run["errors"] for run in found)
        yield Verdict("B6", asked, seen, met)
    if not runs:
        yield Verdict("B6", "busiest worker / mean ≤ 1.3", "not measured", None)
