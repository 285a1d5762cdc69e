"""Processes made by fork(2): they share what this process has imported, and start within milliseconds.

A fork copies everything, descriptors and signal handlers too. A child made here lets go of them before it begins, so
that the end of its parent shows as the end of their pipe, and a signal to one never reaches the other. Python itself
sees to the running event loop, the random generator and its own locks.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Process:
    """A child of this process; the running loop sees its end and reaps it.

    `returncode` is None while it lives, then its exit code, or the negative number of the signal that ended it.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = asyncio.Event()
        self._pidfd = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._reap)

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self._ended.set()

    async def wait(self) -> int:
        """Wait for its end; the `returncode`."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def kill(self) -> None:
        if self.returncode is None:  # not reaped, so the number is still its own
            os.kill(self.pid, signal.SIGKILL)


def fork(work: Callable[[], int], keep: Collection[int]) -> Process:
    """As `forked`, under a running loop."""
    return Process(forked(work, keep))


def forked(work: Callable[[], int], keep: Collection[int]) -> int:
    """Run `work` in a child which has no descriptors but 0 to 2 and `keep`; it exits with what `work` gives, 1 if it
    raises. The child's pid.

    Raises: OSError when the system has no room for another process; RuntimeError when this process has threads: a
    lock that one of them holds would stay locked in the child for ever.
    """
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        raise RuntimeError("a process with threads cannot be forked safely")
    for handler in logging.getLogger().handlers:
        handler.flush()  # what stays buffered would be written twice
    # A signal between here and the child's own handlers would wake the parent's loop through the pipe they share.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        pid = os.fork()
        if pid == 0:
            _live(work, keep)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def _live(work: Callable[[], int], keep: Collection[int]) -> NoReturn:
    """The child's whole life. It never returns: the stack below belongs to the parent."""
    code = 1
    try:
        _let_go(keep)
        code = work()
    except BaseException:
        logging.getLogger("doris_mcp").exception("process crashed")
    finally:
        with contextlib.suppress(Exception):
            logging.shutdown()
            sys.stdout.flush()
        os._exit(code)


def _let_go(keep: Collection[int]) -> None:
    # What the parent made is never collected here: a finalizer would close a descriptor that is somebody else's by now.
    gc.freeze()
    os.setpgid(0, 0)  # Ctrl-C reaches the parent only, which ends its children in order
    signal.set_wakeup_fd(-1)
    for sig in SIGNALS:
        signal.signal(sig, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for name in [entry.name for entry in Path("/proc/self/fd").iterdir()]:
        if int(name) > 2 and int(name) not in keep:
            with contextlib.suppress(OSError):  # the listing's own
                os.close(int(name))
