"""The guard's bench prints a line for each figure that is asked; what it measures is judged elsewhere, by people."""

import asyncio

import pytest

from ..server.doris.statements import Row
from . import guard


def test_every_figure_has_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(guard, "ROUNDS", 1)
    monkeypatch.setattr(guard, "CALLS", 10)
    monkeypatch.setattr(guard, "legal", list)
    monkeypatch.setattr(guard, "large", lambda: [Row("one of ours", "SELECT 1" + " UNION SELECT 1" * 500, True)])
    monkeypatch.setattr("gc.freeze", lambda: None)
    assert guard.main() in (0, 1)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 8
    assert "one of ours" in printed[6]
    assert all(line.startswith("|") and line.endswith("|") for line in printed)


def test_what_is_more_than_asked_is_not_met() -> None:
    assert "| yes |" in guard.line("x", 1.0, 2.0, "ms")
    assert "| **no** |" in guard.line("x", 2.5, 2.0, "ms")


def test_refused_statements_are_measured_too() -> None:
    seen = asyncio.run(guard.judged(Row("refused", "DROP TABLE t", False)))
    assert seen.took_ms > 0
    assert seen.gap_ms >= 0
