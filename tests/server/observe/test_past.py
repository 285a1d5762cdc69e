"""The counts of ended processes: added up once, whole, and never while somebody reads."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from doris_mcp_server.observe.past import fold, reading

COUNT = """
import os
from doris_mcp_server.observe import Metrics
metrics = Metrics()
for _ in range(3):
    metrics.request("/mcp", 200)
metrics.tool_call("echo", "ok", 0.25)
metrics.shutdown_step("calls", "ok", 0.5)
metrics.inflight = 7
metrics.flush()
print(os.getpid())
"""
RENDER = "from doris_mcp_server.observe import Metrics; print(Metrics().render().decode())"


def run(script: str, folder: Path) -> str:
    environ = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True
    ).stdout


def rows(folder: Path) -> set[str]:
    return {row for row in run(RENDER, folder).splitlines() if re.search(r"requests_total|tool_seconds|shutdown", row)}


def test_what_ended_processes_counted_stays_in_two_files(tmp_path: Path) -> None:
    for _ in range(3):
        run(COUNT, tmp_path)
    before = rows(tmp_path)
    assert fold(tmp_path, ())
    assert {file.name for file in tmp_path.glob("*.db")} == {"counter_past.db", "histogram_past.db"}
    assert rows(tmp_path) == before
    assert 'doris_mcp_requests_total{route="/mcp",status="200"} 9.0' in before
    assert 'doris_mcp_shutdown_steps_total{result="ok",step="calls"} 3.0' in before
    assert 'doris_mcp_shutdown_step_seconds_sum{step="calls"} 1.5' in before
    run(COUNT, tmp_path)
    assert fold(tmp_path, ())
    assert fold(tmp_path, ())
    assert 'doris_mcp_requests_total{route="/mcp",status="200"} 12.0' in rows(tmp_path)


def test_those_alive_keep_their_files(tmp_path: Path) -> None:
    run(COUNT, tmp_path)
    alive = int(run(COUNT, tmp_path))
    assert fold(tmp_path, [alive])
    names = {file.name for file in tmp_path.glob("*.db")}
    assert {f"counter_{alive}.db", f"gauge_livesum_{alive}.db"} <= names
    assert len([name for name in names if name.startswith("gauge_livesum")]) == 1


def test_nothing_is_moved_under_a_reader(tmp_path: Path) -> None:
    run(COUNT, tmp_path)
    before = {file.name for file in tmp_path.glob("*.db")}
    with reading(tmp_path):
        assert not fold(tmp_path, ())
        assert {file.name for file in tmp_path.glob("*.db")} == before
    assert fold(tmp_path, ())


@pytest.mark.parametrize("damage", [b"", b"\xff" * 64, b"\x60\x00\x00\x00\x00\x00\x00\x00\xf0\xff\x00\x00" + b"x" * 90])
def test_a_file_cut_off_in_a_write_costs_its_own_counts_only(damage: bytes, tmp_path: Path) -> None:
    run(COUNT, tmp_path)
    (tmp_path / "counter_1.db").write_bytes(damage)
    assert fold(tmp_path, ())
    assert 'doris_mcp_requests_total{route="/mcp",status="200"} 3.0' in rows(tmp_path)
