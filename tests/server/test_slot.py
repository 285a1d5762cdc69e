"""A slot on its own: what it does while there can be no worker, and when there can be none in another one's place."""

import asyncio
import logging

import pytest

from doris_mcp_server.child import Child
from doris_mcp_server.errors import ServerError
from doris_mcp_server.slot import Slot

from .conftest import LIMIT


async def test_where_no_worker_can_be_made_it_is_tried_again_later_and_later(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("doris_mcp_server.slot.BACKOFF", (0.001, 0.004))
    stopping = asyncio.Event()
    tries = 0

    async def start(slot: Slot) -> Child:
        nonlocal tries
        tries += 1
        if tries > 5:
            stopping.set()
        raise ServerError("no process for a worker: too many open files", hint="LimitNOFILE")

    slot = Slot([], start, stopping)
    with caplog.at_level(logging.INFO, "doris_mcp"):
        async with asyncio.timeout(LIMIT):
            await slot.keep()
    told = [record.__dict__["fields"] for record in caplog.records]
    assert {(line["reason"], line["hint"]) for line in told} == {
        ("no process for a worker: too many open files", "LimitNOFILE")
    }
    assert len(told) == 5
    status = slot.status()
    assert (status["crashes"], status["replaced"]) == (6, 0)
    assert status["last_exit"]["reason"] == "no process for a worker: too many open files"


async def test_a_slot_without_a_worker_needs_no_other_one() -> None:
    async def start(slot: Slot) -> Child:
        raise AssertionError("not wanted")

    assert await Slot([], start, asyncio.Event()).replace() is None
