"""What Doris sends, byte by byte, as columns and JSON-ready values (text protocol of MySQL).

Nothing here does I/O. Values: whole numbers up to 2^53-1 stay numbers and beyond that become strings, DECIMAL
is always a string (exact), FLOAT and DOUBLE are numbers or "NaN", "Infinity", "-Infinity", dates and times are
ISO 8601 text, text is text, and bytes that are no UTF-8 become {"base64": "..."}.
"""

import base64
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

TruncatedBy = Literal["rows", "bytes"]
Convert = Callable[[bytes], Any]

SAFE_INTEGER = 2**53 - 1
BINARY = 63  # the character set number that MySQL gives to bytes


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a result; `type` is Doris' word for it, as far as the protocol tells."""

    name: str
    type: str


@dataclass(slots=True)
class Rows:
    """A bounded result. `truncated` is true only if there was more than the limits let through."""

    columns: list[Column]
    rows: list[list[Any]]
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


def _datetime(raw: bytes) -> Any:
    return raw.decode("ascii").replace(" ", "T", 1)


def _bits(raw: bytes) -> Any:
    return _integer(str(int.from_bytes(raw, "big")).encode())


# Type codes of the protocol: FE PrimitiveType.toMysqlType (Doris) and the MySQL internals manual.
_TYPES: dict[int, tuple[str, Convert]] = {
    0: ("DECIMAL", _text),
    1: ("TINYINT", _integer),
    2: ("SMALLINT", _integer),
    3: ("INT", _integer),
    4: ("FLOAT", _float),
    5: ("DOUBLE", _float),
    6: ("NULL", _text),
    7: ("DATETIME", _datetime),
    8: ("BIGINT", _integer),
    9: ("INT", _integer),
    10: ("DATE", _text),
    11: ("TIME", _text),
    12: ("DATETIME", _datetime),
    13: ("SMALLINT", _integer),
    14: ("DATE", _text),
    15: ("VARCHAR", _text),
    16: ("BIT", _bits),
    17: ("DATETIME", _datetime),
    18: ("DATETIME", _datetime),
    19: ("TIME", _text),
    245: ("JSON", _text),
    246: ("DECIMAL", _text),
    249: ("STRING", _text),
    250: ("STRING", _text),
    251: ("STRING", _text),
    252: ("STRING", _text),
    253: ("VARCHAR", _text),
    254: ("STRING", _text),
}


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
    name, convert = _TYPES.get(packet[at + 7], ("STRING", _text))
    if charset == BINARY and packet[at + 7] in (249, 250, 251, 252):
        name = "BINARY"
    return Column(texts[4].decode("utf-8", "replace"), name), convert


def parse_row(packet: bytes, converters: list[Convert]) -> list[Any]:
    """A row packet as JSON-ready values. ValueError/IndexError if the packet does not hold these columns."""
    values: list[Any] = []
    at = 0
    for convert in converters:
        size = packet[at]
        if size < 0xFB:
            at += 1
        elif size == 0xFB:
            values.append(None)
            at += 1
            continue
        else:
            size, at = length_encoded(packet, at)
        end = at + size
        if end > len(packet):
            raise ValueError("a value longer than its row")
        values.append(convert(packet[at:end]))
        at = end
    return values
