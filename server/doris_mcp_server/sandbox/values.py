"""Values as the text Doris makes of them where that is not what Python would write (BE mysql_row_buffer.cpp)."""

import math
import struct
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

Encoder = Callable[[Any, Any], bytes]  # called with the column, which none of these needs, and the value


def double(column: Any, value: float) -> bytes:
    """Shortest digits, no fraction on whole numbers; NaN, Infinity, -Infinity."""
    return _number(value, repr(value))


def single(column: Any, value: float) -> bytes:
    """The same for 32 bits: DuckDB's FLOAT comes as the double next to it."""
    if not math.isfinite(value):
        return _number(value, "")
    wanted = struct.pack("f", value)
    texts = (f"{value:.{digits}g}" for digits in range(6, 10))
    return _number(value, next(text for text in texts if struct.pack("f", float(text)) == wanted or len(text) > 40))


def _number(value: float, text: str) -> bytes:
    if math.isnan(value):
        return b"NaN"
    if math.isinf(value):
        return b"Infinity" if value > 0 else b"-Infinity"
    return text.removesuffix(".0").encode()


def decimal(column: Any, value: Decimal) -> bytes:
    """All digits after the point, never an exponent."""
    return f"{value:f}".encode()


def datetime3(column: Any, value: datetime) -> bytes:
    return value.isoformat(" ", "milliseconds").encode()


def datetime6(column: Any, value: datetime) -> bytes:
    return value.isoformat(" ", "microseconds").encode()


def nested(value: Any) -> str:
    """A value within an ARRAY, MAP or STRUCT, or one of these: `[1, null]`, `{"a":1, "b":2}`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, list):
        return f"[{', '.join(map(nested, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{nested(name)}:{nested(of)}" for name, of in value.items()) + "}"
    if isinstance(value, (str, date)):  # a datetime is a date
        return f'"{value}"'
    if isinstance(value, float):
        return double(None, value).decode()
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
