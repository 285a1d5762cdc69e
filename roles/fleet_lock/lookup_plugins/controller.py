"""Ansible lookup: this machine, this run's process and all others here, to tell a dead controller from a live one.

One result: {"machine": boot id, "process": "<pid>:<start>", "running": ["<pid>:<start>", ...]}. A pid comes back, a pid
with its start (clock ticks since boot, field 22 of proc_pid_stat(5)) within one boot does not. Where there is no /proc
the machine is empty: nobody is known to be dead then, and leases run out by themselves.
"""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

from ansible.plugins.lookup import LookupBase


def started(pid: int, proc: Path) -> str | None:
    """`<pid>:<start>` of a process; None when there is none."""
    try:
        stat = (proc / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The second field, the command's name in brackets, may hold anything.
    return f"{pid}:{stat.rpartition(')')[2].split()[19]}"


def here(proc: Path = Path("/proc")) -> dict[str, Any]:
    """The lookup's result."""
    boot = proc / "sys/kernel/random/boot_id"
    if not boot.exists():
        return {"machine": "", "process": "", "running": []}
    # Ansible looks things up in short-lived workers of the process that is the run.
    parent = multiprocessing.parent_process()
    pid = (parent and parent.pid) or os.getpid()
    running = (started(int(entry.name), proc) for entry in proc.iterdir() if entry.name.isdigit())
    return {
        "machine": boot.read_text().strip(),
        "process": started(pid, proc),
        "running": sorted(process for process in running if process),
    }


class LookupModule(LookupBase):
    """What Ansible loads."""

    def run(self, terms: list[Any], variables: Any = None, **kwargs: Any) -> list[dict[str, Any]]:
        return [here()]
