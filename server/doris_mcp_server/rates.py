"""How often something may be done: the limits of DORIS_MCP_RATE_LIMITS, read.

    principal=600/m, principal:batch=6000/m burst 500, tool:execute_query=60/m, address=1200/m, failure=30/m

Each is a bucket into which so many permits fall in a second, minute, hour or day, up to `burst`: at first it is full.
A leaf beside `config`.
"""

import re
from typing import Final, NamedTuple

KINDS: Final = ("principal", "tool", "address", "failure")
"""Requests of a caller, calls of a tool, requests from an address, requests from an address without a valid token."""
_PERIODS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_MOST: Final = 1_000_000_000
_SHAPE: Final = re.compile(
    r"(?P<kind>[a-z]+)(:(?P<of>\S+?))?\s*=\s*(?P<number>\d+)/(?P<period>[smhd])(\s+burst\s+(?P<burst>\d+))?"
)
_EXAMPLE: Final = "write principal=600/m, tool:execute_query=60/m burst 10"


class Rate(NamedTuple):
    """A limit on each of a kind, or on the one that `of` names."""

    kind: str
    of: str
    number: int
    period: int  # seconds
    burst: int  # permits a bucket holds

    @property
    def per_second(self) -> float:
        return self.number / self.period


def parse(text: str) -> tuple[Rate, ...]:
    """The limits. ValueError naming the one that cannot be read, and the fix."""
    rates = [_rate(part.strip()) for part in text.split(",") if part.strip()]
    for rate in rates:
        if sum((rate.kind, rate.of) == (other.kind, other.of) for other in rates) > 1:
            raise ValueError(f"{rate.kind}{':' * bool(rate.of)}{rate.of} is limited twice; leave one of them out")
    return tuple(rates)


def _rate(text: str) -> Rate:
    found = _SHAPE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:80]!r} is no limit; {_EXAMPLE}; periods are s, m, h and d")
    if found["kind"] not in KINDS:
        raise ValueError(f"{text[:80]!r} limits nothing; what can be limited: {', '.join(KINDS)}")
    number = int(found["number"])
    burst = number if found["burst"] is None else int(found["burst"])
    if not (0 < number <= _MOST and 0 < burst <= _MOST):
        raise ValueError(f"{text[:80]!r} must let something through, and at most {_MOST}")
    return Rate(found["kind"], found["of"] or "", number, _PERIODS[found["period"]], burst)
