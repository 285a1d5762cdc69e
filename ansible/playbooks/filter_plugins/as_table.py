"""Jinja filter for plays that report: records as the lines of a table."""

from __future__ import annotations

from typing import Any


def as_table(rows: list[dict[str, Any]]) -> list[str]:
    """Records of the same keys as lines: the keys first, then one line each, columns separated by ` | `."""
    if not rows:
        return []
    cells = [[str(value) for value in row] for row in ([*rows[0]], *(row.values() for row in rows))]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        return {"as_table": as_table}
