"""Forked workers: what they share with their supervisor, and what they must not have of it."""

import contextlib
import os
import re
import signal
import threading
from pathlib import Path

import pytest

from doris_mcp_server import ctl
from doris_mcp_server.fork import fork

from .conftest import Launch, Running

# A server that is given something on stdin, which its workers must not read.
PIPED = """
import os, sys
from doris_mcp_server import cli

os.dup2(os.pipe()[0], 0)
sys.exit(cli.main(sys.argv[1:]))
"""
# A server whose workers import something late, after `current` has gone.
LATE = """
import os, sys
from pathlib import Path
from doris_mcp_server import cli, worker
from doris_mcp_server.observe import event

def main(*args):
    Path(os.environ["CURRENT"]).unlink()
    import doris_mcp_server.smoke
    import later
    event("imported", **{"from": later.__file__})

worker.main = main
sys.exit(cli.main(sys.argv[1:]))
"""


async def workers(server: Running) -> list[int]:
    return [worker["pid"] for worker in (await ctl.ask(server.ctl, {"do": "status"}))["workers"]]


def descriptors(pid: int) -> list[str]:
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.append(str(entry.readlink()))
    return found


def listening_on(port: int) -> set[str]:
    """The sockets that listen there, as /proc/PID/fd names them."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")}


async def test_a_worker_holds_its_own_queue_and_nothing_else_of_its_parent(launch: Launch) -> None:
    """Else a closed queue would live on in a sibling, and a killed supervisor would not be the end of a pipe."""
    async with launch(program=("-c", PIPED), workers=3) as server:
        os.kill((await workers(server))[0], signal.SIGKILL)
        await server.said("worker listens", 4)  # one that was made while all the others were there
        pids = await workers(server)
        queues = listening_on(int(server.url.rpartition(":")[2]))
        assert len(queues) == 3
        held = {pid: descriptors(pid) for pid in pids}
        mine = [queues & set(names) for names in held.values()]
        assert [len(queue) for queue in mine] == [1, 1, 1]
        assert set.union(*mine) == queues
        parents = set(descriptors(server.process.pid)) - queues
        for pid in pids:
            assert not {name for name in parents & set(held[pid]) if name.startswith("socket:")}
            assert not any("pidfd" in name for name in held[pid])
            assert Path(f"/proc/{pid}/fd/0").readlink() == Path("/dev/null")
            assert os.getpgid(pid) == pid


async def test_workers_share_the_memory_of_what_they_run(launch: Launch) -> None:
    async with launch(workers=2) as server:
        for pid in await workers(server):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            kb = {name: int(size) for name, size in re.findall(r"^(\w+): +(\d+) kB", rollup, re.MULTILINE)}
            assert kb["Pss"] < kb["Rss"]
            # Written by the supervisor and still one copy: only a fork shares such pages.
            assert kb["Shared_Dirty"] > kb["Private_Dirty"]


async def test_a_flipped_release_does_not_reach_running_workers(launch: Launch, tmp_path: Path) -> None:
    release, current = tmp_path / "release", tmp_path / "current"
    release.mkdir()
    (release / "later.py").touch()
    (release / "doris_mcp_server").symlink_to(Path(ctl.__file__).parent)
    current.symlink_to(release)
    here = {"PYTHONPATH": str(current), "CURRENT": str(current)}
    async with launch(program=("-c", LATE), wait=False, **here) as server:
        assert (await server.said("imported"))["from"] == str(release / "later.py")


async def test_a_process_with_threads_is_not_forked() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="threads"):
            fork(lambda: None, keep=())
    finally:
        end.set()
        thread.join()
