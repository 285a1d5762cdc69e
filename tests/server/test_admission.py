"""Admission: how many run, who waits, who is told to come back, and that no turn is lost."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from doris_mcp_server.errors import Overloaded
from doris_mcp_server.protocol.admission import Admission

LONG = 60.0


async def enter(admission: Admission, principal: str) -> None:
    if not admission.take(principal):
        await admission.wait(principal)


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.sleep(0)


def waits(admission: Admission, *principals: str) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(enter(admission, principal), name=principal) for principal in principals]


async def test_who_waits_gets_its_turn_in_order() -> None:
    admission = Admission(total=1, each=1, queued=10, patience=LONG)
    await enter(admission, "a")
    first, second = waits(admission, "b", "c")
    await until(lambda: admission.waiting == 2)
    admission.leave("a")
    await first
    assert not second.done()
    admission.leave("b")
    await second
    assert (admission.running, admission.waiting) == (1, 0)


async def test_a_caller_with_enough_running_holds_up_nobody_else() -> None:
    admission = Admission(total=3, each=1, queued=10, patience=LONG)
    await enter(admission, "greedy")
    again, other = waits(admission, "greedy", "other")
    await other
    assert not again.done()
    admission.leave("other")
    assert not again.done()
    admission.leave("greedy")
    await again
    assert admission.running == 1


async def test_a_full_queue_says_so() -> None:
    admission = Admission(total=1, each=1, queued=1, patience=LONG)
    await enter(admission, "a")
    (task,) = waits(admission, "a")
    await until(lambda: admission.waiting)
    with pytest.raises(Overloaded, match="1 calls run and 1 wait"):
        await enter(admission, "a")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (admission.running, admission.waiting) == (1, 0)


async def test_a_turn_that_does_not_come() -> None:
    admission = Admission(total=1, each=1, queued=1, patience=0.01)
    await enter(admission, "a")
    with pytest.raises(Overloaded, match=r"within 0\.01 s"):
        await enter(admission, "a")
    assert (admission.running, admission.waiting) == (1, 0)


async def test_a_turn_that_comes_to_one_who_has_gone_is_passed_on() -> None:
    admission = Admission(total=1, each=1, queued=2, patience=LONG)
    await enter(admission, "a")
    gone, next_one = waits(admission, "b", "c")
    await until(lambda: admission.waiting == 2)
    admission.leave("a")  # b's turn, which b has not seen yet
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    await next_one
    assert (admission.running, admission.waiting) == (1, 0)


async def test_a_turn_is_not_given_to_one_who_has_just_gone() -> None:
    admission = Admission(total=1, each=1, queued=2, patience=LONG)
    await enter(admission, "a")
    gone, next_one = waits(admission, "b", "c")
    await until(lambda: admission.waiting == 2)
    gone.cancel()
    admission.leave("a")  # before b's task has run again
    await next_one
    assert gone.cancelled()
    assert (admission.running, admission.waiting) == (1, 0)


async def test_a_storm_leaves_nothing_behind() -> None:
    admission = Admission(total=3, each=2, queued=500, patience=LONG)
    most: list[int] = []

    async def call(number: int) -> None:
        await enter(admission, f"p{number % 7}")
        try:
            most.append(admission.running)
            for _ in range(number % 3):
                await asyncio.sleep(0)
        finally:
            admission.leave(f"p{number % 7}")

    tasks = [asyncio.create_task(call(number)) for number in range(300)]
    await asyncio.sleep(0)
    for task in tasks[::5]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert max(most) == 3
    assert (admission.running, admission.waiting) == (0, 0)


async def test_other_limits_let_in_who_waits_and_turn_nobody_away() -> None:
    admission = Admission(total=1, each=1, queued=10, patience=LONG)
    await enter(admission, "a")
    tasks = waits(admission, "a", "b", "b", "c")
    await until(lambda: admission.waiting == 4)
    admission.limit(total=3, each=1, queued=0, patience=LONG)
    await asyncio.gather(tasks[1], tasks[3])
    assert (admission.running, admission.waiting) == (3, 2)
    with pytest.raises(Overloaded):
        await enter(admission, "d")
    admission.limit(total=1, each=1, queued=10, patience=LONG)
    admission.leave("b")
    admission.leave("c")
    await until(lambda: admission.running == 1)
    assert not tasks[0].done() and not tasks[2].done()
    admission.leave("a")
    await tasks[0]
    admission.leave("a")
    await tasks[2]
