"""Silence: of one worker whose loop stands still, or of the whole machine."""

import time
from typing import Any, cast

import pytest

from doris_mcp_server.child import SILENT_LIMIT, START_LIMIT, TICKS_WITHIN, Child
from doris_mcp_server.watch import TICK, Watch, turning

from ..clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def child(*, started: bool = True) -> Child:
    found = Child(cast(Any, None), cast(Any, None), heard=time.monotonic())
    if started:
        found.started.set()
    return found


def looks(watch: Watch, clock: Clock, children: list[Child], seconds: float, *, ticking: list[Child]) -> list[Child]:
    """Look each TICK for so long, while only some tick; those found at the end."""
    found: list[Child] = []
    for _ in range(int(seconds / TICK)):
        clock.now += TICK
        for one in ticking:
            one.heard = clock.now
        found = watch.look(children)
    return found


def test_one_that_stops_ticking_is_found_with_time_left_for_another_one_to_start(clock: Clock) -> None:
    stuck, other = child(), child()
    watch = Watch()
    assert looks(watch, clock, [stuck, other], SILENT_LIMIT, ticking=[other]) == []
    assert looks(watch, clock, [stuck, other], 2 * TICK, ticking=[other]) == [stuck]
    assert SILENT_LIMIT + 2 * TICK < 10


def test_one_that_is_starting_has_more_time(clock: Clock) -> None:
    slow = child(started=False)
    watch = Watch()
    assert looks(watch, clock, [slow], START_LIMIT, ticking=[]) == []
    assert looks(watch, clock, [slow], 2 * TICK, ticking=[]) == [slow]


@pytest.mark.parametrize("pause", [TICK * 3, SILENT_LIMIT + 1, 3600.0])
def test_when_everything_stood_still_nobody_is_to_blame(pause: float, clock: Clock) -> None:
    children = [child(), child()]
    watch = Watch()
    clock.now += pause
    assert watch.look(children) == []
    assert looks(watch, clock, children, SILENT_LIMIT - TICK, ticking=children[:1]) == []
    assert looks(watch, clock, children, 2 * TICK, ticking=children[:1]) == children[1:]


def test_systemd_hears_of_a_late_tick_long_before_it_counts_as_silence(clock: Clock) -> None:
    one, other = child(), child()
    assert turning([one, other])
    clock.now += TICKS_WITHIN
    other.heard = clock.now
    assert not turning([one, other])
    assert not one.silent()
    one.heard = clock.now
    assert turning([one, other])


def test_systemd_hears_nothing_where_nobody_listens(clock: Clock) -> None:
    assert not turning([])
    assert not turning([child(started=False)])
    assert turning([child(started=False), child()])
