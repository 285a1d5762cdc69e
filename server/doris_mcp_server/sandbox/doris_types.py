"""Doris' types by their names: what they are in DuckDB."""

import re
from collections.abc import Iterator

_DUCKDB = {
    "char": "VARCHAR",
    "varchar": "VARCHAR",
    "string": "VARCHAR",
    "text": "VARCHAR",
    "datetime": "TIMESTAMP",
    "largeint": "HUGEINT",
    "variant": "JSON",
    # What a bitmap or a sketch holds; Doris shows neither.
    "bitmap": "BIGINT[]",
    "hll": "BIGINT[]",
}


def base(doris: str) -> str:
    """The type without its arguments: `decimal(38,10)` is a `decimal`."""
    return re.split(r"[(<]", doris, maxsplit=1)[0]


def duckdb_type(doris: str) -> str:
    """The DuckDB type that holds the values of a Doris type."""
    kind = base(doris)
    inner = doris[len(kind) + 1 : -1]
    if kind == "array":
        return f"{duckdb_type(inner)}[]"
    if kind == "map":
        return f"MAP({', '.join(duckdb_type(part) for part in _parts(inner))})"
    if kind == "struct":
        fields = (part.split(":", 1) for part in _parts(inner))
        return f"STRUCT({', '.join(f'{name} {duckdb_type(of)}' for name, of in fields)})"
    return _DUCKDB.get(kind, doris.upper())


def _parts(inner: str) -> Iterator[str]:
    """What commas part, outside of brackets."""
    depth, start = 0, 0
    for at, letter in enumerate(inner):
        depth += (letter in "<(") - (letter in ">)")
        if letter == "," and depth == 0:
            yield inner[start:at]
            start = at + 1
    yield inner[start:]
