"""The counts of processes that have ended, added up in one file a kind: a scrape reads no more for having had many.

prometheus_client keeps the files of ended processes for ever. With workers that are replaced after so many requests,
there is no end to them.
"""

import contextlib
import fcntl
import logging
import os
import re
import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

_FILE: Final = re.compile(r"(?P<kind>counter|histogram|gauge_live[a-z]*)_(?P<pid>\d+)\.db")


@contextlib.contextmanager
def _locked(directory: Path, how: int) -> Iterator[None]:
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def reading(directory: Path) -> contextlib.AbstractContextManager[None]:
    """While in it, what is in the files is neither counted twice nor missed. May wait a moment: not for a loop."""
    return _locked(directory, fcntl.LOCK_SH)


def fold(directory: Path, alive: Collection[int]) -> bool:
    """Add up the files of all processes but those `alive`; False, and nothing done, while somebody reads them.

    Gauges say how something is now: those of ended processes are dropped.
    """
    try:
        with _locked(directory, fcntl.LOCK_EX | fcntl.LOCK_NB):
            for file in directory.glob("*.db"):
                found = _FILE.fullmatch(file.name)
                if found is not None and int(found["pid"]) not in alive:
                    if not found["kind"].startswith("gauge"):
                        _add(file, directory / f"{found['kind']}_past.db")
                    file.unlink()
    except BlockingIOError:
        return False
    return True


def _add(file: Path, past: Path) -> None:
    from prometheus_client.mmap_dict import MmapedDict  # reads PROMETHEUS_MULTIPROC_DIR when imported

    try:
        values = [(key, value) for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file))]  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, struct.error):  # killed in the middle of a write
        logging.getLogger("doris_mcp").warning("the counts in %s are lost", file.name)
        return
    total = MmapedDict(str(past))  # type: ignore[no-untyped-call]
    for key, value in values:
        total.write_value(key, total.read_value(key)[0] + value, 0.0)  # type: ignore[no-untyped-call]
    total.close()  # type: ignore[no-untyped-call]
