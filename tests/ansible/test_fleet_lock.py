"""The fleet's lock: on one host, how a controller learns that another one is dead, and the role on several hosts."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ..conftest import LIMIT
from .plugins import ROLES, plugin

lock = plugin("fleet_lock/library/fleet_lock.py")
controller = plugin("fleet_lock/lookup_plugins/controller.py")
NOW = 1_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def wanted(name: str, number: int, **more: Any) -> dict[str, Any]:
    return {"holder": {"id": name, "who": name}, "number": number, "lease": 60, "gone": [], "force": False} | more


def hold(path: Path, name: str, number: int, now: float = NOW, **more: Any) -> str | None:
    """Why `name` does not get the lock; None when it does."""
    refused: str | None = lock.apply(path, "held", wanted(name, number, **more), now)[1]
    return refused


def test_a_host_nobody_ever_locked_is_free(path: Path) -> None:
    assert lock.apply(path, "seen", {}, NOW) == (lock.NOBODY, None)
    assert hold(path, "ann", 1) is None


def test_of_two_that_come_at_once_the_second_is_refused_and_told_who_was_first(path: Path) -> None:
    assert hold(path, "ann", 1) is None
    assert "ann" in (hold(path, "bob", 1) or "")
    assert "ann" in (hold(path, "bob", 2) or "")
    assert hold(path, "ann", 1, NOW + 59) is None, "renewed"
    assert "60 s more" in (hold(path, "bob", 2, NOW + 59) or "")


def test_a_lease_that_ran_out_can_be_taken_and_the_sleeper_is_refused_when_it_wakes(path: Path) -> None:
    assert hold(path, "ann", 1) is None
    assert hold(path, "bob", 2, NOW + 61) is None
    assert "taken over by bob as number 2" in (hold(path, "ann", 1, NOW + 500) or "")


def test_a_lease_that_ran_out_and_that_nobody_took_is_still_ours(path: Path) -> None:
    assert hold(path, "ann", 1) is None
    assert hold(path, "ann", 1, NOW + 500) is None


@pytest.mark.parametrize("why", [{"gone": ["ann"]}, {"force": True}])
def test_the_dead_and_the_broken_are_not_waited_for(path: Path, why: dict[str, Any]) -> None:
    assert hold(path, "ann", 1) is None
    assert hold(path, "bob", 2, **why) is None
    assert hold(path, "ann", 1) is not None


def test_the_number_outlives_the_holder(path: Path) -> None:
    assert hold(path, "ann", 7) is None
    record, refused = lock.apply(path, "free", wanted("ann", 7), NOW)
    assert (record, refused) == ({"number": 7, "holder": None, "until": 0.0}, None)
    assert hold(path, "bob", 7) is not None
    assert hold(path, "bob", 8) is None


def test_nobody_gives_back_what_somebody_else_has(path: Path) -> None:
    assert hold(path, "ann", 1) is None
    record, _ = lock.apply(path, "free", wanted("bob", 1), NOW)
    assert record["holder"]["id"] == "ann"


def test_a_controller_knows_itself_among_the_processes_of_its_machine() -> None:
    here = controller.here()
    assert here["process"].startswith(f"{os.getpid()}:")
    assert here["process"] in here["running"]


def test_a_pid_that_came_back_is_another_process(tmp_path: Path) -> None:
    (tmp_path / "77").mkdir()
    fields = " ".join(["S", *"0" * 18, "4711", "0"])
    (tmp_path / "77/stat").write_text(f"77 (odd ) name) {fields}")
    assert controller.started(77, tmp_path) == "77:4711"
    assert controller.started(78, tmp_path) is None


def test_without_proc_nobody_is_known_to_be_dead(tmp_path: Path) -> None:
    assert controller.here(tmp_path) == {"machine": "", "process": "", "running": []}


# -- the role, on three hosts that are folders of this machine, and on one that is switched off ------------------

PLAY = """
- name: Change the fleet
  hosts: all
  gather_facts: false
  any_errors_fatal: true
  vars:
    fleet_lock_hosts: [one, two, dark, three]
    # In a loop over hosts `item` is the one that is asked.
    fleet_lock_path: "{{ folder }}/{{ item | default(inventory_hostname) }}/lock"
  tasks:
    - name: Lock
      ansible.builtin.import_role: {name: fleet_lock}
      vars: {fleet_lock_break: "{{ break_lock | default(false) | bool }}"}
    - name: Work
      ansible.builtin.wait_for: {path: "{{ folder }}/{{ goes_on_with }}", sleep: 1}
      run_once: true
    - name: Is the lock still ours
      ansible.builtin.import_role: {name: fleet_lock, tasks_from: check}
    - name: Unlock
      ansible.builtin.import_role: {name: fleet_lock, tasks_from: release}
