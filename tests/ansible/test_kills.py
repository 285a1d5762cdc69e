"""The proof of kills, without a fleet: where the controller dies, how long hosts are out, what the table says."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ..fleet import kills
from ..fleet.kill import CALLBACKS, Kill
from ..fleet.serving import Tally

PLAY = """
- name: One
  hosts: localhost
  gather_facts: false
  tasks:
    - name: First
      ansible.builtin.file: {path: "{{ folder }}/first", state: touch, mode: "0600"}
    - name: Second
      ansible.builtin.file: {path: "{{ folder }}/second", state: touch, mode: "0600"}
    - name: Looks
      ansible.builtin.stat: {path: "{{ folder }}"}
- name: Other
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Third
      ansible.builtin.file: {path: "{{ folder }}/third", state: touch, mode: "0600"}
"""


def run(folder: Path, where: str) -> tuple[int, set[str], Any]:
    """What PLAY ended with, the files it made, and what the callback noted (None for nothing)."""
    (folder / "play.yml").write_text(PLAY)
    made, note = folder / "made", folder / "note"
    made.mkdir()
    environment = {
        "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
        "ANSIBLE_CALLBACKS_ENABLED": "kill_at",
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "KILL_AT": where,
        "KILL_NOTE": str(note),
    }
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "play.yml", "-e", f"folder={made}"],
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    print(done.stdout, done.stderr)
    there = {path.name for path in made.iterdir()}
    return done.returncode, there, json.loads(note.read_text()) if note.exists() else None


@pytest.mark.parametrize(
    ("where", "died", "ran"),
    [
        pytest.param("1", {"at": 1, "play": "One", "batch": 1, "task": "First"}, set(), id="before the first"),
        pytest.param("Second", {"at": 2, "play": "One", "batch": 1, "task": "Second"}, {"first"}, id="by name"),
        pytest.param("4", {"at": 4, "play": "Other", "batch": 1, "task": "Third"}, {"first", "second"}, id="next play"),
        pytest.param("5", None, {"first", "second", "third"}, id="after the last"),
    ],
)
def test_the_controller_dies_where_that_task_begins(
    where: str, died: dict[str, object] | None, ran: set[str], tmp_path: Path
) -> None:
    assert run(tmp_path, where) == (-9 if died else 0, ran, died)


def test_one_that_is_let_live_tells_which_tasks_change_something(tmp_path: Path) -> None:
    code, ran, tasks = run(tmp_path, "")
    assert (code, ran) == (0, {"first", "second", "third"})
    assert [(task["at"], task["task"], task["changed"]) for task in tasks] == [
        (1, "First", True),
        (2, "Second", True),
        (3, "Looks", False),
        (4, "Third", True),
    ]


def test_a_host_is_out_from_its_first_no_to_its_next_yes() -> None:
    tally = Tally(["one", "two", "three"])
    tally.see("one", True, 0)
    tally.see("one", False, 1)
    tally.see("one", False, 4)
    assert (tally.out, tally.fewest, tally.longest(5)) == ({"one"}, 2, 4)
    tally.see("two", False, 5)
    tally.see("one", True, 6)
    tally.see("two", True, 7)
    assert (tally.out, tally.fewest, tally.longest(99)) == (set(), 1, 5)


def test_who_is_out_when_counting_begins_counts_from_there() -> None:
    tally = Tally(["one", "two"])
    tally.see("one", False, 10)
    tally.see("two", False, 10)
    tally.see("two", True, 50)
    tally.begin(100)
    assert (tally.out, tally.fewest, tally.longest(100)) == ({"one"}, 1, 0)
    tally.see("one", True, 130)
    assert (tally.fewest, tally.longest(999)) == (1, 30)


def kill(at: int, play: str, batch: int = 1, **more: Any) -> Kill:
    return Kill(at, play, batch, "a task", **{"left_out": [], "fewest": 3, "requests": 100} | more)


def test_the_table_has_a_row_for_each_play_and_each_host_of_the_roll() -> None:
    found = [
        kill(7, "Lock the fleet"),
        kill(8, kills.ROLL, left_out=["app-1"], fewest=2, longest_out=30.4, by_itself=109.8),
        kill(9, kills.ROLL, longest_out=1.0),
        kill(12, kills.ROLL, 2, lost=1, problems=["the load: 1 failed"]),
    ]
    assert kills.table(found).splitlines()[2:] == [
        "| Lock the fleet | 7–7 | 1 | 0 | 3 | 0 s | – | 100 | 0 | yes |",
        "| One host at a time, host 1 | 8–9 | 2 | 1 | 2 | 30 s | 110 s | 200 | 0 | yes |",
        "| One host at a time, host 2 | 12–12 | 1 | 0 | 3 | 0 s | – | 100 | 1 | **no** |",
    ]


@pytest.mark.parametrize(("problems", "code"), [([], 0), (["only 1 hosts served"], 1)])
def test_one_broken_promise_is_in_the_exit_code(problems: list[str], code: int, tmp_path: Path) -> None:
    file = tmp_path / "kills.jsonl"
    found = [kill(8, "Roll", problems=problems), kill(7, "Roll")]
    file.write_text("".join(json.dumps(asdict(one)) + "\n" for one in found))
    assert kills.kills(file) == [found[1], found[0]], "in the order of the deploy"
    assert kills.main(["--table", "--records", str(file)]) == code


def test_nothing_proved_is_no_proof(tmp_path: Path) -> None:
    assert kills.main(["--table", "--records", str(tmp_path / "none.jsonl")]) == 1
