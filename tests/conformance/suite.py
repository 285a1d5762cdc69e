"""The official conformance suite: installed as the lock file says, run against an address, its checks read back."""

import asyncio
import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

HERE = Path(__file__).parent
PACKAGE = HERE / "node_modules/@modelcontextprotocol/conformance"
LIMIT = 300.0  # seconds for all scenarios of one revision: generous, the machine may be busy
BAD = ("FAILURE", "WARNING")  # the suite, too, counts a warning as bad when it compares with a list of exceptions


@dataclass(frozen=True)
class Check:
    """One requirement as the suite saw it; `status` is SUCCESS, FAILURE, WARNING, SKIPPED or INFO."""

    id: str
    status: str
    words: str


Scenarios = dict[str, list[Check]]


def install() -> None:
    """`npm ci`, unless what the lock file names is installed already."""
    done = HERE / "node_modules/.package-lock.json"
    if done.exists() and done.stat().st_mtime >= (HERE / "package-lock.json").stat().st_mtime:
        return
    command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    found = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    assert found.returncode == 0, f"{' '.join(command)} in {HERE}:\n{found.stdout}{found.stderr}"
    done.touch()


def scored(revision: str) -> list[str]:
    """Names of the scenarios a server must pass to conform to `revision`."""
    frozen = yaml.safe_load((PACKAGE / f"requirements/{revision}.yaml").read_text(encoding="utf-8"))
    names: list[str] = frozen["server"]
    return names


async def run(url: str, revision: str, results: Path) -> Scenarios:
    """Each scenario's checks, scored or not; raises AssertionError when the suite does not reach its end."""
    process = await asyncio.create_subprocess_exec(
        # A Node of the lock file's own: the suite wants 22, the machine may have an older one.
        *(HERE / "node_modules/.bin/node", PACKAGE / "dist/index.js", "server", "--url", url),
        *("--requirements", revision, "--output-dir", results),
        env=os.environ | {"NO_COLOR": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(LIMIT):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert "=== SUMMARY ===" in said.decode(), said.decode()[-3000:]
    return {_scenario(file): _checks(file) for file in sorted(results.glob("server-*/checks.json"))}


def _scenario(file: Path) -> str:
    """Results lie in directories called server-<scenario>-<time>."""
    found = re.fullmatch(r"server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z", file.parent.name)
    assert found, f"{file.parent.name} names no scenario"
    return found[1]


def _checks(file: Path) -> list[Check]:
    return [
        Check(check["id"], check["status"], check.get("errorMessage") or check["description"])
        for check in json.loads(file.read_text(encoding="utf-8"))
    ]
