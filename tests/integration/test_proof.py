"""The proofs of `make prove-rolling` and `make prove-shared` fail when a promise is not kept."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ..fleet.fleet import Fleet
from ..fleet.load.verdict import WHOLE, Part, Verdict
from ..fleet.proof import BEFORE, ROLLING, Proof, figures
from ..fleet.shared import Absence, Outage, checked, report


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


# --- what all hosts share ---

KILLED = Outage("killed", acknowledged=1400, lost=0, gap=1.6, failed=0, requests=700, why=())
AWAY = Absence(served=14.0, refused={503}, back=0.1, revived=0)


def test_what_all_hosts_share_is_shown_in_two_tables() -> None:
    words, kept = report([0.001] * 100, [KILLED], AWAY)
    assert kept
    assert "| killed | 1,400 | 0 | 1.60 | 700 | 0 |" in words
    assert "| 0 of 1400 acknowledged revocations lost | 0 | yes |" in words


@pytest.mark.parametrize(
    ("times", "outage", "away", "broken"),
    [
        ([0.001] * 90 + [0.3] * 10, KILLED, AWAY, "99 of 100 revocations"),
        ([0.001] * 999 + [3.1], KILLED, AWAY, "all of 1000"),
        ([0.001], replace(KILLED, lost=1), AWAY, "0 of 1400 acknowledged"),
        ([0.001], replace(KILLED, failed=1), AWAY, "0 of 700 requests"),
        ([0.001], replace(KILLED, gap=3.01), AWAY, "the store takes writes again"),
        ([0.001], KILLED, replace(AWAY, served=5.0), "without a store"),
        ([0.001], KILLED, replace(AWAY, refused={401, 503}), "then told to come again"),
        ([0.001], KILLED, replace(AWAY, back=2.1), "served within"),
        ([0.001], KILLED, replace(AWAY, revived=1), "no revoked token"),
    ],
)
def test_each_promise_of_what_hosts_share_can_be_broken(
    times: list[float], outage: Outage, away: Absence, broken: str
) -> None:
    found = [words for words, _, kept in checked(times, [outage], away) if not kept]
    assert len(found) == 1 and found[0].startswith(broken), found
