"""The checker of histories finds each fault by itself, whatever the load made of the request."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ..fleet.load.arrivals import Mix, arrivals
from ..fleet.load.history import Begin, End, History, Line, Phase, Request, read
from ..fleet.load.verdict import Verdict, judge

DEADLINE = 5.0


def call(number: int, **changes: Any) -> Request:
    """A short query that is due at second `number` and answered rightly half a second later, with `changes`."""
    nonce = f"run-{number}"
    return Request(**{
        "nonce": nonce, "kind": "short", "era": "modern", "seconds": 0.0, "due": number, "start": number,
        "answered": number + 0.5, "end": number + 0.5, "connection": 4711, "sent": 1, "status": 200, "host": "app-1",
        "ids": [nonce], "nonces": [nonce], "outcome": "ok",
    } | changes)  # fmt: skip


def stream(number: int, **changes: Any) -> Request:
    own: dict[str, Any] = {"kind": "stream", "nonces": [], "ended_by": "client", "seconds": 3.0, "end": number + 3.0}
    return call(number, **own | changes)


def verdict(*lines: Line, made: int | None = None) -> Verdict:
    """Of a whole history with these lines."""
    requests = sum(isinstance(line, Request) for line in lines)
    return judge([Begin("run", 1.0, 1, DEADLINE), *lines, End(requests if made is None else made)])


def test_a_history_of_right_answers_is_clean() -> None:
    found = verdict(
        call(1),
        call(2, kind="long", seconds=4.0, answered=6.5),
        stream(3),
        stream(4, era="legacy", ids=[], sent=2),
        stream(5, ended_by="server"),
        call(6, sent=2, told=1),
    )
    assert found.clean, found
    assert found.whole.outcomes == {"ok": 6}


@pytest.mark.parametrize(
    ("outcome", "changes"),
    [
        pytest.param("failed", {"status": 502}, id="another status"),
        pytest.param("failed", {"status": 0, "ids": [], "nonces": []}, id="no answer"),
        pytest.param("failed", {"nonces": []}, id="an error"),
        pytest.param("failed", {"why": "what the load saw"}, id="something else"),
        pytest.param("foreign", {"nonces": ["run-7"]}, id="the nonce of a request that is not there"),
        pytest.param("foreign", {"ids": ["run-1"]}, id="the id of another request"),
        pytest.param("duplicated", {"nonces": ["run-1"]}, id="an answer that was given before"),
        pytest.param("duplicated", {"ids": ["run-2"] * 2, "nonces": ["run-2"] * 2}, id="two answers"),
        pytest.param("late", {"answered": 2 + DEADLINE + 0.1}, id="an answer after the deadline"),
    ],
)
def test_a_fault_is_found_though_the_load_calls_it_right(outcome: str, changes: dict[str, Any]) -> None:
    found = verdict(call(1), call(2, **changes))
    assert found.whole.outcomes == {"ok": 1, outcome: 1}
    assert found.faults == [f"run-2: called ok, is {outcome}"]
    assert not found.clean


@pytest.mark.parametrize(
    ("outcome", "changes"),
    [
        pytest.param("failed", {"ended_by": ""}, id="cut"),
        pytest.param("failed", {"ids": []}, id="a subscription that names nobody"),
        pytest.param("foreign", {"ids": ["run-1"]}, id="somebody else's subscription"),
        pytest.param("late", {"answered": 2 + DEADLINE + 0.1}, id="a first frame after the deadline"),
    ],
)
def test_a_fault_of_a_stream_is_found(outcome: str, changes: dict[str, Any]) -> None:
    found = verdict(call(1), stream(2, **changes))
    assert found.whole.outcomes == {"ok": 1, outcome: 1}


def test_what_the_load_counted_is_not_believed_either_way() -> None:
    found = verdict(call(1), call(2, status=502, outcome="failed"), call(3, outcome="failed"))
    assert found.whole.outcomes == {"ok": 2, "failed": 1}
    assert found.faults == ["run-3: called failed, is ok"]


@pytest.mark.parametrize(
    ("lines", "made", "fault"),
    [
        pytest.param([call(1), call(3)], 3, "run-2: no outcome", id="a request without outcome"),
        pytest.param([call(1), call(2)], 1, "run-2: never made", id="an outcome without request"),
        pytest.param([call(1), call(1, outcome="failed")], 1, "run-1: two outcomes, ok and failed", id="two outcomes"),
        pytest.param([call(1, sent=2)], 1, "run-1: sent 2 times, told to come again 0 times", id="a POST sent twice"),
        pytest.param(
            [stream(1, sent=3, era="legacy", ids=[])],
            1,
            "run-1: sent 3 times, told to come again 0 times",
            id="a GET sent three times",
        ),
    ],
)
def test_a_fault_of_the_history_is_found(lines: list[Line], made: int, fault: str) -> None:
    found = verdict(*lines, made=made)
    assert found.faults == [fault]
    assert not found.clean


@pytest.mark.parametrize("lines", [[call(1), End(1)], [Begin("run", 1.0, 1, DEADLINE), call(1)]])
def test_a_history_without_beginning_or_end_proves_nothing(lines: list[Line]) -> None:
    assert judge(lines).faults == ["the history has no beginning or no end"]


def test_a_history_without_requests_proves_nothing() -> None:
    assert not verdict().clean


def test_phases_have_figures_of_their_own() -> None:
    slow = [call(100 + n, answered=100 + n + n / 100, end=100 + n + n / 100) for n in range(1, 101)]
    found = verdict(
        call(1),
        call(2, status=502, outcome="failed"),
        call(3, kind="long", seconds=4.0, answered=8.9, end=8.9),
        *(call(210 + n) for n in range(3)),
        *slow,
        Phase("before", 0.0, 10.0),
        Phase("rolling", 100.0, 202.0),
        Phase("rolling", 202.0, 300.0),
    )
    before, rolling = found.parts["before"], found.parts["rolling"]
    assert before.outcomes == {"ok": 2, "failed": 1}
    assert (before.percentile(0.5), before.stall, before.seconds) == (0.5, 0.5, 10.0)
    assert rolling.outcomes == {"ok": 103}
    assert (rolling.seconds, rolling.stall) == (200.0, 1.0)
    assert (round(rolling.percentile(0.5), 2), round(rolling.percentile(0.99), 2)) == (0.5, 0.99)
    assert "| before | 10 | 3 | 1 | 0 | 0 | 0 | 500.0 | 500.0 | 500.0 |" in str(found)


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    lines: list[Line] = [Begin("run", 1.0, 1, DEADLINE), call(1), stream(2), Phase("all of it", 0.0, 9.0), End(2)]
    with History(tmp_path / "history") as history:
        for line in lines:
            history.add(line)
    assert list(read(tmp_path / "history")) == lines


def test_half_a_line_is_no_history(tmp_path: Path) -> None:
    (tmp_path / "history").write_bytes(b'{"line":"end","requests"')
    with pytest.raises(msgspec.DecodeError):
        list(read(tmp_path / "history"))


def test_arrivals_keep_their_rate_and_shares_and_come_again_with_the_seed() -> None:
    def first(seed: int) -> list[Any]:
        drawn: Iterator[Any] = arrivals(50.0, Mix(), seed)
        return [next(drawn) for _ in range(10_000)]

    drawn = first(1)
    assert drawn == first(1) != first(2)
    assert [each.at for each in drawn] == sorted(each.at for each in drawn)
    assert all(number / 50 <= each.at < (number + 1) / 50 for number, each in enumerate(drawn))
    shares = [sum(each.kind == kind for each in drawn) / len(drawn) for kind in ("short", "long", "stream")]
    assert shares == [pytest.approx(share, abs=0.02) for share in (0.8, 0.15, 0.05)]
    lengths = [each.seconds for each in drawn if each.kind == "long"]
    assert min(lengths) >= 2.0 and max(lengths) <= 20.0 and 3.7 < sum(lengths) / len(lengths) < 4.3
