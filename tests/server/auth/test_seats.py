"""How many calls run at once: one count for all workers of the fleet, few round trips, and no store needed."""

import asyncio
import contextlib
from collections.abc import Callable

import pytest

from doris_mcp_server.auth import limiter
from doris_mcp_server.auth.limiter import AWAY
from doris_mcp_server.auth.seats import FULL, RENEW, TERM, Seats
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import Overloaded
from doris_mcp_server.state import Store

from ...clock import Clock
from ..conftest import LIMIT
from .conftest import Spy

ANN = ("principal", "ann")


def limited(text: str) -> Settings:
    return Settings.model_validate({"concurrency_limits": text})


def workers(text: str, store: Store, count: int, clock: Callable[[], float]) -> list[Seats]:
    return [Seats(limited(text), store, lambda: count, ("echo",), clock) for _ in range(count)]


class Calls:
    """Calls that run until they are told to end."""

    def __init__(self) -> None:
        self._running: list[contextlib.AsyncExitStack] = []

    def __len__(self) -> int:
        return len(self._running)

    async def begin(self, seats: Seats, *wanted: tuple[str, str]) -> bool:
        stack = contextlib.AsyncExitStack()
        try:
            await stack.enter_async_context(seats.taken(*(wanted or (ANN,))))
        except Overloaded as error:
            assert error.retry_after == 1
            return False
        self._running.append(stack)
        return True

    async def end(self, number: int = 1) -> None:
        for _ in range(number):
            await self._running.pop(0).aclose()


async def settled(seats: Seats) -> None:
    """Return when nothing is asked for in the background."""
    async with asyncio.timeout(LIMIT):
        while any(row.asking for row in seats._rows.values()):
            await asyncio.sleep(0)


# --- the count ---


async def test_a_limit_is_exact_over_all_workers_and_a_seat_is_free_when_a_call_ends(store: Store) -> None:
    fleet = [Seats(limited("principal=10"), store, lambda: 3) for _ in range(3)]
    calls = Calls()
    assert sum(await asyncio.gather(*(calls.begin(fleet[n % 3]) for n in range(30)))) == 10
    async with asyncio.timeout(LIMIT):
        for seats in fleet:
            assert await calls.begin(seats, ("principal", "bob"))
        await calls.end(10)
        for seats in fleet:
            await seats.tidy()
            await seats.tidy()
        begun = 0
        while begun < 10:
            begun += await calls.begin(fleet[begun % 3])


async def test_what_a_worker_needed_a_moment_ago_costs_no_round_trip(spy: Spy, clock: Clock) -> None:
    (seats,) = workers("principal=50", spy, 1, clock)
    calls = Calls()
    for _ in range(200):
        assert await calls.begin(seats)
        assert await calls.begin(seats)
        await calls.end(2)
    assert spy.asked == [1, 2]
    await seats.tidy()
    assert spy.asked == [1, 2], "two were needed since the last look"
    await seats.tidy()
    assert spy.asked == [1, 2, 0], "and none since this one"
    await seats.tidy()
    assert not seats._rows, "who comes no more is forgotten"


async def test_where_few_are_left_a_seat_is_free_as_soon_as_a_call_ends(spy: Spy, clock: Clock) -> None:
    one, two = workers("principal=2", spy, 2, clock)
    calls = Calls()
    assert await calls.begin(one)
    await calls.end()
    await settled(one)
    assert [await calls.begin(two) for _ in range(2)] == [True, True]


async def test_many_at_once_share_the_round_trips(spy: Spy, clock: Clock) -> None:
    (seats,) = workers("principal=40", spy, 1, clock)
    calls = Calls()
    assert sum(await asyncio.gather(*(calls.begin(seats) for _ in range(60)))) == 40
    assert len(spy.asked) <= 2


async def test_who_is_refused_again_and_again_asks_the_store_ten_times_a_second_at_most(spy: Spy, clock: Clock) -> None:
    one, two = workers("principal=1", spy, 2, clock)
    calls = Calls()
    assert await calls.begin(one)
    for _ in range(100):
        assert not await calls.begin(two)
    assert len(spy.asked) == 2
    await calls.end()
    for _ in range(2):
        await one.tidy()
    assert not await calls.begin(two)
    clock.now += FULL
    assert await calls.begin(two)


async def test_seats_are_kept_while_calls_run_and_those_of_a_dead_worker_are_free_again(spy: Spy, clock: Clock) -> None:
    one, two = workers("principal=3", spy, 2, clock)
    calls, began = Calls(), clock.now
    for _ in range(2):
        assert await calls.begin(one)
    assert await calls.begin(two)
    while clock.now - began < TERM:
        assert not await calls.begin(one)
        clock.now += RENEW
        await one.tidy()  # which the other one, being dead, does not
    assert [await calls.begin(one) for _ in range(2)] == [True, False]


