"""The lab's one way to podman: as root, with limits and a runtime that every kind of host machine accepts."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any


class LabError(Exception):
    """Something the person at the keyboard can put right; the message says what and how."""


def as_root(*argv: str, **env: str) -> list[str]:
    """`argv` with `env`, through sudo when we are not root: bridge networks and mmdebstrap need it."""
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    return [*prefix, "env", *(f"{name}={value}" for name, value in env.items()), *argv]


def containers_conf(nofile: int, nproc: int) -> str:
    """The containers.conf the lab runs under; `nofile` and `nproc` are this machine's hard limits (-1: none).

    podman asks for 1048576 files by default and fails where it may not raise its own limit, and crun
    refuses hybrid cgroups; runc takes every layout.
    """

    def cap(hard: int, most: int) -> int:
        return most if hard < 0 else min(hard, most)

    files, processes = cap(nofile, 1_048_576), cap(nproc, 1_048_576)
    return (
        "[containers]\n"
        f'default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]\n'
        "[engine]\n"
        'runtime = "runc"\n'
        'cgroup_manager = "cgroupfs"\n'
        'events_logger = "file"\n'
    )


@cache
def _conf_file() -> str:
    # Named by its content: labs side by side share it and none can remove it under another.
    nofile = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    # podman lowers its own limit to pid_max first; without CAP_SYS_RESOURCE nobody gets it up again.
    pids = int(Path("/proc/sys/kernel/pid_max").read_text())
    nproc = min(resource.getrlimit(resource.RLIMIT_NPROC)[1] % 2**64, pids)
    folder = Path.home() / ".cache" / "doris-mcp-lab"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"containers-{nofile}-{nproc}.conf"
    text = containers_conf(nofile, nproc)
    if not path.exists() or path.read_text() != text:
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as draft:
            draft.write(text)
        Path(draft.name).chmod(0o644)
        Path(draft.name).replace(path)
    return str(path)


def podman(*args: str, check: bool = True, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run podman; raises LabError with podman's own last words when it fails and `check` is set."""
    argv = as_root("podman", *args, CONTAINERS_CONF=_conf_file())
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, timeout=120)
    except FileNotFoundError as missing:
        raise LabError(f"{missing.filename} is not installed: run `make deps`") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"podman {args[0]} gave no answer within 120 s") from None
    if done.returncode == 127 and b"podman" in done.stderr and b"No such file" in done.stderr:
        raise LabError("podman is not installed: run `make deps`")
    if check and done.returncode:
        raise LabError(f"podman {' '.join(args[:3])}…: {done.stderr.decode(errors='replace').strip()[-600:]}")
    return done


def podman_json(*args: str) -> Any:
    """What podman printed, parsed; an empty answer (no such thing) is an empty list."""
    return json.loads(podman(*args, check=False).stdout.strip() or b"[]") or []
