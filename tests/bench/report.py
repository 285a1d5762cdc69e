"""What was measured, as files: bench.json (the rows), run.json (the circumstances), README.md and chart.svg.

Every number in the page and the chart comes from these two files: `python -m tests.bench.report` makes both anew.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .chart import chart
from .measure import METRICS
from .verdicts import CALLS, HEAD, SYSTEMS, Facts, Row, Rows, verdicts

_COLUMNS = (
    ("requests_per_cpu_second", "requests per CPU-second"),
    ("requests_per_second", "requests/s"),
    ("p50_ms", "p50 ms"),
    ("p99_ms", "p99 ms"),
    ("rss_mb", "RSS MB"),
    ("pss_mb", "PSS MB"),
    ("errors", "errors"),
)


def _grid(head: Sequence[str], lines: Sequence[Sequence[str]], words: int) -> str:
    """A Markdown table; the first `words` columns are text, the others numbers."""
    rule = ["---" if column < words else "---:" for column in range(len(head))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *lines))


def _number(value: float, decimals: int) -> str:
    return f"{value:,.{decimals if value < 100 else 0}f}"


def _cell(row: Row, key: str) -> str:
    spread = row[key]
    low, middle, high = (_number(spread[which], METRICS[key]) for which in ("min", "median", "max"))
    if key == "errors":
        return high
    return f"{middle} ({low}–{high})" if key.startswith("requests") else middle


def _rows(rows: Rows, call: str, at: tuple[int, int] | None = None) -> str:
    order = list(SYSTEMS)
    chosen = [row for row in rows if row["call"] == call and at in (None, (row["workers"], row["connections"]))]
    chosen.sort(key=lambda row: (row["workers"], row["connections"], -_index(row["era"]), order.index(row["system"])))
    names = ("system", "era") if at else ("workers", "connections", "era", "system")
    head = [*names, *(title for _, title in _COLUMNS)]
    lines = [[*(str(row[name]) for name in names), *(_cell(row, key) for key, _ in _COLUMNS)] for row in chosen]
    return _grid(head, lines, len(names))


def _index(era: str) -> int:
    return ("legacy", "modern").index(era)


def judged(rows: Rows, facts: Facts, *, measured: bool = False) -> str:
    """The acceptance lines as a table; `measured` leaves out those that were not."""
    words = {True: "yes", False: "**no**", None: "–"}
    found = [one for one in verdicts(rows, facts) if one.met is not None or not measured]
    lines = [[one.line, one.asked, one.seen, words[one.met]] for one in found]
    return _grid(("", "asked", "seen", "met"), lines, 4)


def summary(rows: Rows, facts: Facts) -> str:
    """What `make bench` prints."""
    parts = [f"\n{title}, 1 worker, 16 connections\n{_rows(rows, call, HEAD)}" for call, title in _measured(rows)]
    return "\n".join([*parts, "", judged(rows, facts, measured=True), *_absent(facts)])


def _measured(rows: Rows) -> list[tuple[str, str]]:
    return [(call, title) for call, title in CALLS.items() if any(row["call"] == call for row in rows)]


def _absent(facts: Facts) -> list[str]:
    return [f"\n{name}: not measured: {reason}." for name, reason in facts["not_measured"].items()]


def page(rows: Rows, facts: Facts) -> str:
    """README.md."""
    machine, plan = facts["machine"], facts["plan"]
    libraries = ", ".join(f"{name} {number}" for name, number in facts["libraries"].items())
    starts = [
        [name, *(f"{spread[key]:.2f}" for key in ("median", "min", "max"))]
        for name, spread in facts["startup_s"].items()
    ]
    balances = [
        [
            str(run["clients"]),
            " / ".join(map(str, run["served"])),
            f"{run['busiest_over_mean']:.2f}",
            str(run["errors"]),
        ]
        for run in facts["balance"]
    ]
    details = [
        f"<details><summary>{title}: every cell</summary>\n\n{_rows(rows, call)}\n\n</details>\n"
        for call, title in _measured(rows)
    ]
    heads = [f"### {title}\n\n{_rows(rows, call, HEAD)}\n" for call, title in _measured(rows)]
    return f"""# Performance

Made by `{facts["command"]}` on {facts["date"]} at commit {facts["commit"]}: {machine["cpus"]} CPUs, \
{machine["memory_gb"]} GB, {machine["system"]}, Python {facts["python"]}, {libraries}. Do not edit: the numbers come \
from [bench.json](bench.json) and [run.json](run.json).

**Requests per CPU-second** are right answers divided by what all processes of the server used of the CPU meanwhile \
(user and system; the database and the client are not in it), so a busy machine or a slow client moves them little. \
Every answer is checked: status, id, the result itself. Each cell ran {plan["rounds"]} times for \
{plan["seconds"]:g} s, all systems in turn; a figure is the median, in brackets the least and the most, errors are \
the most.
Requests/s are what one client process got out of a machine it shares with the server: with more workers than free \
CPUs they say little.

{_grid(("system", "what it is"), [[f"`{name}`", text] for name, text in SYSTEMS.items()], 2)}
{chr(10).join(_absent(facts))}

![Requests per CPU-second, one worker, 16 connections](chart.svg)

## What was asked, what was seen

One worker, 16 connections, unless a line says otherwise; ratios are of requests per CPU-second.

{judged(rows, facts)}

## One worker, 16 connections

{chr(10).join(heads)}
## Start to first answer

Seconds from starting one worker to its first right answer; each time a new process.

{_grid(("system", "median", "min", "max"), starts, 1)}

## Even workers

Four workers behind nginx with kept-alive connections: requests each of them served, and the busiest over the mean.

{_grid(("clients", "served", "busiest / mean", "errors"), balances, 2)}

## Every cell

{chr(10).join(details)}"""


def write(folder: Path, rows: Rows, facts: Facts) -> None:
    """All four files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in (("bench.json", rows), ("run.json", facts)):
        (folder / name).write_text(_json(value), encoding="utf-8")
    (folder / "README.md").write_text(page(rows, facts), encoding="utf-8")
    (folder / "chart.svg").write_text(chart(rows), encoding="utf-8")


def _json(value: Any) -> str:
    """Lists one element a line, so that a change of one row is a change of one line."""
    if isinstance(value, list):
        return "[\n" + ",\n".join(json.dumps(one, ensure_ascii=False) for one in value) + "\n]\n"
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "docs" / "performance"
    read = {name: json.loads((place / f"{name}.json").read_text(encoding="utf-8")) for name in ("bench", "run")}
    write(place, read["bench"], read["run"])
