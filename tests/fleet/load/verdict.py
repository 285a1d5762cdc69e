"""The verdict on a history, derived from its lines alone: what the load itself made of a request is only compared."""

import argparse
import math
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .history import Begin, End, Outcome, Phase, Request, read

WHOLE: Final = "all"
HEADS: Final = (
    "phase", "s", "requests", "failed", "foreign", "duplicated", "late", "p50 ms", "p99 ms", "longest stall ms"
)  # fmt: skip


@dataclass
class Part:
    """What was due within a phase. Times in seconds, of the short queries that were answered rightly."""

    name: str
    seconds: float
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    took: list[float] = field(default_factory=list, repr=False)

    def percentile(self, share: float) -> float:
        """Seconds within which that share was answered; 0 when none was."""
        took = sorted(self.took)
        return took[min(int(len(took) * share), len(took) - 1)] if took else 0.0

    @property
    def stall(self) -> float:
        """The longest that somebody waited: requests start at a rate, so when nobody is served, somebody waits."""
        return max(self.took, default=0.0)

    @property
    def row(self) -> list[str]:
        """In the order of HEADS."""
        counts = [self.outcomes.total(), *(self.outcomes[kind] for kind in ("failed", "foreign", "duplicated", "late"))]
        times = [self.percentile(0.5), self.percentile(0.99), self.stall]
        return [self.name, f"{self.seconds:.0f}", *(f"{n:,}" for n in counts), *(f"{t * 1e3:,.1f}" for t in times)]


@dataclass
class Verdict:
    """`faults`: what is wrong with the history itself, or with what the load made of it."""

    parts: dict[str, Part]
    faults: list[str]

    @property
    def whole(self) -> Part:
        return self.parts[WHOLE]

    @property
    def clean(self) -> bool:
        """Whether every request got its own answer, once, and the history shows all of them."""
        wrong = sum(self.whole.outcomes[kind] for kind in ("failed", "foreign", "duplicated"))
        return self.whole.outcomes["ok"] > 0 and not wrong and not self.faults

    def __str__(self) -> str:
        return "\n".join([table([HEADS, *(part.row for part in self.parts.values())]), *self.faults])


def judge(lines: Iterable[Begin | Request | Phase | End]) -> Verdict:
    """Each request once, none missing, each answer its own; then the figures of each phase and of the whole."""
    begin: Begin | None = None
    end: End | None = None
    requests: dict[str, Request] = {}
    answered: set[str] = set()
    outcomes: dict[str, Outcome] = {}
    phases: list[Phase] = []
    faults: list[str] = []
    for line in lines:
        match line:
            case Begin():
                begin = line
            case Phase():
                phases.append(line)
            case End():
                end = line
            case Request() if line.nonce in requests:
                faults.append(f"{line.nonce}: two outcomes, {requests[line.nonce].outcome} and {line.outcome}")
            case Request():
                requests[line.nonce] = line
                outcomes[line.nonce] = _outcome(line, answered, begin.deadline if begin else math.inf)
                answered.update(line.nonces)
    faults += _missing(begin, end, requests)
    faults += [fault for nonce, line in requests.items() for fault in _differences(line, outcomes[nonce])]
    return Verdict(_parts(requests, outcomes, phases), faults)


def _outcome(line: Request, answered: set[str], deadline: float) -> Outcome:
    own = [line.nonce]
    allowed = deadline
    if line.kind == "stream":
        right = line.ended_by != "" and line.ids in (own, own if line.era == "modern" else [])
    else:
        right = line.ids == line.nonces == own
        allowed += line.seconds
    if any(nonce in answered for nonce in line.nonces) or (line.kind != "stream" and len(line.ids) > 1):
        return "duplicated"
    if any(name != line.nonce for name in line.ids + line.nonces):
        return "foreign"
    if not right or line.status != 200 or line.why:
        return "failed"
    return "ok" if line.answered - line.due <= allowed else "late"


def _missing(begin: Begin | None, end: End | None, requests: dict[str, Request]) -> list[str]:
    if begin is None or end is None:
        return ["the history has no beginning or no end"]
    made = {f"{begin.run}-{number}" for number in range(1, end.requests + 1)}
    lost = [f"{nonce}: no outcome" for nonce in sorted(made - requests.keys())]
    return lost + [f"{nonce}: never made" for nonce in sorted(requests.keys() - made)]


def _differences(line: Request, outcome: Outcome) -> list[str]:
    """Where what the load did or said does not fit the line."""
    faults = []
    if line.outcome != outcome:
        faults.append(f"{line.nonce}: called {line.outcome}, is {outcome}")
    # A GET may be repeated once by itself; anything else only when it was told to come again.
    if line.sent > line.told + 1 + (line.kind == "stream" and line.era == "legacy"):
        faults.append(f"{line.nonce}: sent {line.sent} times, told to come again {line.told} times")
    return faults


def _parts(requests: dict[str, Request], outcomes: dict[str, Outcome], phases: list[Phase]) -> dict[str, Part]:
    ends = [line.end for line in requests.values()]
    whole = Part(WHOLE, max(ends, default=0.0) - min((line.due for line in requests.values()), default=0.0))
    parts = {phase.name: Part(phase.name, 0.0) for phase in phases}
    for phase in phases:
        parts[phase.name].seconds += phase.end - phase.begin
    for nonce, line in requests.items():
        within = [parts[phase.name] for phase in phases if phase.begin <= line.due < phase.end]
        for part in (*within, whole):
            part.outcomes[outcomes[nonce]] += 1
            if line.kind == "short" and outcomes[nonce] in ("ok", "late"):
                part.took.append(line.answered - line.due)
    return parts | {WHOLE: whole}


def table(rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; the first row is its head, the first column is of words and the others are of figures."""
    head, *rest = [list(row) for row in rows]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rest]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fleet.load.verdict", description=(__doc__ or "").strip())
    parser.add_argument("history", type=Path)
    verdict = judge(read(parser.parse_args().history))
    print(verdict)
    return 0 if verdict.clean else 1


if __name__ == "__main__":
    sys.exit(main())
