"""One host's part of the fleet's lock: a small file that says who may change this host, and until when.

Three states: `seen` reads the record, `held` takes the lock or renews it, `free` gives it back. Each call is alone on
the host (flock), so of two controllers that come at once one is refused. The number only ever grows: whoever comes with
a smaller one has been overtaken, however long it slept, and is refused before it changes anything.
"""

from __future__ import annotations

import fcntl
import json
import time
from pathlib import Path
from typing import Any

NOBODY: dict[str, Any] = {"number": 0, "holder": None, "until": 0.0}


def read(path: Path) -> dict[str, Any]:
    """{"number": int, "holder": {"id", "who", "machine", "process"} or None, "until": epoch seconds}."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return NOBODY


def write(path: Path, record: dict[str, Any]) -> None:
    draft = path.with_name(f".{path.name}")
    draft.write_text(json.dumps(record) + "\n", encoding="utf-8")
    draft.replace(path)


def refusal(record: dict[str, Any], wanted: dict[str, Any], now: float) -> str | None:
    """Why `wanted` (number, holder, gone, force) may not have the lock that `record` describes; None when it may."""
    holder = record["holder"] or {"id": None, "who": "nobody"}
    if holder["id"] == wanted["holder"]["id"] and record["number"] == wanted["number"]:
        return None
    if record["until"] > now and not wanted["force"] and holder["id"] not in wanted["gone"]:
        left = round(record["until"] - now)
        return f"held by {holder['who']} as number {record['number']}, for {left} s more unless renewed"
    if record["number"] >= wanted["number"]:
        return f"taken over by {holder['who']} as number {record['number']}; this run has number {wanted['number']}"
    return None


def apply(path: Path, state: str, wanted: dict[str, Any], now: float) -> tuple[dict[str, Any], str | None]:
    """Bring the lock at `path` to `state`: (its record after that, why it was refused or None)."""
    record = read(path)
    if state == "seen":
        return record, None
    mine = record["holder"] is not None and record["holder"]["id"] == wanted["holder"]["id"]
    if state == "free":
        if mine:
            # The number stays: the next one must be greater.
            record = {**NOBODY, "number": record["number"]}
            write(path, record)
        return record, None
    refused = refusal(record, wanted, now)
    if refused is None:
        record = {"number": wanted["number"], "holder": wanted["holder"], "until": now + wanted["lease"]}
        write(path, record)
    return record, refused


def main() -> None:
    from ansible.module_utils.basic import AnsibleModule

    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "state": {"choices": ["seen", "held", "free"], "required": True},
            "number": {"type": "int", "default": 0},
            "holder": {"type": "dict", "default": {"id": None}},
            "lease": {"type": "int", "default": 0},
            "gone": {"type": "list", "elements": "str", "default": []},
            "force": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    wanted = dict(module.params)
    path, state = Path(wanted.pop("path")), wanted.pop("state")
    if module.check_mode or (state == "seen" and not path.exists()):
        module.exit_json(changed=False, record=read(path))
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.flock").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        record, refused = apply(path, state, wanted, time.time())
    if refused:
        module.fail_json(msg=refused, record=record)
    # Who holds the lock is not what a host should look like, so it counts as no change.
    module.exit_json(changed=False, record=record)


if __name__ == "__main__":
    main()
