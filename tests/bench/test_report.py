"""The report says what the rows say, and judges them as the acceptance lines do."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from . import report, smoke, verdicts
from .bench import Cell, Plan, facts, rows
from .calls import Target
from .measure import METRICS, Sample
from .systems import Running, bare

FIGURES = {
    # (system, era, call) → requests per CPU-second
    ("ours", "modern", "echo"): 30_000.0,
    ("ours", "legacy", "echo"): 27_000.0,
    ("bare", "modern", "echo"): 38_000.0,
    ("bare", "legacy", "echo"): 36_000.0,
    ("sdk", "modern", "echo"): 6_000.0,
    ("sdk", "legacy", "echo"): 3_000.0,
    ("ours", "modern", "execute_query"): 4_000.0,
    ("bare+driver", "modern", "execute_query"): 7_000.0,
}


def measured(**changes: float) -> list[dict[str, Any]]:
    """Rows of three rounds, spread by 10%; `changes` are values that all of them get."""
    samples = {}
    for (system, era, call), figure in FIGURES.items():
        for workers in (1, 4):
            taken = []
            for share in (0.9, 1.0, 1.1):
                values = dict.fromkeys(METRICS, 0.0) | {"requests_per_second": 6000.0, "p99_ms": 5.0, "rss_mb": 80.0}
                taken.append(Sample(values | {"requests_per_cpu_second": figure * share} | changes))
            samples[Cell(workers, call, era, 16, system)] = taken
    return rows(samples, {"ours": {"median": 0.5, "min": 0.4, "max": 0.6}})


def circumstances(**changes: Any) -> dict[str, Any]:
    balance = [
        {"workers": 4, "clients": 16, "requests": 20_000, "served": [6000, 5000, 5000, 4000], "errors": 0}
        | {"busiest_over_mean": 1.2}
    ]
    start = {"ours": {"median": 0.5, "min": 0.4, "max": 0.6}}
    found = facts(Plan(), "make bench", {"public": "needs Python 3.12"})
    return found | {"startup_s": start, "balance": balance} | changes


def test_rows_have_median_least_and_most_of_each_metric() -> None:
    row = verdicts.pick(measured(), "ours", "echo")
    assert row is not None
    assert row["requests_per_cpu_second"] == {"median": 30_000.0, "min": 27_000.0, "max": 33_000.0}
    assert row["startup_s"]["median"] == 0.5
    assert set(METRICS) < set(row)


def test_verdicts_of_a_good_run_and_of_what_was_not_measured() -> None:
    found = {verdict.asked: verdict for verdict in verdicts.verdicts(measured(), circumstances())}
    assert found["ours / bare, modern ≥ 0.75"].seen == "0.79"
    assert found["legacy / modern ≥ 0.85"].met
    missing = found.pop("ours / public, modern ≥ 100")
    assert (missing.seen, missing.met) == ("not measured", None)
    assert all(verdict.met for verdict in found.values()), found


@pytest.mark.parametrize(
    ("line", "changed", "around"),
    [
        ("B5", {"p99_ms": 20.5}, {}),
        ("B5", {"requests_per_second": 4999.0}, {}),
        ("B5", {"rss_mb": 90.5}, {}),
        (
            "B6",
            {},
            {"balance": [{"clients": 16, "requests": 9, "busiest_over_mean": 1.31, "errors": 0, "served": [1]}]},
        ),
        ("B6", {}, {"balance": [{"clients": 16, "requests": 9, "busiest_over_mean": 1.1, "errors": 1, "served": [1]}]}),
        ("B7", {}, {"startup_s": {"ours": {"median": 0.81, "min": 0.7, "max": 0.9}}}),
        ("B3", {"requests_per_cpu_second": 100.0}, {}),
    ],
)
def test_what_falls_short_is_said(line: str, changed: dict[str, float], around: dict[str, Any]) -> None:
    found = verdicts.verdicts(measured(**changed), circumstances(**around))
    assert line in {verdict.line for verdict in found if verdict.met is False}


def test_the_files_hold_the_rows_and_can_be_made_anew_from_them(tmp_path: Path) -> None:
    report.write(tmp_path, measured(), circumstances())
    page, chart = ((tmp_path / name).read_text(encoding="utf-8") for name in ("README.md", "chart.svg"))
    assert "30,000 (27,000–33,000)" in page
    assert "public: not measured: needs Python 3.12." in page
    labels = [text.text for text in ET.fromstring(chart).iter("{http://www.w3.org/2000/svg}text")]
    assert {"ours, modern", "30,000", "bare+driver, modern", "7,000"} <= set(labels)
    (tmp_path / "README.md").unlink()
    subprocess.run([sys.executable, "-m", "tests.bench.report", tmp_path], cwd=Path(__file__).parents[2], check=True)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == page


def test_the_smoke_run_breaks_on_wrong_answers_on_bad_ratios_and_on_what_is_missing() -> None:
    assert list(smoke.problems(measured())) == []
    assert len(list(smoke.problems(measured(errors=1.0)))) == len(measured())
    assert len(list(smoke.problems(measured(requests_per_cpu_second=100.0)))) == 2
    assert len(list(smoke.problems([row for row in measured() if row["system"] != "ours"]))) == 4


def test_the_cost_of_a_system_is_that_of_all_its_processes() -> None:
    child = "import time; [0 for _ in iter(lambda: time.process_time() < 0.2, False)]; print(time.process_time())"
    parent = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child + '; sys.stdout.close(); input()'!r}])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent.replace("import time", "import sys, time", 1)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        used = float(process.stdout.readline())
        running = Running(bare(Path()), process, Path(), Path(), Target(0, "", {}), 0.0)  # type: ignore[arg-type]
        cost, memory = running.cpu(), running.memory()
        process.stdin.write("\n")
    assert used >= 0.2
    assert len(cost) == 2
    assert sum(cost.values()) >= used
    assert memory["rss_mb"] > memory["worker_rss_mb"] > 1
