"""What Doris sends, byte by byte, as columns and JSON-ready values (text protocol of MySQL).

Nothing here does I/O. Values: whole numbers up to 2^53-1 stay numbers and beyond that become strings, DECIMAL
is always a string (exact), FLOAT and DOUBLE are numbers or "NaN", "Infinity", "-Infinity", dates and times are
ISO 8601 text, text is text, and bytes that are no UTF-8 become {"base64": "..."}.
"""

import base64
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

TruncatedBy = Literal["rows", "bytes"]
Convert = tuple[int, None, Callable[[Any], Any] | None]
"""How to read a value, in the shape that asyncmy's compiled reader takes: what a value's bytes are made into (RAW,
UTF8, ASCII), a place nobody uses, and what is then called with that."""

RAW, UTF8, ASCII = 0, 1, 2
SAFE_INTEGER = 2**53 - 1
BINARY = 63  # the character set number that MySQL gives to bytes
WHOLE_PACKET: Final = 0xFFFFFF
END, ERR, NULL = 0xFE, 0xFF, 0xFB


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a result; `type` is Doris' word for it, as far as the protocol tells."""

    name: str
    type: str


@dataclass(slots=True)
class Rows:
    """A bounded result. `truncated` is true only if there was more than the limits let through."""

    columns: list[Column]
    rows: list[tuple[Any, ...]]
    truncated: bool
    truncated_by: TruncatedBy | None
    elapsed_ms: float

    def dicts(self) -> list[dict[str, Any]]:
        """Each row by lower-case column name: Doris versions differ in which columns come and in what order."""
        names = [column.name.lower() for column in self.columns]
        return [dict(zip(names, row, strict=True)) for row in self.rows]


def _integer(raw: bytes) -> Any:
    value = int(raw)
    return value if -SAFE_INTEGER <= value <= SAFE_INTEGER else str(value)


def _float(raw: bytes) -> Any:
    value = float(raw)
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _text(raw: bytes) -> Any:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode("ascii")}


def _datetime(text: str) -> Any:
    return text.replace(" ", "T", 1)


def _bits(raw: bytes) -> Any:
    return _integer(str(int.from_bytes(raw, "big")).encode())


_INT: Final[Convert] = (RAW, None, int)
_BIGINT: Final[Convert] = (RAW, None, _integer)
_FLOAT: Final[Convert] = (RAW, None, _float)
_DATETIME: Final[Convert] = (ASCII, None, _datetime)
_PLAIN: Final[Convert] = (ASCII, None, None)
_UTF8: Final[Convert] = (UTF8, None, None)
_ANY: Final[Convert] = (RAW, None, _text)
# Type codes of the protocol: FE PrimitiveType.toMysqlType (Doris) and the MySQL internals manual.
_TYPES: dict[int, tuple[str, Convert]] = {
    0: ("DECIMAL", _PLAIN),
    1: ("TINYINT", _INT),
    2: ("SMALLINT", _INT),
    3: ("INT", _INT),
    4: ("FLOAT", _FLOAT),
    5: ("DOUBLE", _FLOAT),
    6: ("NULL", _UTF8),
    7: ("DATETIME", _DATETIME),
    8: ("BIGINT", _BIGINT),
    9: ("INT", _INT),
    10: ("DATE", _PLAIN),
    11: ("TIME", _PLAIN),
    12: ("DATETIME", _DATETIME),
    13: ("SMALLINT", _INT),
    14: ("DATE", _PLAIN),
    15: ("VARCHAR", _UTF8),
    16: ("BIT", (RAW, None, _bits)),
    17: ("DATETIME", _DATETIME),
    18: ("DATETIME", _DATETIME),
    19: ("TIME", _PLAIN),
    245: ("JSON", _UTF8),
    246: ("DECIMAL", _PLAIN),
    249: ("STRING", _UTF8),
    250: ("STRING", _UTF8),
    251: ("STRING", _UTF8),
    252: ("STRING", _UTF8),
    253: ("VARCHAR", _UTF8),
    254: ("STRING", _UTF8),
}


def careful(converts: tuple[Convert, ...]) -> tuple[Convert, ...]:
    """The same for a result in which text turned out to be no UTF-8: each such value is looked at by itself."""
    return tuple(_ANY if convert is _UTF8 else convert for convert in converts)


def length_encoded(data: bytes, at: int) -> tuple[int, int]:
    """(number, position after it) of a length-encoded integer that starts at `at`. ValueError if it is none."""
    first = data[at]
    if first < 0xFB:
        return first, at + 1
    width = {0xFC: 2, 0xFD: 3, 0xFE: 8}.get(first)
    if width is None or at + 1 + width > len(data):
        raise ValueError("not a length-encoded integer")
    return int.from_bytes(data[at + 1 : at + 1 + width], "little"), at + 1 + width


def parse_column(packet: bytes) -> tuple[Column, Convert]:
    """A column definition packet as the column and the way to read its values. ValueError/IndexError if broken."""
    at = 0
    texts: list[bytes] = []
    for _ in range(6):  # catalog, schema, table, original table, name, original name
        size, at = length_encoded(packet, at)
        texts.append(packet[at : at + size])
        at += size
    charset = int.from_bytes(packet[at + 1 : at + 3], "little")
    name, convert = _TYPES.get(packet[at + 7], ("STRING", _UTF8))
    if charset == BINARY and packet[at + 7] in (249, 250, 251, 252):
        name = "BINARY"
    return Column(texts[4].decode("utf-8", "replace"), name), convert


def parse_rows(
    buffer: bytearray,
    at: int,
    end: int,
    converts: tuple[Convert, ...],
    sequence: int,
    into: list[tuple[Any, ...]],
) -> tuple[int, int]:
    """Append to `into` the rows that lie whole in `buffer[at:end]`; where it stopped, and the next packet's number.

    Stops before a packet that is incomplete, out of sequence, empty, an error, the end of the rows, or part of a
    larger one. ValueError/IndexError if a packet does not hold these columns. The contract is asyncmy's.
    """
    while end - at >= 4:
        size = int.from_bytes(buffer[at : at + 3], "little")
        if buffer[at + 3] != sequence or size in (0, WHOLE_PACKET) or end - at - 4 < size:
            break
        first = buffer[at + 4]
        if first == ERR or (first == END and size < 9):
            break
        into.append(_parse_row(bytes(buffer[at + 4 : at + 4 + size]), converts))
        at += 4 + size
        sequence = (sequence + 1) & 0xFF
    return at, sequence


def _parse_row(packet: bytes, converts: tuple[Convert, ...]) -> tuple[Any, ...]:
    values: list[Any] = []
    at = 0
    for kind, _, call in converts:
        size = packet[at]
        if size < NULL:
            at += 1
        elif size == NULL:
            values.append(None)
            at += 1
            continue
        else:
            size, at = length_encoded(packet, at)
        end = at + size
        if end > len(packet):
            raise ValueError("a value longer than its row")
        value: Any = packet[at:end]
        if kind != RAW:
            value = value.decode("utf-8" if kind == UTF8 else "ascii")
        values.append(value if call is None else call(value))
        at = end
    return tuple(values)
