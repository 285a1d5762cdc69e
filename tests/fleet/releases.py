"""Releases built from this checkout with a few lines more at the end of one module: sound ones, and such as fail."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ..ansible.plugins import imported
from .fleet import ROOT

build_release = imported(ROOT / "ansible/build_release.py")
PACKAGE = "server/doris_mcp_server"


@dataclass(frozen=True)
class Broken:
    """A release with `more` at the end of `module`; what a play says that deploys it."""

    module: str
    more: str
    words: tuple[str, ...]


BROKEN = {
    "refuses the settings": Broken(
        "config.py",
        """
def load(*args, **kwargs):
    raise ConfigError("this release knows no DORIS_HOST")
""",
        ("check-config: ", "this release knows no DORIS_HOST"),
    ),
    "crashes": Broken("worker.py", 'raise RuntimeError("it crashes")\n', ("start: ", "it crashes")),
    "never gets ready": Broken(
        "health.py",
        """
async def _unasked(self):
    self.ok, self.reason = False, "it asks nobody"

Check.run = _unasked
""",
        ("ready: not ready within", "it asks nobody"),
    ),
    "answers wrong": Broken(
        "doris/pool.py",
        """
_right = Pool.query

async def _wrong(self, *args, **kwargs):
    rows = await _right(self, *args, **kwargs)
    rows.rows = [(0,)]
    return rows

Pool.query = _wrong
""",
        ("smoke: the server is ready but", "SELECT 1 answered [[0]]"),
    ),
    "is ten times slower": Broken(
        "doris/pool.py",
        """
_quick = Pool.query

async def _slow(self, *args, **kwargs):
    await asyncio.sleep(0.25)
    return await _quick(self, *args, **kwargs)

Pool.query = _slow
""",
        ("slow: the median of 20 queries is", "by what ran before"),
    ),
}


def release(work: Path, module: str, more: str) -> tuple[str, list[str]]:
    """Build one below `work`: (its id, the arguments with which a play deploys it)."""
    root = work / "checkout"
    shutil.copytree(ROOT / "server", root / "server", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", *build_release.LOCKS):
        shutil.copy(ROOT / name, root / name)
    with (root / PACKAGE / module).open("a") as source:
        source.write(more)
    made, archive, _ = build_release.build(root, work / "build", fetch=_wheels_of_the_checkout)
    return made, ["-e", f"doris_mcp_release={made}", "-e", f"doris_mcp_release_archive={archive}"]


def _wheels_of_the_checkout(lock: Path, target: Path, arch: str) -> None:
    """The locks are the same, so the wheels are those that the first deploy has fetched."""
    for wheel in next((ROOT / ".build").glob(f"wheels-{arch}-*")).iterdir():
        if not (target / wheel.name).exists():
            os.link(wheel, target / wheel.name)
