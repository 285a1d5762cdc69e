"""What every session of ours has in common: it reads a statement as the guard did.

One statement looks, and one SET follows where something differs, so a session that is right costs one round trip.
"""

import re
from collections.abc import Mapping
from typing import Final

from doris_mcp_server.doris.names import quote_text
from doris_mcp_server.doris.wire import Answered, Wire
from doris_mcp_server.errors import DorisUnavailable

UNKNOWN_VARIABLE: Final = 1193
# Doris 2.1 has an older planner, which takes over a query that the newer one refuses unless it is told not to. From 3.0
# on there is one, and these two are constants that can still be asked for (SessionVariable.java, REMOVED).
PLANNERS: Final = {"enable_nereids_planner": "true", "enable_fallback_to_original_planner": "false"}
_BOOLEANS: Final = {"1": "true", "on": "true", "0": "false", "off": "false"}
_NO_VARIABLE = re.compile(r"(?:unknown|unsupported) system variable", re.IGNORECASE)


async def pin(wire: Wire) -> None:
    """Have strings read backslashes as escapes, and one planner decide. DorisUnavailable where that cannot be had."""
    try:
        seen = await _look(wire)
        if changes := _changes(seen):
            await wire.command(f"SET {', '.join(changes)}")
    except Answered as answer:
        # Nothing may be sent over a session that reads statements in a way we do not know.
        raise DorisUnavailable(f"Doris would not tell or set its sql_mode and planner: {answer.text}") from None


async def _look(wire: Wire) -> dict[str, str]:
    """This session's values of sql_mode and PLANNERS. Only sql_mode if the server is not Doris."""
    try:
        return await _ask(wire, "sql_mode", *PLANNERS)
    except Answered as answer:
        if answer.code != UNKNOWN_VARIABLE and not _NO_VARIABLE.search(answer.text):
            raise
    return await _ask(wire, "sql_mode")


async def _ask(wire: Wire, *names: str) -> dict[str, str]:
    """The values of variables. SHOW VARIABLES would name some `experimental_…` in 2.1, and hide them from 3.0 on."""
    _, rows, _ = await wire.run(f"SELECT {', '.join(f'@@{name}' for name in names)}", max_rows=1, max_bytes=10_000)
    values = ["" if value is None else str(value) for row in rows for value in row]
    if len(values) != len(names):
        raise DorisUnavailable(f"Doris did not tell its {' and '.join(names)}")
    return dict(zip(names, values, strict=True))


def _changes(seen: Mapping[str, str]) -> list[str]:
    """The assignments for SET. Empty if the session needs none."""
    modes = seen["sql_mode"].split(",")
    kept = [mode for mode in modes if mode.strip().upper() != "NO_BACKSLASH_ESCAPES"]
    changes = [f"sql_mode = {quote_text(','.join(kept))}"] if kept != modes else []
    off = [name for name, wanted in PLANNERS.items() if _boolean(seen, name) not in (None, wanted)]
    return changes + [f"{name} = {PLANNERS[name]}" for name in off]


def _boolean(seen: Mapping[str, str], name: str) -> str | None:
    """`true` or `false`, however Doris writes it; None for a variable that is not there."""
    value = seen.get(name)
    return None if value is None else _BOOLEANS.get(value.lower(), value.lower())
