"""Rate limits: one count for all workers of the fleet, few round trips, an honest time to wait, and no store needed."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from doris_mcp_server.auth import limiter
from doris_mcp_server.auth import permits as permits_module
from doris_mcp_server.auth.limiter import AWAY
from doris_mcp_server.auth.permits import GOOD_FOR, Permits
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import Overloaded
from doris_mcp_server.state import Store

from ...clock import Clock
from ..conftest import LIMIT
from .conftest import Spy


def limited(text: str) -> Settings:
    return Settings.model_validate({"rate_limits": text})


def workers(text: str, store: Store, count: int, clock: Callable[[], float], **options: Any) -> list[Permits]:
    return [Permits(limited(text), store, lambda: count, clock=clock, **options) for _ in range(count)]


async def passes(permits: Permits, kind: str = "principal", of: str = "ann") -> bool:
    try:
        await permits.spend(kind, of)
    except Overloaded:
        return False
    return True


async def wait_for(permits: Permits, kind: str = "principal", of: str = "ann") -> int:
    with pytest.raises(Overloaded) as caught:
        await permits.spend(kind, of)
    return caught.value.retry_after


async def settled(permits: Permits) -> None:
    """Return when nothing is asked for in the background."""
    async with asyncio.timeout(LIMIT):
        while any(bucket and bucket.asking for bucket in permits._buckets.values()):
            await asyncio.sleep(0)


# --- the count ---


async def test_a_small_limit_is_exact_over_all_workers_and_says_when_to_come_again(store: Store) -> None:
    fleet = [Permits(limited("principal=10/h"), store, lambda: 3) for _ in range(3)]
    let_in = await asyncio.gather(*(passes(fleet[n % 3]) for n in range(30)))
    assert sum(let_in) == 10
    for permits in fleet:
        assert 0 < await wait_for(permits) <= 360
        assert await passes(permits, of="bob")
    assert not await passes(fleet[0])


async def test_a_refused_caller_gets_in_when_he_was_told_and_not_before(spy: Spy, clock: Clock) -> None:
    one, two = workers("principal=10/m", spy, 2, clock)
    for n in range(10):
        assert await passes((one, two)[n % 2])
    assert [await wait_for(one), await wait_for(two)] == [6, 6]
    asked = len(spy.asked)
    clock.now += 5.9
    assert (await wait_for(one), len(spy.asked)) == (1, asked)  # which is known without asking
    clock.now += 0.2
    assert [await passes(one), await passes(two)] == [True, False]


async def test_a_busy_caller_waits_for_few_round_trips_and_never_gets_more_than_the_limit(
    spy: Spy, clock: Clock
) -> None:
    (permits,) = workers("principal=6000/m", spy, 1, clock)
    let_in = 0
    for _ in range(7_000):
        let_in += await passes(permits)
        await settled(permits)
    assert let_in == spy.given == 6_000
    taken = [wanted for wanted in spy.asked if wanted > 1]
    assert max(taken) == 50
    assert len(spy.asked) < 6_000 / 25


async def test_what_is_taken_ahead_is_there_before_the_last_one_is_used(spy: Spy, clock: Clock) -> None:
    (permits,) = workers("principal=6000/m", spy, 1, clock)
    for n in range(500):
        assert await passes(permits)
        await settled(permits)
        bucket = permits._buckets["principal", "ann"]
        assert bucket and (bucket.held or n < 10)  # so that the next one does not wait for the store


async def test_of_what_nobody_uses_little_is_taken_and_that_is_lost_in_two_seconds(spy: Spy, clock: Clock) -> None:
    (permits,) = workers("principal=6000/m", spy, 1, clock)
    for _ in range(20):
        assert await passes(permits)
        clock.now += GOOD_FOR  # who comes seldom finds none that was taken ahead
    assert spy.given == 20
    for _ in range(10):
        assert await passes(permits)
        await settled(permits)
    ahead = spy.given - 30
    assert ahead > 0
    clock.now += GOOD_FOR
    before = len(spy.asked)
    assert await passes(permits)
    assert len(spy.asked) == before + 1


async def test_workers_that_share_a_limit_leave_some_to_each_other(spy: Spy, clock: Clock) -> None:
    fleet = workers("principal=600/m", spy, 20, clock)
    for permits in fleet:
        for _ in range(10):
            assert await passes(permits)
            await settled(permits)
    assert max(spy.asked) <= 600 // (6 * 20)


async def test_many_at_once_share_the_round_trips(spy: Spy, clock: Clock) -> None:
    (permits,) = workers("principal=1000/h", spy, 1, clock)
    assert sum(await asyncio.gather(*(passes(permits) for _ in range(1_500)))) == 1_000
    assert len(spy.asked) <= 4


async def test_one_that_goes_away_while_it_waits_harms_no_other(spy: Spy, clock: Clock) -> None:
    (permits,) = workers("principal=10/h", spy, 1, clock)
    spy.gate = asyncio.Event()
    gone, stays = (asyncio.create_task(passes(permits)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    spy.gate.set()
    assert await stays
    assert [await passes(permits) for _ in range(9)].count(True) >= 8


# --- what is limited ---


async def test_each_is_limited_by_itself_and_by_the_nearest_limit(spy: Spy, clock: Clock) -> None:
    (permits,) = workers(
        "principal=1/h, principal:batch=3/h, tool:echo=2/h, address=1/h burst 2", spy, 1, clock, tools=("echo",)
    )
    for kind, of, allowed in (
        ("principal", "ann", 1),
        ("principal", "bob", 1),
        ("principal", "batch", 3),
        ("tool", "echo", 2),
        ("tool", "other", 9),
        ("address", "192.0.2.1", 2),
        ("failure", "192.0.2.1", 9),
    ):
        assert sum([await passes(permits, kind, of) for _ in range(9)]) == allowed, (kind, of)


@pytest.mark.parametrize("name", ["ü", "\ud800", "a/b c", "x" * 5_000, "", "a:b"])
async def test_a_caller_may_have_any_name(store: Store, name: str) -> None:
    permits = Permits(limited("principal=1/h"), store, lambda: 1)
    assert [await passes(permits, of=name) for _ in range(2)] == [True, False]
    assert await passes(permits, of=name + "'")


async def test_nothing_is_limited_without_limits_and_they_can_change(spy: Spy, clock: Clock) -> None:
    permits = Permits(Settings(), spy, lambda: 1, clock=clock)
    assert not permits.on
    assert await passes(permits)
    permits.apply(limited("principal=2/h"))
    assert permits.on
    assert [await passes(permits) for _ in range(3)] == [True, True, False]
    permits.apply(limited("principal=2/h, tool=1/h"))
    assert not await passes(permits)  # what was spent stays spent
    permits.apply(Settings())
    assert await passes(permits)


async def test_a_check_takes_nothing_and_knows_what_this_worker_learned(spy: Spy, clock: Clock) -> None:
    (permits,) = workers("failure=1/m", spy, 1, clock)
    for _ in range(3):
        permits.check("failure", "a")
    assert [await passes(permits, "failure", "a") for _ in range(2)] == [True, False]
    with pytest.raises(Overloaded):
        permits.check("failure", "a")
    permits.check("failure", "b")
    clock.now += 61
    permits.check("failure", "a")


async def test_what_is_remembered_is_bounded(spy: Spy, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permits_module, "KEPT", 20)
    (permits,) = workers("address=1/h", spy, 1, clock)
    for n in range(100):
        assert await passes(permits, "address", str(n))
        assert len(permits._buckets) <= 20
    assert not await passes(permits, "address", "0")  # which the store remembers


# --- the store away ---


async def test_with_the_store_away_each_worker_keeps_to_its_share(spy: Spy, clock: Clock) -> None:
    fleet = workers("principal=40/m", spy, 4, clock)
    spy.away = True
    for permits in fleet:
        assert sum([await passes(permits) for _ in range(20)]) == 10
        assert await wait_for(permits) == 6  # 10 a minute
    clock.now += 6.1
    assert [await passes(permits) for permits in fleet] == [True] * 4
    assert [await passes(permits) for permits in fleet] == [False] * 4


async def test_however_many_workers_there_are_each_lets_one_through(spy: Spy, clock: Clock) -> None:
    fleet = workers("principal=1/m", spy, 3, clock)
    spy.away = True
    assert [[await passes(permits) for _ in range(2)] for permits in fleet] == [[True, False]] * 3


async def test_nobody_waits_for_a_store_that_is_known_to_be_away_and_it_is_used_when_it_is_back(
    spy: Spy, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limiter, "PATIENCE", 0.01)
    (permits,) = workers("principal=100/h", spy, 1, clock)
    spy.gate = asyncio.Event()  # it hangs
    assert await passes(permits)
    assert permits._away
    monkeypatch.setattr(limiter, "PATIENCE", LIMIT)
    assert await passes(permits)
    clock.now += AWAY
    assert [await passes(permits) for _ in range(5)] == [True] * 5  # while it is asked again
    await asyncio.sleep(0)
    assert len(spy.asked) == 2
    spy.gate.set()
    await settled(permits)
    assert not permits._away
    assert await passes(permits)
