"""Clients of a fleet while something is done to it, none of which may notice."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .fleet import APP, Fleet
from .load import Load, Mix
from .load.history import read
from .load.verdict import judge


@asynccontextmanager
async def watch(fleet: Fleet, what: str, rate: float = 40.0, *, accident: bool = False) -> AsyncIterator[Load]:
    """Clients of all hosts meanwhile, with room left for the plays on a small machine, and drains kept short.

    Each request gets its own answer, once: so say the clients and, from the history, who checks them. An accident may
    cost answers, but mixes none up.
    """
    history = fleet.dir / "history"
    async with Load(fleet.mcp, fleet.token, rate, mix=Mix(longest=4.0), history=history) as load:
        await load.until(lambda report: set(report.hosts) == APP)
        yield load
    fleet.figures.append(f"{what}: {load.report}")
    verdict = judge(read(history))
    assert not (load.report.foreign or load.report.duplicated or verdict.faults), (load.report, verdict)
    assert accident or (load.report.clean and verdict.clean), (load.report, verdict)
