"""The fleet's lock on one host, and how a controller learns that another one is dead."""

import os
from pathlib import Path
from typing import Any

import pytest

from .plugins import plugin

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
