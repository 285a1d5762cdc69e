"""The steps of a shutdown: whatever one of them does, the next one has its turn, and all end in time."""

import asyncio
import logging

import pytest

from doris_mcp_server.observe import Metrics
from doris_mcp_server.steps import CUT, Steps

from .conftest import LIMIT


class Counts(Metrics):
    """What is counted, as a list: step, result, seconds."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, float]] = []

    def shutdown_step(self, step: str, result: str, seconds: float) -> None:
        self.seen.append((step, result, seconds))


async def fine() -> None:
    return None


async def cut() -> str:
    return CUT


async def fails() -> None:
    raise ZeroDivisionError


async def hangs() -> None:
    await asyncio.get_running_loop().create_future()


async def gives_up() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("step", "result"), [(fine, "ok"), (cut, "cut"), (fails, "failed"), (hangs, "late"), (gives_up, "failed")]
)
async def test_each_is_told_counted_and_followed_by_the_next(
    step: object, result: str, caplog: pytest.LogCaptureFixture
) -> None:
    counts = Counts()
    steps = Steps(LIMIT, counts)
    with caplog.at_level(logging.INFO, "doris_mcp"):
        await steps.run("first", step(), 0.01)  # type: ignore[operator]
        await steps.run("next", fine(), LIMIT)
    assert [(name, seen) for name, seen, _ in counts.seen] == [("first", result), ("next", "ok")]
    assert steps.clean == (result == "ok")
    told = [record.__dict__["fields"] for record in caplog.records if record.message == "shutdown step"]
    assert [(line["step"], line["result"]) for line in told] == [("first", result), ("next", "ok")]
    assert all(line["ms"] >= 0 for line in told)


async def test_one_that_does_not_hear_that_it_is_cancelled_is_left_behind() -> None:
    release = asyncio.Event()
    deaf = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                deaf.set()

    counts = Counts()
    steps = Steps(LIMIT, counts)
    await steps.run("stubborn", stubborn(), 0.01)
    assert deaf.is_set()
    await steps.run("next", fine(), LIMIT)
    assert [result for _, result, _ in counts.seen] == ["late", "ok"]
    release.set()


async def test_together_they_have_one_limit_and_each_has_a_turn_even_after_it() -> None:
    counts = Counts()
    steps = Steps(0.05, counts)
    async with asyncio.timeout(LIMIT / 2):
        for name in ("a", "b", "c"):
            await steps.run(name, hangs(), LIMIT)
        await steps.run("d", fine(), LIMIT)
    assert [result for _, result, _ in counts.seen] == ["late", "late", "late", "ok"]
