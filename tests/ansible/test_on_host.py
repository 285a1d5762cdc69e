"""What on_host finds: releases and links, the units, what the server says, when its files were written."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .plugins import plugin

on_host = plugin("doris_mcp/library/on_host.py")
STATUS = """#!/bin/sh
test "$*" = "ctl status --json" && echo '{"state": "running"}'
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three releases, one of them cut off half-way."""
    for age, name in enumerate(("new", "half", "old")):
        folder = tmp_path / "releases" / name
        (folder / ".venv/bin").mkdir(parents=True)
        if name != "half":
            (folder / "RELEASE").write_text(f"{name}\n")
        os.utime(folder, (10_000 - age, 10_000 - age))
    (tmp_path / "current").symlink_to("releases/new")
    (tmp_path / ".venv").symlink_to("current/.venv")
    return tmp_path


@pytest.fixture(autouse=True)
def systemd(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What systemctl says of each unit."""
    said = {
        "doris-mcp.service": [
            "ActiveState=active",
            "UnitFileState=enabled",
            "NeedDaemonReload=yes",
            "ActiveEnterTimestamp=@99",
            "ExecMainStartTimestamp=@90",
        ],
        "doris-mcp.socket": ["ActiveState=active", "UnitFileState=disabled", "ActiveEnterTimestamp=@80"],
    }
    run = subprocess.run

    def systemctl(argv: list[str], **more: Any) -> Any:
        if argv[0] != "systemctl":
            return run(argv, **more)
        return subprocess.CompletedProcess(argv, 0, "\n".join(said[argv[-1]]) + "\n", "")

    monkeypatch.setattr(subprocess, "run", systemctl)
    return said


def look(root: Path, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = on_host.look(str(root), **({"service": None, "files": [], "marker": None} | more))
    return found


def test_releases_are_told_with_the_links_the_youngest_first(root: Path) -> None:
    found = look(root)
    assert [(one["id"], one["complete"]) for one in found["releases"]] == [
        ("new", True),
        ("half", False),
        ("old", True),
    ]
    assert found["releases"][0]["path"] == str(root / "releases/new")
    assert (found["current"], found["previous"], found["venv"]) == ("new", "", "current/.venv")
    assert "unit" not in found


def test_a_bare_host_has_nothing_and_says_why_nothing_answers(tmp_path: Path, systemd: dict[str, list[str]]) -> None:
    for unit in systemd:
        systemd[unit] = ["ActiveState=inactive", "UnitFileState=", "ActiveEnterTimestamp="]
    found = look(tmp_path / "none", service="doris-mcp", files=["/none/file"], marker="/none/marker")
    assert (found["releases"], found["current"], found["venv"]) == ([], "", "")
    assert found["unit"] == found["socket"] == {"active": False, "enabled": False, "stale": False, "since": 0}
    assert (found["status"], found["written"], found["marked"]) == ({}, {}, False)
    assert "No such file" in found["problem"]


def test_the_service_counts_from_the_start_of_its_process_the_socket_from_its_opening(root: Path) -> None:
    cli = root / "releases/new/.venv/bin/doris-mcp-server"
    cli.write_text(STATUS)
    cli.chmod(0o755)
    (root / "env").touch()
    os.utime(root / "env", (1234.5, 1234.5))
    found = look(root, service="doris-mcp", files=[f"{root}/env", f"{root}/none"], marker=str(root / "env"))
    assert found["unit"] == {"active": True, "enabled": True, "stale": True, "since": 90}
    assert found["socket"] == {"active": True, "enabled": False, "stale": False, "since": 80}
    assert (found["status"], found["problem"]) == ({"state": "running"}, "")
    assert (found["written"], found["marked"]) == ({f"{root}/env": 1234}, True)


def test_why_a_server_does_not_answer_is_one_line(root: Path) -> None:
    cli = root / "releases/new/.venv/bin/doris-mcp-server"
    cli.write_text("#!/bin/sh\necho no server answers >&2\necho '  fix: start it' >&2\nexit 1\n")
    cli.chmod(0o755)
    found = look(root, service="doris-mcp")
    assert (found["status"], found["problem"]) == ({}, "no server answers fix: start it")
