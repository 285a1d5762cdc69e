"""How often something may be done, and how much of it at once: DORIS_MCP_RATE_LIMITS and _CONCURRENCY_LIMITS, read.

    principal=600/m, principal:batch=6000/m burst 500, tool:execute_query=60/m, address=1200/m, failure=30/m
    principal=50, principal:batch=200, tool:execute_query=80, address=100

A rate is a bucket into which so many permits fall in a second, minute, hour or day, up to `burst`: at first it is full.
A cap is a number of seats. A leaf beside `config`.
"""

import re
from collections.abc import Callable, Collection
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote

KINDS: Final = ("principal", "tool", "address", "failure")
"""Requests of a caller, calls of a tool, requests from an address, requests from an address without a valid token."""
_PERIODS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_MOST: Final = 1_000_000_000
_SHAPE: Final = re.compile(
    r"(?P<kind>[a-z]+)(:(?P<of>\S+?))?\s*=\s*(?P<number>\d+)/(?P<period>[smhd])(\s+burst\s+(?P<burst>\d+))?"
)
_EXAMPLE: Final = "write principal=600/m, tool:execute_query=60/m burst 10"
CAPPED: Final = ("principal", "tool", "address")
"""Calls of a caller, calls of a tool, calls from an address."""
_CAP: Final = re.compile(r"(?P<kind>[a-z]+)(:(?P<of>\S+?))?\s*=\s*(?P<number>\d+)")


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


class Cap(NamedTuple):
    """A limit on how many calls of each of a kind run at once, or of the one that `of` names."""

    kind: str
    of: str
    number: int


Limit = TypeVar("Limit", Rate, Cap)


def spelt(kind: str, of: str) -> str:
    """What a limit counts, as a name in the store. Quoted: a caller's name may be no text that a store takes."""
    return f"{kind}:{quote(of, safe=' :@', errors='surrogatepass')}"


def parse(text: str) -> tuple[Rate, ...]:
    """The limits. ValueError naming the one that cannot be read, and the fix."""
    return _each(text, _rate)


def parse_caps(text: str) -> tuple[Cap, ...]:
    """The limits. ValueError naming the one that cannot be read, and the fix."""
    return _each(text, _cap)


def _each(text: str, read: Callable[[str], Limit]) -> tuple[Limit, ...]:
    limits = [read(part.strip()) for part in text.split(",") if part.strip()]
    for limit in limits:
        if sum((limit.kind, limit.of) == (other.kind, other.of) for other in limits) > 1:
            raise ValueError(f"{limit.kind}{':' * bool(limit.of)}{limit.of} is limited twice; leave one of them out")
    return tuple(limits)


def _cap(text: str) -> Cap:
    found = _parts(text, _CAP, CAPPED, "write principal=50, tool:execute_query=80")
    return Cap(found["kind"], found["of"] or "", int(found["number"]))


def _rate(text: str) -> Rate:
    found = _parts(text, _SHAPE, KINDS, f"{_EXAMPLE}; periods are s, m, h and d")
    number = int(found["number"])
    burst = number if found["burst"] is None else int(found["burst"])
    return Rate(found["kind"], found["of"] or "", number, _PERIODS[found["period"]], burst)


def _parts(text: str, shape: re.Pattern[str], kinds: Collection[str], fix: str) -> dict[str, Any]:
    found = shape.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:80]!r} is no limit; {fix}")
    if found["kind"] not in kinds:
        raise ValueError(f"{text[:80]!r} limits nothing; what can be limited: {', '.join(kinds)}")
    parts = found.groupdict()
    if not all(0 < int(parts[name]) <= _MOST for name in ("number", "burst") if parts.get(name) is not None):
        raise ValueError(f"{text[:80]!r} must let something through, and at most {_MOST}")
    return parts
