"""A broken or mean frontend costs its caller a typed error, and nobody else anything."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from doris_mcp_server.doris.driver import Name

from ..conftest import TOKEN, serving
from ..fleet.load import SHORT, Load
from ..server.doris.conftest import Frontend
from . import hostile, sizes
from .asking import ask
from .hostile import ASKED, Hostile
from .house import DRIVERS, Server, until

# One server for each driver: what it survives, it survives one after the other.
pytestmark = pytest.mark.asyncio(loop_scope="module")
PEAK = 200  # MB of the worker, over all of it


@dataclass(frozen=True)
class Besieged(Server):
    """A server with two clusters: `default` answers, `other` does what it is told."""

    other: Frontend

    async def other_is(self, up: bool) -> None:
        await until(lambda: self.figure("doris_mcp_frontend_up", cluster="other"), lambda seen: seen == up)

    async def errors(self) -> float:
        return await self.figure("doris_mcp_tool_calls_total", outcome="error")


@asynccontextmanager
async def frontends() -> AsyncIterator[tuple[Frontend, Frontend]]:
    both = Frontend(), Frontend()
    for each in both:
        await each.start()
    try:
        yield both
    finally:
        for each in both:
            await each.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=DRIVERS)
async def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Besieged]:
    driver: Name = request.param
    runtime: Path = tmp_path_factory.mktemp("runtime")
    async with frontends() as (good, other):
        good.script = sizes.script
        account = {"accounts": {"default": {"user": "root"}}}
        clusters = {"good": good, "other": other}
        places = {name: {"frontends": [f"127.0.0.1:{each.port}"], **account} for name, each in clusters.items()}
        settings = {"DORIS_MCP_CLUSTERS": json.dumps(places), "DORIS_MCP_CONNECT_TIMEOUT": "1"}
        async with serving(runtime, DORIS_MCP_TOKEN=TOKEN, DORIS_MCP_DRIVER=driver, **settings) as server:
            yield Besieged(server, other)


@pytest.mark.parametrize("fault", [pytest.param(fault, id=fault.name) for fault in hostile.every()])
async def test_a_hostile_frontend_costs_a_typed_error_and_nobody_else_anything(fault: Hostile, house: Besieged) -> None:
    await house.other_is(up=True)
    (pid,) = await house.workers()
    errors, lines = await house.errors(), len(house.running.lines)
    async with Load(f"{house.running.url}/mcp", TOKEN, mix=SHORT) as load:
        await load.answers(2)
        fault.prepare(house.other)
        house.other.hang_up()
        told = await ask(house.port, ASKED, cluster="other", timeout_s=1)
        await load.answers(2)
        if not fault.up:
            await house.other_is(up=False)
    assert told.error is not None, told
    assert (told.kind, told.error["retryable"]) == (fault.kind, fault.kind == hostile.UNAVAILABLE)
    assert re.search(fault.words, told.error["message"]), told
    assert load.report.clean, load.report
    assert await house.errors() == errors + 1
    assert list(await house.workers()) == [pid]
    assert await house.memory() < PEAK
    house.other.behave()
    house.other.hang_up()
    await until(lambda: ask(house.port, "SELECT 1", cluster="other"), lambda told: told.result)
    assert "Traceback" not in str(house.running.lines[lines:])
    assert not [line for line in house.running.lines[lines:] if "exception" in line or line.get("plain")]
