"""One figure at a time: a cell of the matrix, what our server answers, how long a start takes."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from .answers import Unreadable, message
from .calls import ECHO, ERAS, LIST, Call, Result, listing
from .load import WrongAnswer, ask, begin_session, connected
from .systems import Running, System, ours, started

WARM_UP = 0.2  # seconds
METRICS = {
    # name → decimals
    "requests_per_cpu_second": 0,
    "requests_per_second": 0,
    "p50_ms": 2,
    "p99_ms": 2,
    "rss_mb": 1,
    "pss_mb": 1,
    "worker_rss_mb": 1,
    "client_busy": 2,
    "errors": 0,
}

Spread = dict[str, float]


@dataclass
class Sample:
    """One run of one cell; `values` by the names of METRICS, `errors` by kind."""

    values: dict[str, float] = field(default_factory=lambda: dict.fromkeys(METRICS, 0.0))
    errors: Counter[str] = field(default_factory=Counter)


def measure(
    running: Running,
    call: Call,
    era: str,
    connections: int,
    *,
    seconds: float | None = None,
    requests: int | None = None,
) -> Sample:
    """Warm up, then ask for `seconds` or `requests` times, and divide by what the server's processes used meanwhile."""
    sample = Sample()
    # A log of every call is part of the cost; what was written before is of no use.
    running.log.open("wb").close()
    try:
        if call is LIST:
            call = listing(_result(running, LIST, era))  # the same list as the first time, every time
        with connected(running.target, call, era, connections) as load:
            warm = load.run(seconds=WARM_UP if seconds else None, requests=None if seconds else connections * 4)
            before = running.cpu()
            outcome = load.run(seconds=seconds, requests=requests)
            after = running.cpu()
    except (OSError, Unreadable, WrongAnswer) as error:
        sample.errors[f"cannot begin: {error}"] += 1
        sample.values["errors"] = 1
        return sample
    sample.errors = warm.errors + outcome.errors
    if before.keys() != after.keys():
        sample.errors["a process of the server ended"] += 1
    cpu = sum(after[pid] - before[pid] for pid in before.keys() & after.keys())
    sample.values = {
        "requests_per_cpu_second": outcome.ok / cpu if cpu else 0.0,
        "requests_per_second": outcome.ok / outcome.seconds,
        "p50_ms": outcome.percentile(0.5) * 1e3,
        "p99_ms": outcome.percentile(0.99) * 1e3,
        "client_busy": outcome.client / outcome.seconds,
        "errors": sample.errors.total(),
        **running.memory(),
    }
    return sample


def spread(values: list[float], decimals: int) -> Spread:
    return {
        "median": round(median(values), decimals),
        "min": round(min(values), decimals),
        "max": round(max(values), decimals),
    }


def record(database: dict[str, str], folder: Path) -> tuple[System, Path]:
    """Our server, and a file of what it answers to each kind of request: the others are to say the same."""
    with started(ours(database, echo=False), 1, folder / "record") as running:
        tools = _result(running, LIST, "modern")["tools"]
        system = ours(database, echo=any(tool["name"] == "echo" for tool in tools))
        answers = {f"{era} {call.name}": _result(running, call, era) for call in system.calls for era in ERAS}
    for era in ERAS:
        answers.setdefault(f"{era} {ECHO.name}", {"content": [], "structuredContent": {}, "isError": False})
    path = folder / "answers.json"
    path.write_text(json.dumps(answers), encoding="utf-8")
    return system, path


def _result(running: Running, call: Call, era: str) -> Result:
    try:
        session = begin_session(running.target) if era == "legacy" else None
        found: Any = message(ask(running.target, call, era, session))
    except WrongAnswer as error:
        raise WrongAnswer(f"{error}\n{running.log.read_text(errors='replace')[-1500:]}") from None
    result: Result = found["result"]
    return result


def startups(system: System, folder: Path, times: int) -> list[float]:
    """Seconds from the start of one worker to its first right answer, each time a new process."""
    found = []
    for number in range(times):
        with started(system, 1, folder / f"start-{system.name}-{number}") as running:
            found.append(running.startup)
    return found
