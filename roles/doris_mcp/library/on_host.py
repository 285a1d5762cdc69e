"""What there is of a server on this host, in one round trip: its releases, and with `service` what runs.

Of `root`: the releases below releases/ and where the links lead. Of the service: the units, what it says about itself
(`ctl status`), when each of `files` was written, and whether there is the file `marker`.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

ANSWER_LIMIT = 60.0  # seconds


def link(path: Path) -> str:
    """Where a symbolic link leads; empty for none."""
    return str(path.readlink()) if path.is_symlink() else ""


def releases(root: Path) -> list[dict[str, Any]]:
    """Those below `root`, the youngest first: {"id", "path", "complete"}."""
    folder = root / "releases"
    found = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return [{"id": path.name, "path": str(path), "complete": (path / "RELEASE").is_file()} for path in found]


def written(files: list[str]) -> dict[str, int]:
    """{path: when it was written (epoch seconds)} of those that are there."""
    return {file: int(Path(file).stat().st_mtime) for file in files if Path(file).is_file()}


def shown(unit: str) -> dict[str, Any]:
    """A unit: {"active", "enabled", "stale": its file was changed since systemd read it, "since"}.

    `since` is in epoch seconds, 0 while it is not active.
    """
    names = ("ActiveState", "UnitFileState", "NeedDaemonReload", "ActiveEnterTimestamp", "ExecMainStartTimestamp")
    argv = ["systemctl", "show", "--timestamp=unix", f"--property={','.join(names)}", unit]
    lines = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    said = dict(line.split("=", 1) for line in lines)
    active = said["ActiveState"] == "active"
    # When the process began, and not when it was ready: what was written in between it may not have read.
    since = said.get("ExecMainStartTimestamp") or said.get("ActiveEnterTimestamp") or ""
    return {
        "active": active,
        "enabled": said.get("UnitFileState") == "enabled",
        "stale": said.get("NeedDaemonReload") == "yes",
        "since": int(since.removeprefix("@") or 0) if active else 0,
    }


def status(cli: Path) -> tuple[dict[str, Any], str]:
    """(what the server says about itself, "") or ({}, why it says nothing)."""
    try:
        done = subprocess.run(
            [str(cli), "ctl", "status", "--json"], capture_output=True, text=True, timeout=ANSWER_LIMIT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {}, str(error)
    return (json.loads(done.stdout), "") if done.returncode == 0 else ({}, " ".join(done.stderr.split()))


def look(root: str, service: str | None, files: list[str], marker: str | None) -> dict[str, Any]:
    """The result of the module."""
    top = Path(root)
    found: dict[str, Any] = {
        "releases": releases(top),
        "current": Path(link(top / "current")).name,
        "previous": Path(link(top / "previous")).name,
        "venv": link(top / ".venv"),
    }
    if service:
        found["status"], found["problem"] = status(top / ".venv/bin/doris-mcp-server")
        found |= {
            "unit": shown(f"{service}.service"),
            "socket": shown(f"{service}.socket"),
            "written": written(files),
            "marked": marker is not None and Path(marker).exists(),
        }
    return found


def main() -> None:
    from ansible.module_utils.basic import AnsibleModule

    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "service": {"type": "str"},
            "files": {"type": "list", "elements": "path", "default": []},
            "marker": {"type": "path"},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, **look(**module.params))
    except subprocess.CalledProcessError as error:
        module.fail_json(msg=f"systemctl: {error.stderr.strip()}")


if __name__ == "__main__":
    main()
