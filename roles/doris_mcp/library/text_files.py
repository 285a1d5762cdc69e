"""Small text files of a host and the folders they lie in, all in one round trip.

A folder is {path, mode, group}, a file {path, text, mode, group, validate}; an empty text means that there is no such
file, any other ends with a line end. Both belong to their writer, and to `group` where one is named. `validate` is a
command that says whether a draft of it, in the place of %s, is good. What is right already keeps its time, by which a
later run sees whether a process has read it.
"""

from __future__ import annotations

import grp
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

VALIDATE_LIMIT = 60.0  # seconds


class Refused(Exception):
    """A draft that is not good, and why."""


def group_of(wanted: dict[str, Any]) -> int:
    """The group's number; -1 for one that is not there, as in a check on a fresh host."""
    try:
        return grp.getgrnam(wanted["group"]).gr_gid if wanted.get("group") else os.getegid()
    except KeyError:
        return -1


def mode_of(wanted: dict[str, Any]) -> int:
    return int(wanted["mode"], 8)


def right(path: Path, wanted: dict[str, Any]) -> bool:
    """Whether the file is as it should be: its content, mode and owner; or not there, without a text."""
    try:
        found = path.lstat()
        return (
            wanted["text"] != ""
            and stat.S_ISREG(found.st_mode)
            and stat.S_IMODE(found.st_mode) == mode_of(wanted)
            and (found.st_uid, found.st_gid) == (os.geteuid(), group_of(wanted))
            and path.read_text(encoding="utf-8") == wanted["text"]
        )
    except FileNotFoundError:
        return not wanted["text"]


def write(path: Path, wanted: dict[str, Any]) -> None:
    """Replaced by rename: whoever starts meanwhile reads the old one or the new one whole. Raises: Refused."""
    draft = path.with_name(f".{path.name}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(wanted["text"])
        os.fchown(file.fileno(), os.geteuid(), group_of(wanted))
        os.fchmod(file.fileno(), mode_of(wanted))
    try:
        validate(draft, wanted.get("validate") or [])
    except Refused:
        draft.unlink()
        raise
    draft.replace(path)


def validate(draft: Path, command: list[str]) -> None:
    if not command:
        return
    argv = [word.replace("%s", str(draft)) for word in command]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=VALIDATE_LIMIT)
    if done.returncode:
        raise Refused((done.stderr or done.stdout).strip())


def apply_folders(folders: list[dict[str, Any]], check: bool = False) -> list[str]:
    """Bring the folders to their modes; those that were not right. With `check`, change nothing."""
    wrong = []
    for wanted in folders:
        path = Path(wanted["path"])
        found = path.stat() if path.is_dir() else None
        theirs = (mode_of(wanted), os.geteuid(), group_of(wanted))
        if found and (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == theirs:
            continue
        wrong.append(str(path))
        if not check:
            path.mkdir(parents=True, exist_ok=True)
            os.chown(path, os.geteuid(), group_of(wanted))
            path.chmod(mode_of(wanted))
    return wrong


def apply(files: list[dict[str, Any]], check: bool = False) -> list[str]:
    """Bring the files to what is wanted; those that were not right. With `check`, change nothing. Raises: Refused."""
    wrong = [(Path(wanted["path"]), wanted) for wanted in files if not right(Path(wanted["path"]), wanted)]
    for path, wanted in wrong if not check else ():
        if wanted["text"]:
            write(path, wanted)
        else:
            path.unlink()
    return [str(path) for path, _ in wrong]


def difference(files: list[dict[str, Any]]) -> list[dict[str, str]]:
    """What `--diff` shows."""
    shown = []
    for wanted in files:
        path = Path(wanted["path"])
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        shown.append({"before": before, "after": wanted["text"], "before_header": str(path), "after_header": str(path)})
    return shown


def wanted_files(files: list[dict[str, Any]], below: str, mode: str) -> list[dict[str, Any]]:
    """The files with whole paths, modes and last lines."""
    texts = [file["text"] if file["text"].endswith("\n") or not file["text"] else f"{file['text']}\n" for file in files]
    return [
        file | {"path": str(Path(below, file["path"])), "mode": file.get("mode") or mode, "text": text}
        for file, text in zip(files, texts, strict=True)
    ]


def main() -> None:
    from ansible.module_utils.basic import AnsibleModule

    one = {
        "path": {"type": "str", "required": True},
        "text": {"type": "str", "required": True},
        "mode": {"type": "str"},
        "group": {"type": "str"},
        "validate": {"type": "list", "elements": "str"},
    }
    folder = {
        "path": {"type": "path", "required": True},
        "mode": {"type": "str", "default": "0755"},
        "group": {"type": "str"},
    }
    module = AnsibleModule(
        argument_spec={
            "folders": {"type": "list", "elements": "dict", "options": folder, "default": []},
            "files": {"type": "list", "elements": "dict", "options": one, "required": True},
            "below": {"type": "path", "default": "/"},
            "mode": {"type": "str", "default": "0644"},
        },
        supports_check_mode=True,
    )
    files = wanted_files(module.params["files"], module.params["below"], module.params["mode"])
    check = module.check_mode
    more = {"diff": difference(files)} if module._diff else {}
    try:
        wrong = apply_folders(module.params["folders"], check) + apply(files, check)
    except Refused as refused:
        module.fail_json(msg=str(refused))
    module.exit_json(changed=bool(wrong), paths=wrong, **more)


if __name__ == "__main__":
    main()