"""
# Nobody listens on port 1.
HOSTS = """
all:
  vars: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  hosts:
    one:
    two:
    three:
  children:
    away:
      hosts:
        dark: {ansible_connection: ssh, ansible_host: 127.0.0.1, ansible_port: 1}
"""


class Controllers:
    """Runs of the play, each of which works until there is a file of a name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runs: list[asyncio.subprocess.Process] = []
        for name in ("one", "two", "three"):
            (folder / name).mkdir()
        (folder / "play.yml").write_text(PLAY)
        (folder / "hosts.yml").write_text(HOSTS)
        self.may("go")

    def may(self, name: str) -> None:
        (self.folder / name).touch()

    async def begin(self, *arguments: str, until: str = "go") -> asyncio.subprocess.Process:
        argv = [
            str(Path(sys.executable).parent / "ansible-playbook"),
            "play.yml",
            "-i",
            "hosts.yml",
            "--limit",
            "!dark",
        ]
        run = await asyncio.create_subprocess_exec(
            *argv,
            *("-e", f"folder={self.folder}", "-e", f"goes_on_with={until}", *arguments),
            cwd=self.folder,
            env=os.environ | {"ANSIBLE_ROLES_PATH": str(ROLES), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_SSH_RETRIES": "0"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        self._runs.append(run)
        return run

    async def kill(self, run: asyncio.subprocess.Process) -> None:
        """With what it has started on the hosts."""
        os.killpg(run.pid, signal.SIGKILL)
        await run.communicate()

    async def close(self) -> None:
        """End those that a failed test left."""
        for run in self._runs:
            if run.returncode is None:
                await self.kill(run)

    async def end(self, run: asyncio.subprocess.Process) -> tuple[int | None, str]:
        """Its exit code, and what it said on one line."""
        output, _ = await run.communicate()
        return run.returncode, " ".join(output.decode().split())

    async def play(self, *arguments: str) -> tuple[int | None, str]:
        return await self.end(await self.begin(*arguments))

    def held(self) -> dict[str, tuple[int, bool]]:
        """Host → the number of its lock, and whether somebody holds it."""
        found = {}
        for name in ("one", "two", "three"):
            record = lock.read(self.folder / name / "lock")
            found[name] = (record["number"], record["holder"] is not None)
        return found

    async def locked(self, number: int) -> None:
        async with asyncio.timeout(LIMIT):
            while set(self.held().values()) != {(number, True)}:
                assert all(run.returncode is None for run in self._runs), await self.end(self._runs[-1])
                await asyncio.sleep(0.05)


@pytest_asyncio.fixture
async def controllers(tmp_path: Path) -> AsyncIterator[Controllers]:
    found = Controllers(tmp_path)
    yield found
    await found.close()


async def test_one_controller_at_a_time_changes_the_hosts_that_can_be_reached(controllers: Controllers) -> None:
    first = await controllers.begin(until="released")
    await controllers.locked(1)
    code, said = await controllers.play()
    assert (code, "The fleet is locked: one is held by" in said, "-e break_lock=true" in said) == (2, True, True), said
    assert set(controllers.held().values()) == {(1, True)}

    code, said = await controllers.play("-e", "break_lock=true")
    assert code == 0, said
    assert set(controllers.held().values()) == {(2, False)}
    controllers.may("released")
    code, said = await controllers.end(first)
    assert (code, "the fleet's lock is taken over by" in said, "number 2" in said) == (2, True, True), said


async def test_the_lock_of_a_run_that_was_killed_is_not_waited_for(controllers: Controllers) -> None:
    killed = await controllers.begin(until="never")
    await controllers.locked(1)
    await controllers.kill(killed)
    assert set(controllers.held().values()) == {(1, True)}
    code, said = await controllers.play()
    assert code == 0, said
    assert set(controllers.held().values()) == {(2, False)}


async def test_a_record_that_cannot_be_read_is_named_and_nothing_is_locked(controllers: Controllers) -> None:
    (controllers.folder / "two/lock").write_text("no lock")
    code, said = await controllers.play()
    assert (code, "two: its part of the fleet's lock" in said, "Fix: put that right" in said) == (2, True, True), said
    (controllers.folder / "two/lock").write_text(json.dumps(lock.NOBODY))
    assert set(controllers.held().values()) == {(0, False)}
