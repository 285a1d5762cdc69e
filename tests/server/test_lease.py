"""The drain lease: taken, renewed, given back, whose it is, kept over a restart, and what may stand in its file."""

import time
from pathlib import Path

import pytest

from doris_mcp_server.errors import InvalidArgument, ServerError
from doris_mcp_server.lease import Lease


class Clock:
    """Both clocks of the machine, set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.monotonic = 1_800_000_000.0, 50.0
        monkeypatch.setattr(time, "time", lambda: self.wall)
        monkeypatch.setattr(time, "monotonic", lambda: self.monotonic)

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "drain"


def test_it_ends_by_itself_unless_renewed(file: Path, clock: Clock) -> None:
    lease = Lease(file)
    assert not (lease.held or lease.ran_out)
    lease.take(120)
    clock.passes(119)
    assert (lease.held, lease.left) == (True, 1)
    lease.take(120)
    clock.passes(119)
    assert lease.held
    clock.passes(2)
    assert (lease.held, lease.ran_out) == (False, True)


def test_given_back_it_is_gone(file: Path, clock: Clock) -> None:
    lease = Lease(file)
    lease.take(120)
    lease.give_back()
    assert not (lease.held or lease.ran_out or Lease(file).held)


def test_it_holds_over_a_restart_for_what_is_left_of_it(file: Path, clock: Clock) -> None:
    Lease(file).take(120)
    clock.passes(100)
    after = Lease(file)
    assert after.left == pytest.approx(20, abs=0.01)
    clock.passes(21)
    assert after.ran_out


def test_it_is_somebodys_also_after_a_restart_and_nobodys_after_its_end(file: Path, clock: Clock) -> None:
    lease = Lease(file)
    lease.take(120, "ann@laptop")
    assert (lease.by, Lease(file).by) == ("ann@laptop", "ann@laptop")
    lease.take(120)
    assert Lease(file).by == "ann@laptop", "renewed without a name"
    clock.passes(121)
    assert (lease.by, Lease(file).by) == (None, None)
    lease.take(120)
    assert lease.held and lease.by is None


def test_a_lease_of_a_release_that_noted_nobody_still_holds(file: Path, clock: Clock) -> None:
    file.write_text(f"{clock.wall + 60:.3f}\n")
    lease = Lease(file)
    assert (lease.left, lease.by) == (pytest.approx(60, abs=0.01), None)
    assert lease.take(120, "play:2"), "it may be a play's"


def test_a_play_leaves_alone_what_a_person_took(file: Path, clock: Clock) -> None:
    lease = Lease(file)
    lease.take(60, "ann")
    assert not lease.take(120, "play:2")
    assert not lease.give_back("play:2")
    assert (lease.left, lease.by, Lease(file).by) == (60, "ann", "ann")
    assert lease.give_back("bob")
    assert not lease.held


def test_a_play_takes_up_what_another_play_left_and_a_person_takes_over_either(file: Path, clock: Clock) -> None:
    lease = Lease(file)
    lease.take(60, "play:1")
    assert lease.take(60, "play:2") and lease.by == "play:2"
    assert lease.take(60, "ann") and lease.by == "ann"
    clock.passes(61)
    assert lease.take(60, "play:3") and lease.by == "play:3", "hers has ended"
    assert lease.give_back("play:4") and not lease.held


@pytest.mark.parametrize("name", ["", " ", "ann\n1800099999 bob", "a" * 101, " play:1", "\ud800"])
def test_a_name_is_one_line(name: str, file: Path) -> None:
    with pytest.raises(InvalidArgument, match="one line"):
        Lease(file).take(60, name)
    assert not file.exists()


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
def test_a_corrected_system_clock_changes_nothing(jump: float, file: Path, clock: Clock) -> None:
    lease = Lease(file)
    lease.take(120)
    clock.wall += jump
    assert lease.left == 120


@pytest.mark.parametrize("text", ["", "soon", "inf", "nan", "-5", "1e300", "1800099999", "\x00\x80"])
def test_what_is_no_lease_drains_nobody(text: str, file: Path, clock: Clock) -> None:
    file.write_text(text, encoding="latin-1")
    assert not Lease(file).held


@pytest.mark.parametrize("seconds", [0, -1, 0.9, 3601, float("nan"), float("inf")])
def test_it_lasts_a_second_to_an_hour(seconds: float, file: Path) -> None:
    with pytest.raises(InvalidArgument, match="1 to 3600"):
        Lease(file).take(seconds)
    assert not file.exists()


def test_one_that_cannot_be_kept_is_not_taken(tmp_path: Path) -> None:
    lease = Lease(tmp_path / "missing/drain")
    with pytest.raises(ServerError, match="cannot be written"):
        lease.take(120)
    assert not lease.held
