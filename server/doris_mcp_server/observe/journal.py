"""Log lines on their way to stderr: gathered while an event loop runs, and never waited for there.

A reader that is slow, stuck or gone costs lines, not requests.
"""

import os
import select
import stat
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from doris_mcp_server.observe.line import line

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

PAUSE = 0.05  # seconds a line may wait for others
SOON = 0.002  # seconds until the next try while the reader takes what it gets
BATCH = 16 << 10  # bytes that do not wait for more
BOUND = 4 << 20  # bytes kept for a reader that does not read; twice that with warnings and errors
PATIENCE = 1.0  # seconds a log call without an event loop waits for the reader


class Outlet:
    """A descriptor of our own for what `fd` leads to, written without waiting. Raises OSError when `fd` is closed."""

    def __init__(self, fd: int) -> None:
        self._source = fd
        self._open()

    def _open(self) -> None:
        found = os.fstat(self._source)
        self._file = (found.st_dev, found.st_ino)
        pipe = stat.S_ISFIFO(found.st_mode)
        # Several processes share a pipe: up to PIPE_BUF bytes arrive in one piece.
        self.limit = select.PIPE_BUF if pipe else BATCH
        self._ask_first = not stat.S_ISREG(found.st_mode)
        if pipe or stat.S_ISCHR(found.st_mode):
            # O_NONBLOCK belongs to the open file, not to the descriptor: set on `fd` itself, it would hit the shell
            # and every process that shares it. A second opening has flags of its own.
            try:
                self._fd = os.open(f"/proc/self/fd/{self._source}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
            except OSError:  # another user's pipe, or no /proc
                self._fd = os.dup(self._source)
            else:
                self._ask_first = False
        else:
            self._fd = os.dup(self._source)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLOUT)

    def _is_ours(self) -> bool:
        try:
            found = os.fstat(self._fd)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._file

    def look(self) -> None:
        """Open anew if somebody closed our descriptor, as a forked child does: by now it may be a client's socket."""
        if not self._is_ours():
            self._open()

    def send(self, data: bytes) -> int:
        """How many bytes were taken: none where it would have to wait. Raises OSError when nobody reads any more."""
        if self._ask_first:
            if not self._poll.poll(0):
                return 0
            data = data[: self.limit]
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0

    def wait(self, seconds: float) -> None:
        """Wait until something can be sent, at most so long."""
        poll = select.poll()  # not the one of `send`, which another thread may be asking
        poll.register(self._fd, select.POLLOUT)
        poll.poll(seconds * 1e3)

    def close(self) -> None:
        if self._is_ours():
            os.close(self._fd)


class Journal:
    """The lines of this process, in order, and when they are written. Safe for threads and signal handlers.

    INFO lines wait up to PAUSE for company when an event loop runs in their thread. An urgent one is written at once,
    after what was before it. Beyond `bound` bytes lines are dropped, the urgent ones beyond twice that, until the
    reader has caught up; one line then says how many.
    """

    def __init__(self, outlet: Outlet, bound: int = BOUND) -> None:
        from asyncio import _get_running_loop  # as get_running_loop, but None where that raises

        self._running_loop = _get_running_loop
        self._outlet = outlet
        self._bound = bound
        self.start_anew()

    def start_anew(self) -> None:
        """Forget everything: what a forked child inherits is its parent's to write."""
        self._lock = threading.RLock()  # a destructor may log while this thread is in here
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._soon = self._next_try = BATCH
        self._full = False
        self._dropped = 0
        self._patience = PATIENCE
        self._busy = False
        self._timed: AbstractEventLoop | None = None

    def write(self, line: bytes, urgent: bool) -> None:
        """Take one line over. Does not wait in a thread with an event loop, else at most PATIENCE; never raises."""
        loop = self._running_loop()
        size = self._size + len(line)
        if loop is not None and loop is self._timed and size < self._soon and not (urgent or self._full):
            # The ordinary line: the loop of this thread will write it, with those before it.
            self._lines.append(line)
            self._size = size
            return
        with self._lock:
            if (self._full or self._size >= self._bound) and not (urgent and self._size < 2 * self._bound):
                self._full = True
                self._dropped += 1
            else:
                self._lines.append(line)
                self._size += len(line)
            if loop is None or urgent or self._size >= self._next_try:
                self._send_all()
            if loop is not None:
                if self._lines and loop is not self._timed:
                    self._try_later(loop, PAUSE)
                return
        # One that does not read is not waited for again.
        if self._lines and not self.flush(self._patience):
            self._patience = 0.0

    def flush(self, patience: float) -> bool:
        """Write everything, waiting at most `patience` seconds for the reader; whether all of it was written."""
        until = time.monotonic() + patience
        while True:
            with self._lock:
                self._send_all()
                if not self._lines:
                    return True
            left = until - time.monotonic()
            if left <= 0:
                return False
            self._outlet.wait(left)

    def may_wait(self) -> bool:
        """Whether this thread has no event loop that waiting would hold up."""
        return self._running_loop() is None

    def close(self) -> None:
        """Give up the descriptor, and what was not written."""
        with self._lock:
            self._lines.clear()
            self._outlet.close()

    def _try_later(self, loop: "AbstractEventLoop", seconds: float) -> None:
        self._timed = loop
        loop.call_later(seconds, self._due, loop)

    def _due(self, loop: "AbstractEventLoop") -> None:
        with self._lock:
            if self._timed is loop:
                self._timed = None
            moved = self._send_all()
            if self._lines and self._timed is None:
                self._try_later(loop, SOON if moved else PAUSE)

    def _send_all(self) -> bool:
        """Send until nothing is left or nothing more is taken; whether anything was."""
        if self._busy or not self._lines:
            return False
        self._busy = True
        moved = False
        try:
            self._outlet.look()
            while self._lines:
                chunk = self._next_chunk()
                sent = self._outlet.send(chunk)
                moved = moved or sent > 0
                self._size -= sent
                if sent == len(chunk):
                    self._lines.popleft()
                    if not self._lines:
                        self._caught_up()
                elif sent:
                    self._lines[0] = chunk[sent:]
                else:
                    break
        except OSError:  # nobody reads any more, or the disk is full
            self._dropped += sum(part.count(b"\n") for part in self._lines)
            self._lines.clear()
            self._size = 0
            self._full = False
        finally:
            self._busy = False
            self._next_try = self._size + BATCH
            self._soon = min(self._next_try, self._bound)
        return moved

    def _next_chunk(self) -> bytes:
        """As many lines as go out in one piece, joined; they stay the first until they are sent."""
        lines, limit = self._lines, self._outlet.limit
        if len(lines) == 1:
            return lines[0]
        parts = [lines.popleft()]
        size = len(parts[0])
        while lines and size + len(lines[0]) <= limit:
            parts.append(lines.popleft())
            size += len(parts[-1])
        lines.appendleft(b"".join(parts))
        return lines[0]

    def _caught_up(self) -> None:
        self._full = False
        self._patience = PATIENCE
        if self._dropped:
            note = line(time.time(), "WARNING", "doris_mcp", "log lines dropped", {"lines": self._dropped})
            self._dropped = 0
            self._lines.append(note)
            self._size += len(note)
