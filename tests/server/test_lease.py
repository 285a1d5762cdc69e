"""The drain lease: taken, renewed, given back, kept over a restart, and what may stand in its file."""

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
