"""The files of a folder of secrets, all in one round trip: each holds its text and belongs to its writer alone.

`files` is {name: text}; an empty text means that there is no such file. Files with other names are left alone. What is
right already keeps its time, by which a later run sees whether a process has read it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


def right(path: Path, text: str) -> bool:
    """Whether the file is as it should be: its content, a mode of 0600, nobody else's; or not there, without a text."""
    try:
        found = path.lstat()
        return (
            text != ""
            and stat.S_ISREG(found.st_mode)
            and stat.S_IMODE(found.st_mode) == 0o600
            and (found.st_uid, found.st_gid) == (os.geteuid(), os.getegid())
            and path.read_text(encoding="utf-8") == f"{text}\n"
        )
    except FileNotFoundError:
        return not text


def write(path: Path, text: str) -> None:
    """Replaced by rename: whoever starts meanwhile reads the old one or the new one whole."""
    draft = path.with_name(f".{path.name}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(f"{text}\n")
    draft.replace(path)


def apply(folder: Path, files: dict[str, str], check: bool = False) -> list[str]:
    """Bring the folder to `files`; the names of those that were not right. With `check`, change nothing."""
    wrong = [name for name, text in files.items() if not right(folder / name, text)]
    for name in wrong if not check else ():
        if files[name]:
            write(folder / name, files[name])
        else:
            (folder / name).unlink()
    return wrong


def main() -> None:
    from ansible.module_utils.basic import AnsibleModule

    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "files": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    # A secret of digits only may come as a number.
    files = {name: str(text) for name, text in module.params["files"].items()}
    wrong = apply(Path(module.params["path"]), files, module.check_mode)
    module.exit_json(changed=bool(wrong), names=wrong)


if __name__ == "__main__":
    main()
