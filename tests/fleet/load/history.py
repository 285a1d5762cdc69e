"""What a load leaves behind: JSON lines, one for each request, in the order in which they ended.

Times are seconds since 1970, so that a line can be found again in the hosts' logs.
"""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec

from .arrivals import Era, Kind

Outcome = Literal["", "ok", "late", "failed", "foreign", "duplicated"]


class Begin(msgspec.Struct, tag="begin", tag_field="line"):
    """The first line. An answer that comes more than `deadline` seconds after it should have is late."""

    run: str
    rate: float
    seed: int
    deadline: float


class Request(msgspec.Struct, tag="request", tag_field="line"):
    """What was asked, what came back, and what the load made of it.

    `due` is when it should have been sent, `start` when it was, `answered` when the answer (of a stream: the first
    frame) was there, `end` when it was over. `connection` is the client's port of its connection.
    """

    nonce: str  # the run, a hyphen, a number that counts from 1
    kind: Kind
    era: Era
    seconds: float  # how long it lasts by itself
    due: float
    start: float = 0.0
    answered: float = 0.0
    end: float = 0.0
    connection: int = 0
    sent: int = 0  # how often it was written to a connection
    told: int = 0  # how often it was told to come again
    status: int = 0
    host: str = ""  # x-served-by
    ids: list[str] = []  # of the answers; of a stream each one once
    nonces: list[str] = []  # in the answers' rows
    ended_by: Literal["", "client", "server"] = ""  # of a stream
    outcome: Outcome = ""
    why: str = ""  # what went wrong, in a few words
    sample: str = ""  # what came instead of an answer, cut


class Phase(msgspec.Struct, tag="phase", tag_field="line"):
    """A part of the proof: what was due from `begin` to `end` belongs to it, however long it waited."""

    name: str
    begin: float
    end: float


class End(msgspec.Struct, tag="end", tag_field="line"):
    """The last line of a load that was left in order: how many requests it made."""

    requests: int


Line = Begin | Request | Phase | End


class History:
    """A file that lines are added to, or nothing without a path."""

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("wb") if path else None
        self._encoder = msgspec.json.Encoder()

    def add(self, line: Line) -> None:
        if self._file is not None:
            self._file.write(self._encoder.encode(line) + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def read(path: Path) -> Iterator[Line]:
    """The lines of a history. Raises: msgspec.DecodeError for one that is none, or only a part of one."""
    decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)
    with path.open("rb") as file:
        yield from map(decoder.decode, file)
