"""When requests are due and what each of them is: drawn from a seed, so that a run can be had again."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["short", "long", "stream"]
Era = Literal["modern", "legacy"]

SKEW: Final = 8  # the higher, the more of the long calls are short ones


@dataclass(frozen=True)
class Mix:
    """Shares of long calls and of streams; the rest is short. Both last `shortest` to `longest` seconds.

    Lengths lean to the short end, or a small machine would be full of calls that sleep: with 2 to 20 s the mean is
    4 s, every second one takes less than 2.1 s, and every tenth more than 9.7 s.
    """

    long: float = 0.15
    stream: float = 0.05
    shortest: float = 2.0
    longest: float = 20.0


SHORT: Final = Mix(long=0.0, stream=0.0)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that is due `at` seconds after the start; a short one takes 0 `seconds`."""

    at: float
    kind: Kind
    era: Era
    seconds: float


def arrivals(rate: float, mix: Mix, seed: int) -> Iterator[Arrival]:
    """`rate` requests a second without end, each at a random moment of its own slot."""
    chance = random.Random(seed)
    for number in itertools.count():
        at = (number + chance.random()) / rate
        drawn = chance.random()
        kind: Kind = "long" if drawn < mix.long else "stream" if drawn < mix.long + mix.stream else "short"
        lasts = mix.shortest + (mix.longest - mix.shortest) * chance.random() ** SKEW
        era: Era = "modern" if chance.random() < 0.5 else "legacy"
        yield Arrival(at, kind, era, 0.0 if kind == "short" else round(lasts, 1))
