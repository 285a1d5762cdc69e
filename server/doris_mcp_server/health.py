"""Whether this worker can do its work, found out in the background so that a probe costs nothing.

`/livez`: the loop turns. `/readyz`: not draining, a Doris answers, the store answers; otherwise why not.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from doris_mcp_server.errors import ServerError
from doris_mcp_server.observe import event

GOOD_FOR = 5.0  # seconds between checks of something that answers
BAD_FOR = 1.0  # seconds between checks of something that does not


@dataclass(slots=True)
class Check:
    """One thing this worker depends on, and how it did when last asked."""

    name: str
    probe: Callable[[], Awaitable[None]]
    group: str  # of checks of one group, one that is good is enough
    good_for: float = GOOD_FOR
    details: Callable[[], dict[str, Any]] = dict  # what else to show of it
    ok: bool = False
    reason: str | None = "not checked yet"
    hint: str | None = None

    async def run(self) -> None:
        """Ask once. Whatever goes wrong becomes the reason; nothing escapes."""
        was = self.ok
        try:
            await self.probe()
        except ServerError as error:
            self.ok, self.reason, self.hint = False, error.message, error.hint
        except Exception as error:  # a probe that is itself broken must show as "not ready", not end the watch
            self.ok, self.reason, self.hint = False, f"the check failed: {error!r}", None
        else:
            self.ok, self.reason, self.hint = True, None, None
        if was != self.ok:
            event(
                f"{self.name} {'answers' if self.ok else 'does not answer'}",
                level=logging.INFO if self.ok else logging.WARNING,
                reason=self.reason,
            )


class Health:
    """All checks of one worker."""

    def __init__(self, checks: list[Check]) -> None:
        self.checks = checks

    @property
    def ready(self) -> bool:
        able = {check.group for check in self.checks if check.ok}
        return all(check.group in able for check in self.checks)

    @property
    def reasons(self) -> list[str]:
        """Why this worker is not ready, a line each, with what to do where that is known."""
        return [
            f"{check.name}: {check.reason}" + (f" ({check.hint})" if check.hint else "")
            for check in self.checks
            if not check.ok
        ]

    def report(self) -> dict[str, Any]:
        return {c.name: {"ok": c.ok, "reason": c.reason, "hint": c.hint, **c.details()} for c in self.checks}

    async def watch(self) -> None:
        """Keep checking until cancelled; the checks do not wait for each other."""
        async with asyncio.TaskGroup() as group:
            for check in self.checks:
                group.create_task(self._watch_one(check))

    async def _watch_one(self, check: Check) -> None:
        while True:
            await check.run()
            await asyncio.sleep(check.good_for if check.ok else BAD_FOR)
