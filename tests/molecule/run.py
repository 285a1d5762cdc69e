#!/usr/bin/env python3
"""Runs every role's scenario, or those of the roles named, and says how long each took.

    tests/molecule/run.py [ROLE]...

Two at a time: they wait more than they compute. The output of each goes to .lab/molecule/<role>.log, and of a
failed one to the screen as well. Exit status 1 if any failed or there was none to run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / ".lab" / "molecule"


def scenario_roles() -> list[str]:
    """The longest scenario first: begun last, it would run alone."""
    scenarios = [path.parent for path in ROOT.glob("roles/*/molecule/default/molecule.yml")]
    text = {path: sum(file.stat().st_size for file in path.rglob("*.*") if file.is_file()) for path in scenarios}
    return [path.parents[1].name for path in sorted(scenarios, key=lambda path: (-text[path], path))]


def run(role: str) -> bool:
    """One role's scenario from create to destroy; True if it passed."""
    # molecule looks for ansible-playbook and pytest on the PATH; no lab or inventory of the caller's may leak in.
    env = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "LAB_", "MOLECULE_"))}
    env["PATH"] = f"{Path(sys.executable).parent}:{env.get('PATH', '')}"
    env |= {"MOLECULE_COMMAND_BORDERS": "0", "NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1"}
    log = LOGS / f"{role}.log"
    begun = time.monotonic()
    with log.open("w") as out:
        done = subprocess.run(
            ["molecule", "--base-config", str(ROOT / ".config/molecule/config.yml"), "test"],
            cwd=ROOT / "roles" / role,
            env=env,
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    passed = done.returncode == 0
    print(f"{role:<16} {'passed' if passed else 'FAILED'} {time.monotonic() - begun:6.1f} s", flush=True)
    if not passed:
        print(f"--- {log}\n{log.read_text(errors='replace')[-8000:]}", flush=True)
    return passed


def main(names: list[str]) -> int:
    roles = scenario_roles()
    if unknown := sorted(set(names) - set(roles)):
        print(f"no scenario for {', '.join(unknown)} (there are {', '.join(roles)})", file=sys.stderr)
        return 2
    LOGS.mkdir(parents=True, exist_ok=True)
    # Made once before two scenarios want it at the same time.
    subprocess.run([sys.executable, "-c", "import image; image.ensure_image()"], cwd=ROOT / "tests/lab", check=True)
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, names or roles))
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
