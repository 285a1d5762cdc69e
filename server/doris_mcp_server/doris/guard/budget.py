"""How long one statement may take to be judged, and the end of it."""

import time
from typing import Final

STEPS_PER_LOOK: Final = 64  # a look at the clock is a system call


class OutOfTime(Exception):
    """A statement takes longer to read than it may."""


class Budget:
    """CPU seconds of this thread that judging one statement may take, from now on."""

    def __init__(self, seconds: float) -> None:
        self._end = time.thread_time() + seconds
        self._steps = 0

    def step(self) -> None:
        """Called all along the work; raises OutOfTime once too much is used."""
        self._steps += 1
        if self._steps % STEPS_PER_LOOK == 0 and time.thread_time() > self._end:
            raise OutOfTime
