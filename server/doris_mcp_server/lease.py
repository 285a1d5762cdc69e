"""The drain lease: how long this host lets no request in. It ends by itself unless somebody renews it."""

import contextlib
import time
from pathlib import Path

from doris_mcp_server.errors import InvalidArgument, ServerError

LONGEST = 3600.0  # seconds


class Lease:
    """A lease kept in a file: one taken before a restart still holds after it, so that a host is proved first.

    The file says the Unix time of its end. In between, only the monotonic clock counts: a corrected system clock
    neither ends a drain early nor makes it last.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._ends = 0.0  # monotonic time
        try:
            left = float(file.read_text(encoding="ascii")) - time.time()
        except (OSError, ValueError):
            return
        if 0 < left <= LONGEST:  # no lease is longer: what else stands there is not ours, or the clock was wrong
            self._ends = time.monotonic() + left

    @property
    def left(self) -> float:
        """Seconds until it ends; 0 where there is none."""
        return max(0.0, self._ends - time.monotonic())

    @property
    def held(self) -> bool:
        return self.left > 0

    @property
    def ran_out(self) -> bool:
        """Whether there was one that nobody renewed, and nobody gave back."""
        return bool(self._ends) and not self.held

    def take(self, seconds: float) -> None:
        """Take it, or renew it from now on. Raises: InvalidArgument, or ServerError when it cannot be kept."""
        if not 1 <= seconds <= LONGEST:
            raise InvalidArgument(
                f"a drain lasts 1 to {LONGEST:g} seconds", hint="renew the lease to drain longer: drain again"
            )
        fresh = self._file.with_suffix(".new")
        try:
            fresh.write_text(f"{time.time() + seconds:.3f}\n", encoding="ascii")
            fresh.replace(self._file)
        except OSError as error:
            raise ServerError(
                f"the drain lease cannot be written: {error.strerror}", hint=f"see to {self._file.parent}"
            ) from None
        self._ends = time.monotonic() + seconds

    def give_back(self) -> None:
        self._ends = 0.0
        with contextlib.suppress(OSError):  # what stays in the file ends by itself
            self._file.unlink(missing_ok=True)
