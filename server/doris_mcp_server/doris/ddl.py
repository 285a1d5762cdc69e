"""CREATE statements as Doris shows them, without the secrets that properties of external tables and catalogs hold."""

import re
from typing import Any, Final

# Doris masks some of these values itself, not all.
_SECRET: Final = re.compile(
    r"""(?P<key>(["'])[^"'\n]*(?:password|passwd|secret|token|access_?key|credential|private|session_key|\.ak|\.sk)"""
    r"""[^"'\n]*\2\s*=\s*)(?P<quote>["'])(?:\\.|(?!(?P=quote)).)*(?P=quote)""",
    re.IGNORECASE | re.DOTALL,
)


def mask_secrets(ddl: str) -> str:
    """A CREATE statement with the values of secret-looking properties replaced by ***."""
    return _SECRET.sub(r"\g<key>\g<quote>***\g<quote>", ddl)


def mask_rows(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows of a SHOW CREATE, every text in them masked."""
    return [tuple(mask_secrets(value) if isinstance(value, str) else value for value in row) for row in rows]
