"""The proof of `make prove-rolling` fails when a promise is not kept."""

from pathlib import Path
from typing import Any

import pytest

from ..fleet.fleet import Fleet
from ..fleet.load.verdict import WHOLE, Part, Verdict
from ..fleet.proof import BEFORE, ROLLING, Proof, figures


def proof(hosts: int = 3) -> Proof:
    return Proof(Fleet("a-lab", "192.0.2", Path()), hosts, rounds=3, requests=300, rate=10.0, history=Path())


def verdict(before: float = 0.02, rolling: float = 0.02, faults: tuple[str, ...] = (), **outcomes: int) -> Verdict:
    """Of 300 requests, whose short queries took so many seconds in each phase."""
    counts: Any = {"ok": 300 - sum(outcomes.values())} | outcomes
    parts = {BEFORE: Part(BEFORE, 60.0, took=[before] * 100), ROLLING: Part(ROLLING, 60.0, took=[rolling] * 100)}
    whole = Part(WHOLE, 120.0, took=[before, rolling] * 100)
    whole.outcomes.update(counts)
    return Verdict(parts | {WHOLE: whole}, list(faults))


def broken(found: Verdict, hosts: int = 3) -> list[str]:
    return [promise.words for promise in proof(hosts).promises(found) if not promise.kept]


@pytest.mark.parametrize("hosts", [1, 2, 3])
def test_what_was_promised_is_kept_when_nothing_was_lost_and_nobody_waited(hosts: int) -> None:
    assert broken(verdict(before=0.02, rolling=0.026, late=1), hosts) == []


@pytest.mark.parametrize("outcome", ["failed", "foreign", "duplicated"])
def test_one_request_that_went_wrong_breaks_it(outcome: str) -> None:
    assert broken(verdict(**{outcome: 1})) == ["failed, foreign or duplicated: 0"]


def test_a_fault_of_the_history_breaks_it() -> None:
    assert broken(verdict(faults=("run-1: no outcome",))) == ["faults of the history: 0"]


def test_too_few_requests_break_it() -> None:
    assert broken(verdict(ok=299)) == ["requests"]


def test_slower_answers_and_a_long_stall_break_it_where_another_host_could_answer() -> None:
    slow = verdict(before=0.02, rolling=1.1)
    assert broken(slow) == ["p99 while rolling: at most 1.3 times that before", "longest stall: at most 1 s"]
    assert broken(slow, hosts=1) == []


def test_the_table_compares_each_phase_with_the_one_before() -> None:
    lines = figures(verdict(before=0.02, rolling=0.03)).splitlines()
    assert [line.split(" | ")[-1] for line in lines] == ["p99 ÷ before |", "---: |", "1.00 |", "1.50 |", "1.50 |"]
