"""The optimizer hints that may be given: they say how a query is run, and set no variable.

Source: LogicalPlanBuilder.withSelectHint of the frontend. Doris takes a hint for one only behind SELECT; anywhere else
it is a comment, and is not sent.
"""

import re
from typing import Final

MAX_CHARACTERS: Final = 2_048
ALLOWED: Final = "LEADING, ORDERED, BROADCAST, SHUFFLE, [NO_]USE_MV and [NO_]USE_CBO_RULE"

_VALUE = r"(?:-?[\w.]+|'[^'\\*/]*'|\"[^\"\\*/]*\")"
_SKEW = rf"\[\s*SKEW\s*\(\s*[\w.]+\s*\(\s*{_VALUE}(?:\s*,\s*{_VALUE})*\s*\)\s*\)\s*\]"
_NAMES = rf"\((?:[\w\s.{{}},]|{_SKEW}|`[^`()=]*`)*\)"
_PART = rf"(?:LEADING\s*{_NAMES}|(?:NO_)?USE_(?:MV|CBO_RULE)(?:\s*{_NAMES})?|ORDERED|BROADCAST|SHUFFLE)"
_HINT = re.compile(rf"/\*\+\s*{_PART}(?:[\s,]+{_PART})*\s*\*/", re.IGNORECASE | re.ASCII)
_PIECE = re.compile(r"`[^`]*`|'[^']*'|\"[^\"]*\"|-?[\w.]+|[{}\[\](),]", re.ASCII)


def is_allowed(text: str) -> bool:
    """Whether a comment that begins with /*+ holds allowed hints only."""
    return len(text) <= MAX_CHARACTERS and _HINT.fullmatch(text) is not None


def canonical(text: str) -> str:
    """An allowed hint in the one form that is sent: one blank between its pieces, none around parentheses."""
    written = ""
    for piece in _PIECE.findall(text[3:-2]):
        if written and written[-1] != "(" and piece not in ("(", ")", ","):
            written += " "
        written += piece
    return f"/*+ {written} */"
