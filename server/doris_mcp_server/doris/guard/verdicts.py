"""What the guard says about a statement, and its memory of what it said."""

from dataclasses import dataclass
from threading import Lock
from typing import Final

from doris_mcp_server.doris.guard.policy import Path, Policy
from doris_mcp_server.errors import Place, StatementRefused

REMEMBERED: Final = 1_024
REMEMBERED_CHARACTERS: Final = 16_384


@dataclass(frozen=True, slots=True)
class Verdict:
    """An accepted statement: its `kind` ("select", "union", "show", ...), the tables it names, as written and sorted,
    and the text to be `sent` to Doris.

    `ddl`: the answer holds CREATE statements, and with them perhaps secrets that must be masked.
    `hidden`: the columns to be masked in its result, by their folded names; `masked`: how many of them it selects by
    name, what comes out of a `*` is not counted.
    """

    kind: str
    paths: tuple[Path, ...]
    sent: str
    ddl: bool = False
    hidden: frozenset[str] = frozenset()
    masked: int = 0

    @property
    def tables(self) -> tuple[str, ...]:
        """The same with dots between their parts."""
        return tuple(sorted(".".join(path) for path in self.paths))

    @property
    def is_query(self) -> bool:
        """Whether it gives rows of tables, and so has a plan of its own."""
        return self.kind not in ("show", "describe", "explain")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused statement. Each caller gets an exception of its own: a shared one would collect tracebacks."""

    message: str
    hint: str | None
    at: Place | None

    def error(self) -> StatementRefused:
        return StatementRefused(self.message, hint=self.hint, at=self.at)


Decision = Verdict | Refusal


class Memory:
    """Decisions by policy and text, the oldest forgotten first. Long texts are not kept. Threads may share it."""

    def __init__(self) -> None:
        self._decisions: dict[tuple[str, Policy], Decision] = {}
        self._writing = Lock()

    def get(self, sql: str, policy: Policy) -> Decision | None:
        return self._decisions.get((sql, policy))

    def keep(self, sql: str, policy: Policy, decision: Decision) -> None:
        if len(sql) > REMEMBERED_CHARACTERS:
            return
        with self._writing:
            self._decisions[sql, policy] = decision
            if len(self._decisions) > REMEMBERED:
                del self._decisions[next(iter(self._decisions))]
