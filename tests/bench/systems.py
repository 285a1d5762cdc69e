"""The systems that are measured: how each is started, what it is asked, and what its processes cost."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..ports import free_port
from .answers import Unreadable
from .calls import ECHO, ERAS, LIST, QUERY, QUERY_IN_PUBLIC, Call, Target
from .databases import running
from .environments import ROOT
from .load import WrongAnswer, ask

TOKEN = "bench-token-0123456789abcdef"
START_LIMIT = 60.0  # seconds from the start to the first right answer
HOST = Path(__file__).with_name("host.py")
MCP = dict.fromkeys(ERAS, "/mcp")


class NotStarted(Exception):
    """A system did not come up; the message ends with what it last said."""


@dataclass(frozen=True)
class System:
    """One system. `command(workers, port)` starts it; `port` is 0 where it says itself which one it took."""

    name: str
    calls: tuple[Call, ...]
    command: Callable[[int, int], list[str]]
    environment: dict[str, str] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=lambda: dict(MCP))
    workers: tuple[int, ...] = (1, 2, 4)
    handshakes: bool = True
    speaks: bool = True  # it logs in our words where it listens

    def call(self, name: str) -> Call | None:
        return next((call for call in self.calls if call.name == name), None)


@dataclass
class Running:
    """A started system."""

    system: System
    process: subprocess.Popen[bytes]
    folder: Path
    log: Path
    target: Target
    startup: float  # seconds from the start to the first right answer

    def pids(self) -> set[int]:
        """Its process and all below."""
        children: dict[int, list[int]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                # The name stands in brackets and may hold anything; the parent is the second field after it.
                parent = int(stat.read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(stat.parent.name))
        found, below = set(), [self.process.pid]
        while below:
            pid = below.pop()
            found.add(pid)
            below += children.get(pid, [])
        return found

    def cpu(self) -> dict[int, float]:
        """CPU seconds, user and system, of each process with all its threads."""
        used = {}
        for pid in self.pids():
            with contextlib.suppress(OSError):
                used[pid] = time.clock_gettime_ns(_cpu_clock(pid)) / 1e9
        return used

    def memory(self) -> dict[str, float]:
        """MB: RSS and PSS of all processes, and the RSS of the biggest one."""
        sizes = []
        for pid in self.pids():
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
                sizes.append(
                    {name: int(rest.split()[0]) / 1024 for name, _, rest in (ln.partition(":") for ln in lines)}
                )
        rss = [size["Rss"] for size in sizes]
        return {"rss_mb": sum(rss), "pss_mb": sum(size["Pss"] for size in sizes), "worker_rss_mb": max(rss, default=0)}


def _cpu_clock(pid: int) -> int:
    """The clock of another process, as clock_getcpuclockid(3) makes it: exact where /proc/PID/stat counts in 10 ms."""
    return (~pid << 3) | 2


def ours(database: dict[str, str], *, echo: bool = True) -> System:
    """The server of this tree, everything on. `echo`: its test fixtures hold the tool that needs no database."""
    calls = (*((ECHO,) if echo else ()), LIST, *((QUERY,) if database else ()))
    serve = [sys.executable, "-m", "doris_mcp_server", "--transport", "http", "--port", "0", "--workers"]
    return System(
        "ours",
        calls,
        lambda workers, _: [*serve, str(workers)],
        {**database, "DORIS_MCP_TEST_FIXTURES": "echo", "DORIS_MCP_TOKEN": TOKEN, "DORIS_MCP_NODE_NAME": "bench"},
    )


def bare(answers: Path) -> System:
    return System("bare", (ECHO, LIST), _hosted("bare"), {"BENCH_ANSWERS": str(answers)}, handshakes=False)


def driver(answers: Path, database: dict[str, str]) -> System:
    environment = {**database, "BENCH_ANSWERS": str(answers)}
    return System("bare+driver", (QUERY,), _hosted("driver"), environment, handshakes=False)


def sdk(answers: Path) -> System:
    return System("sdk", (ECHO, LIST), _hosted("sdk"), {"BENCH_ANSWERS": str(answers)})


def fastmcp(python: Path) -> System:
    return System("fastmcp", (ECHO,), _hosted("fastmcp", python))


def public(python: Path, database: dict[str, str]) -> System:
    """One worker only: its handshake sessions live in the worker that began them."""
    command = [str(python), "-m", "doris_mcp_server", "--transport", "http", "--host", "127.0.0.1"]
    return System(
        "public",
        (QUERY_IN_PUBLIC,),
        lambda workers, port: [*command, "--port", str(port), "--workers", str(workers)],
        {**database, "ENABLE_LEGACY_HTTP_ADAPTER": "true"},
        {"modern": "/mcp", "legacy": "/mcp/legacy"},
        workers=(1,),
        speaks=False,
    )


def _hosted(app: str, python: Path | None = None) -> Callable[[int, int], list[str]]:
    return lambda workers, _: [str(python or sys.executable), "-P", str(HOST), app, str(workers)]


@contextlib.contextmanager
def started(system: System, workers: int, folder: Path) -> Iterator[Running]:
    """Start a system in a folder of its own, ready when every worker listens. Raises: NotStarted."""
    folder.mkdir(parents=True)
    log = folder / "log"
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("DORIS_", "REDIS_", "PYTHONPATH"))}
    environment = {**inherited, **system.environment}
    if system.name == "ours":
        environment |= {"DORIS_MCP_RUNTIME_DIR": str(folder), "PYTHONPATH": str(ROOT / "server")}
    port = 0 if system.speaks else free_port()
    began = time.perf_counter()
    with running(system.command(workers, port), log, environment, folder) as process:
        target = _first_answer(system, process, port, log, began)
        startup = time.perf_counter() - began
        _wait(process, log, began, lambda: not system.speaks or log.read_bytes().count(b'"worker listens"') >= workers)
        yield Running(system, process, folder, log, target, startup)


def _first_answer(system: System, process: subprocess.Popen[bytes], port: int, log: Path, began: float) -> Target:
    found: list[Target] = []
    wrong = ""

    def answered() -> bool:
        nonlocal port, wrong
        port = port or _port(log)
        if not port:
            return False
        target = Target(port, TOKEN, system.paths, system.handshakes)
        try:
            ask(target, system.calls[0], "modern")
        except (OSError, Unreadable):
            return False
        except WrongAnswer as error:
            wrong = str(error)  # a database it has not reached yet, maybe
            return False
        found.append(target)
        return True

    try:
        _wait(process, log, began, answered)
    except NotStarted as error:
        raise NotStarted(f"{system.name} {error} {wrong}") from None
    return found[0]


def _wait(process: subprocess.Popen[bytes], log: Path, began: float, condition: Callable[[], bool]) -> None:
    while not condition():
        ended = process.poll() is not None
        if ended or time.perf_counter() - began > START_LIMIT:
            last = log.read_text(errors="replace")[-1500:]
            raise NotStarted(f"{'ended' if ended else 'gave no right answer'}: {last}")
        time.sleep(0.002)  # until the next look: a start is timed by it


def _port(log: Path) -> int:
    for line in log.read_text(errors="replace").splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            said = json.loads(line)
            if said["message"] == "listening":
                return int(said["address"].rpartition(":")[2])
    return 0