async def test_one_that_goes_away_while_it_waits_harms_no_other(spy: Spy, clock: Clock) -> None:
    (seats,) = workers("principal=1", spy, 1, clock)
    calls = Calls()
    spy.gate = asyncio.Event()
    gone, stays = (asyncio.create_task(calls.begin(seats)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    spy.gate.set()
    assert await stays


async def test_a_call_that_is_cancelled_gives_up_its_seat(spy: Spy, clock: Clock) -> None:
    (seats,) = workers("principal=1, tool:echo=1", spy, 1, clock)

    async def run() -> None:
        async with seats.taken(("tool", "echo"), ANN):
            await asyncio.Event().wait()

    running = asyncio.create_task(run())
    async with asyncio.timeout(LIMIT):
        while not all(row.inside for row in seats._rows.values()) or len(seats._rows) < 2:
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await Calls().begin(seats, ("tool", "echo"), ANN)


async def test_a_look_that_is_cancelled_ends_no_call_that_waits_for_the_same_answer(spy: Spy, clock: Clock) -> None:
    (seats,) = workers("principal=1", spy, 1, clock)
    calls = Calls()
    spy.gate = asyncio.Event()
    waits = asyncio.create_task(calls.begin(seats))
    await asyncio.sleep(0)
    look = asyncio.create_task(seats.tidy())
    await asyncio.sleep(0)
    look.cancel()
    await asyncio.gather(look, return_exceptions=True)
    spy.gate.set()
    assert await waits


# --- what is limited ---


async def test_each_is_limited_by_itself_and_by_the_nearest_limit(spy: Spy, clock: Clock) -> None:
    (seats,) = workers("principal=1, principal:batch=3, tool:echo=2, address=2", spy, 1, clock)
    for kind, of, allowed in (
        ("principal", "ann", 1),
        ("principal", "bob", 1),
        ("principal", "batch", 3),
        ("tool", "echo", 2),
        ("tool", "other", 9),
        ("address", "192.0.2.1", 2),
    ):
        calls = Calls()
        assert sum([await calls.begin(seats, (kind, of)) for _ in range(9)]) == allowed, (kind, of)


async def test_who_is_refused_one_seat_keeps_none_of_the_others(spy: Spy, clock: Clock) -> None:
    (seats,) = workers("principal=1, tool:echo=5", spy, 1, clock)
    calls = Calls()
    assert await calls.begin(seats, ("tool", "echo"), ANN)
    for _ in range(9):
        assert not await calls.begin(seats, ("tool", "echo"), ANN)
    for name in "bcde":
        assert await calls.begin(seats, ("tool", "echo"), ("principal", name))
    assert not await calls.begin(seats, ("tool", "echo"), ("principal", "f"))


async def test_limits_can_change_while_calls_run(spy: Spy, clock: Clock) -> None:
    seats = Seats(Settings(), spy, lambda: 1, clock=clock)
    calls = Calls()
    assert not seats.on and await calls.begin(seats)
    seats.apply(limited("principal=2"))
    assert seats.on
    assert [await calls.begin(seats) for _ in range(3)] == [True, True, False]
    seats.apply(limited("principal=3"))
    clock.now += FULL
    assert [await calls.begin(seats) for _ in range(2)] == [True, False]
    seats.apply(limited("address=1"))
    assert await calls.begin(seats), "nothing bounds callers any more"
    seats.apply(Settings())
    await calls.end(5)
    assert not seats.on


@pytest.mark.parametrize("name", ["ü", "\ud800", "a/b c", "x" * 5_000, "", "a:b"])
async def test_a_caller_may_have_any_name(store: Store, name: str) -> None:
    seats = Seats(limited("principal=1"), store, lambda: 1)
    calls = Calls()
    assert [await calls.begin(seats, ("principal", name)) for _ in range(2)] == [True, False]


# --- the store away ---


async def test_with_the_store_away_each_worker_keeps_to_its_share(spy: Spy, clock: Clock) -> None:
    fleet = workers("principal=8", spy, 4, clock)
    spy.away = True
    calls = Calls()
    for seats in fleet:
        assert sum([await calls.begin(seats) for _ in range(9)]) == 2
    asked = len(spy.asked)
    assert not await calls.begin(fleet[0])
    assert len(spy.asked) == asked, "nobody waits for one that is known to be away"


async def test_what_was_held_before_the_store_went_is_good_to_its_end(spy: Spy, clock: Clock) -> None:
    one, _ = workers("principal=8", spy, 2, clock)
    calls = Calls()
    for _ in range(7):
        assert await calls.begin(one)
    spy.away = True
    clock.now += RENEW
    await one.tidy()
    await calls.end(2)
    assert [await calls.begin(one) for _ in range(3)] == [True, True, False]
    clock.now += TERM
    await calls.end(7)
    assert [await calls.begin(one) for _ in range(5)] == [True] * 4 + [False]


async def test_the_store_is_used_when_it_is_back(spy: Spy, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiter, "PATIENCE", 0.01)
    one, two = workers("principal=2", spy, 2, clock)
    spy.gate = asyncio.Event()  # it hangs
    calls = Calls()
    assert [await calls.begin(one) for _ in range(2)] == [True, False]
    monkeypatch.setattr(limiter, "PATIENCE", LIMIT)
    spy.gate.set()
    clock.now += AWAY
    await one.tidy()  # who sat down meanwhile is told of now
    assert [await calls.begin(two) for _ in range(2)] == [True, False]
    assert not await calls.begin(one)


async def test_a_worker_that_ends_gives_its_seats_back(spy: Spy, clock: Clock) -> None:
    one, two = workers("principal=1", spy, 2, clock)
    calls = Calls()
    assert await calls.begin(one)
    await one.close()
    await calls.end()  # one that was cut off ends afterwards
    await settled(one)
    assert [await calls.begin(two) for _ in range(2)] == [True, False]
