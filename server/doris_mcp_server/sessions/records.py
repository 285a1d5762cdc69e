"""What the store keeps of sessions, because their ids cannot tell it: that one is in use, and that one was ended."""

import json
from dataclasses import asdict, dataclass
from typing import Final

from doris_mcp_server.state import Store

FAMILY: Final = "session:v1"
ENDED: Final = "ended"  # in the place of a record
WARM: Final = 2.0  # seconds a worker believes a session without asking again: bounds how long another host's end takes
SKEW: Final = 60.0  # seconds the hosts' clocks may differ


@dataclass(frozen=True, slots=True)
class Record:
    """A session in use, as the store has it; a tenth of the idle limit old at most."""

    id: str
    principal: str
    version: str
    began: float  # Unix time, seconds
    used: float  # Unix time, seconds
    node: str  # the host that served it then


class Records:
    """The records of a fleet. Methods raise StoreUnavailable."""

    def __init__(self, store: Store, *, idle_seconds: float, max_seconds: float) -> None:
        self._store = store
        self.interval = max(idle_seconds / 10, 5.0)
        """Seconds between two notes that a session is in use."""
        self.kept = idle_seconds + self.interval + WARM
        """Seconds a record must be kept to cover the last use that was noted."""
        self._max = max_seconds

    async def get(self, id: str) -> Record | str | None:
        """The record of a session, ENDED, or None where there is none."""
        text = await self._store.get(f"{FAMILY}/{id}")
        return ENDED if text == ENDED else _decode(id, text)

    async def all(self, principal: str | None = None) -> list[Record]:
        """The sessions in use, of one caller or of all, oldest first."""
        found = [_decode(id, text) for id, text in (await self._store.find(FAMILY)).items()]
        records = [record for record in found if record and principal in (None, record.principal)]
        return sorted(records, key=lambda record: record.began)

    async def touch(self, record: Record) -> None:
        """Keep that a session is in use, unless it was ended."""
        said = asdict(record)
        await self._store.put(f"{FAMILY}/{said.pop('id')}", json.dumps(said), self.kept, unless=ENDED)

    async def end(self, id: str) -> None:
        """Keep that it was ended. Once a session is older than `kept`, having no record refuses it, too."""
        await self._store.put(f"{FAMILY}/{id}", ENDED, min(self.kept, self._max) + SKEW)


def _decode(id: str, text: str | None) -> Record | None:
    """What a text says; None for the end of a session, and for what another release wrote otherwise."""
    try:
        data = json.loads(text or "")
        return Record(id, **{name: data[name] for name in Record.__dataclass_fields__ if name != "id"})
    except (ValueError, TypeError, KeyError):
        return None
