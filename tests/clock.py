"""A clock that stands still until a test moves it."""

from dataclasses import dataclass


@dataclass
class Clock:
    """Called as time.time and time.monotonic are; `now` is in seconds."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now
