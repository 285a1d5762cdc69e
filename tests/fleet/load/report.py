"""What a load saw so far: each request is judged when it ends."""

from collections import Counter
from dataclasses import dataclass, field

from .history import Outcome, Request


@dataclass
class Seen:
    """A reason why requests went wrong: how often, when first (seconds after the start), one sample."""

    count: int
    after_s: float
    sample: str


@dataclass
class Report:
    """Counts, and the times of the short queries. Late ones were answered rightly, and count as such as well."""

    ok: int = 0  # short queries
    long_ok: int = 0
    streams_ok: int = 0
    failed: int = 0
    foreign: int = 0
    duplicated: int = 0
    late: int = 0
    told: int = 0  # how often somebody was told to come again, and did
    again: int = 0  # how often HTTP let a request be sent again by itself
    opened: int = 0  # connections
    longest_gap_s: float = 0.0  # between two right answers to short queries, whoever had them
    hosts: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, Seen] = field(default_factory=dict)
    took: list[float] = field(default_factory=list, repr=False)  # seconds from when a short query was due
    lag: float = 0.0  # seconds the clients themselves were behind at most
    _last: float = 0.0
    _answered: set[str] = field(default_factory=set, repr=False)

    @property
    def clean(self) -> bool:
        """Whether every request got its own answer, once."""
        return self.ok > 0 and not (self.failed or self.foreign or self.duplicated)

    def ms(self, share: float) -> float:
        """Milliseconds within which that share of the short queries was answered; 0 when none was."""
        took = sorted(self.took)
        return round(took[min(int(len(took) * share), len(took) - 1)] * 1e3, 1) if took else 0.0

    def add(self, request: Request, began: float, deadline: float) -> Outcome:
        """Judge a request that has ended, and count it."""
        outcome = self._judge(request, deadline)
        self._answered.update(request.nonces)
        if request.status:
            self.hosts[request.host or "nobody said"] += 1
        self.told += request.told
        self.again += max(0, request.sent - request.told - 1)
        self.lag = max(self.lag, request.start - request.due)
        if outcome in ("ok", "late"):
            self.late += outcome == "late"
            self._right(request, began)
        else:
            setattr(self, outcome, getattr(self, outcome) + 1)
            after = round(request.end - began, 1)
            self.reasons.setdefault(request.why, Seen(0, after, request.sample)).count += 1
        return outcome

    def _judge(self, request: Request, deadline: float) -> Outcome:
        """A wrong answer is worse than none, and an answer given before is worse than a stranger's."""
        calls = request.kind != "stream"
        if len(request.ids) > 1 and calls:
            return _wrong(request, "duplicated", "several answers to one request")
        if not self._answered.isdisjoint(request.nonces):
            return _wrong(request, "duplicated", "an answer given before")
        if {*request.ids, *request.nonces} - {request.nonce}:
            return _wrong(request, "foreign", "somebody else's answer")
        if request.why:
            return "failed"
        late = request.answered - request.due > deadline + request.seconds * calls
        return "late" if late else "ok"

    def _right(self, request: Request, began: float) -> None:
        if request.kind == "long":
            self.long_ok += 1
        elif request.kind == "stream":
            self.streams_ok += 1
        else:
            self.ok += 1
            self.took.append(request.answered - request.due)
            self.longest_gap_s = max(self.longest_gap_s, request.answered - (self._last or began))
            self._last = request.answered

    def __str__(self) -> str:
        hosts = ", ".join(f"{name} {count}" for name, count in sorted(self.hosts.items()))
        reasons = "".join(
            f"\n  {seen.count} x {reason}, first after {seen.after_s} s: {seen.sample}"
            for reason, seen in self.reasons.items()
        )
        return (
            f"{self.ok} ok + {self.long_ok} long + {self.streams_ok} streams, {self.failed} failed, "
            f"{self.foreign} foreign, {self.duplicated} duplicated, {self.late} late; {self.told} told to come again; "
            f"p50 {self.ms(0.5)} p99 {self.ms(0.99)} max {self.ms(1.0)} ms; "
            f"clients behind by {self.lag * 1e3:.0f} ms at most; {self.opened} connections; {hosts}{reasons}"
        )


def _wrong(request: Request, outcome: Outcome, why: str) -> Outcome:
    request.why = why
    return outcome
