"""The drain lease: how long this host lets no request in, and who says so. It ends by itself unless it is renewed."""

import contextlib
import time
from pathlib import Path

from doris_mcp_server.errors import InvalidArgument, ServerError

LONGEST = 3600.0  # seconds
PLAY = "play:"  # how the names of plays begin; all others are people
NAME_LENGTH = 100  # characters


class Lease:
    """A lease kept in a file: one taken before a restart still holds after it, so that a host is proved first.

    The file says the Unix time of its end, and whose it is. In between, only the monotonic clock counts: a corrected
    system clock neither ends a drain early nor makes it last.

    A play leaves alone what a person took: it neither renews nor ends that. A person may do either with any drain.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._ends = 0.0  # monotonic time
        self._by: str | None = None
        try:
            end, _, by = file.read_text(encoding="utf-8").strip().partition(" ")
            left = float(end) - time.time()
        except (OSError, ValueError):
            return
        if 0 < left <= LONGEST:  # no lease is longer: what else stands there is not ours, or the clock was wrong
            self._ends = time.monotonic() + left
            self._by = by or None  # releases before this one noted nobody

    @property
    def left(self) -> float:
        """Seconds until it ends; 0 where there is none."""
        return max(0.0, self._ends - time.monotonic())

    @property
    def held(self) -> bool:
        return self.left > 0

    @property
    def by(self) -> str | None:
        """Whose it is, as they called themselves; None where there is no lease, or one nobody is known of."""
        return self._by if self.held else None

    @property
    def ran_out(self) -> bool:
        """Whether there was one that nobody renewed, and nobody gave back."""
        return bool(self._ends) and not self.held

    def take(self, seconds: float, by: str | None = None) -> bool:
        """Take it, or renew it from now on; without a name it stays whose it is. False for a play that left it alone.

        Raises: InvalidArgument, or ServerError when it cannot be kept.
        """
        if not 1 <= seconds <= LONGEST:
            raise InvalidArgument(
                f"a drain lasts 1 to {LONGEST:g} seconds", hint="renew the lease to drain longer: drain again"
            )
        if by is not None and not (by.isprintable() and by == by.strip() and 0 < len(by) <= NAME_LENGTH):
            raise InvalidArgument(f"a name is one line of at most {NAME_LENGTH} characters", hint="say who drains: ann")
        if self._left_alone(by):
            return False
        by = by or self.by
        fresh = self._file.with_suffix(".new")
        try:
            fresh.write_text(f"{time.time() + seconds:.3f} {by or ''}\n", encoding="utf-8")
            fresh.replace(self._file)
        except OSError as error:
            raise ServerError(
                f"the drain lease cannot be written: {error.strerror}", hint=f"see to {self._file.parent}"
            ) from None
        self._ends = time.monotonic() + seconds
        self._by = by
        return True

    def give_back(self, by: str | None = None) -> bool:
        """End it. False for a play that left it alone."""
        if self._left_alone(by):
            return False
        self._ends = 0.0
        with contextlib.suppress(OSError):  # what stays in the file ends by itself
            self._file.unlink(missing_ok=True)
        return True

    def _left_alone(self, by: str | None) -> bool:
        persons = self.by is not None and not self.by.startswith(PLAY)
        return persons and by is not None and by.startswith(PLAY)
