"""The picture: requests per CPU-second as bars, drawn by hand because nothing else here needs a plotting library."""

from collections.abc import Mapping
from html import escape

from .verdicts import CALLS, SYSTEMS, Rows, pick

_COLOURS = {"ours": "#1d6fb8", "bare": "#8a8f98", "bare+driver": "#8a8f98"}
_OTHER = "#c9a25f"
_WIDTH, _LEFT, _BAR, _GAP = 760, 190, 20, 8


def chart(rows: Rows) -> str:
    """Requests per CPU-second as bars, one group for each call that was measured."""
    parts: list[str] = []
    y = 16
    for call, title in CALLS.items():
        bars = _bars(rows, call)
        if not bars:
            continue
        y += 20
        parts.append(f'<text x="16" y="{y}" font-weight="600">{escape(title.replace("`", ""))}</text>')
        y += 12
        most = max(spread["max"] for _, _, spread in bars)
        scale = (_WIDTH - _LEFT - 110) / most if most else 0
        for system, era, spread in bars:
            parts += _bar(y, f"{system}, {era}", _COLOURS.get(system, _OTHER), spread, scale)
            y += _BAR + _GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + 16}" width="{_WIDTH}" role="img" '
        'font-family="system-ui, sans-serif" font-size="13" fill="#222">'
        "<title>Requests per CPU-second, one worker, 16 connections</title>"
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _bars(rows: Rows, call: str) -> list[tuple[str, str, Mapping[str, float]]]:
    found = []
    for system in SYSTEMS:
        for era in ("modern", "legacy"):
            if row := pick(rows, system, call, era):
                found.append((system, era, row["requests_per_cpu_second"]))
    return found


def _bar(y: int, label: str, colour: str, spread: Mapping[str, float], scale: float) -> list[str]:
    low, middle, high = (round(_LEFT + spread[key] * scale, 1) for key in ("min", "median", "max"))
    centre = y + _BAR // 2
    return [
        f'<text x="{_LEFT - 8}" y="{centre + 4}" text-anchor="end">{escape(label)}</text>',
        f'<rect x="{_LEFT}" y="{y}" width="{max(1, middle - _LEFT):.1f}" height="{_BAR}" fill="{colour}"/>',
        f'<path d="M{low} {centre}H{high}" stroke="#222" stroke-width="1.5"/>',
        f'<text x="{high + 8}" y="{centre + 4}">{spread["median"]:,.0f}</text>',
    ]
