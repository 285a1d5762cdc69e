#!/usr/bin/env python3
"""Build the release that the fleet installs: the project's wheel and every locked wheel, for Debian 12's Python.

    .venv/bin/python ansible/build_release.py
    {"release": "0.1.0-3f2a…", "archive": "…/.build/doris-mcp-0.1.0-3f2a….tar", "changed": true}

The id is a hash of what goes in, so the same sources are the same release and a second run builds nothing.
Hosts install from the archive alone: pip install --no-index --find-links wheels --require-hashes -r requirements.lock
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements.lock", "requirements-sandbox.lock")
PYTHON, GLIBC = "3.11", 36  # Debian 12: Python 3.11.2, glibc 2.36
KEEP = 3  # older builds are removed; hosts keep their own
FORMAT = "1"  # raise it when the archive's layout changes

Fetch = Callable[[Path, Path, str], None]


class BuildError(Exception):
    """The release could not be built; the message has the tool's own last words."""


def sources(root: Path) -> Iterator[Path]:
    """Every file that has a say in what a host gets, in a fixed order."""
    server = (p for p in (root / "server").rglob("*") if p.is_file())
    kept = (p for p in server if "__pycache__" not in p.parts and not p.name.startswith(".") and p.suffix != ".pyc")
    yield from sorted(kept)
    yield from (root / name for name in ("pyproject.toml", "README.md", *LOCKS))


def release_id(root: Path, arch: str) -> str:
    """`<version>-<12 hex>`: the version of pyproject.toml and a hash of all sources and the target."""
    digest = hashlib.sha256(f"{FORMAT} {PYTHON} {GLIBC} {arch}".encode())
    for path in sources(root):
        data = path.read_bytes()
        digest.update(f"\n{path.relative_to(root).as_posix()} {len(data)}\n".encode() + data)
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    return f"{version}-{digest.hexdigest()[:12]}"


def _run(what: str, *argv: str, cwd: Path) -> None:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise BuildError(f"{what} failed ({' '.join(argv[:4])} …):\n{(done.stdout + done.stderr).strip()[-2000:]}")


def download_wheels(lock: Path, target: Path, arch: str) -> None:
    """Fetch the wheel of every line of `lock`, for the hosts' platform and not for this machine's."""
    platforms = [f"manylinux_2_{n}_{arch}" for n in range(GLIBC, 4, -1)] + [f"manylinux2014_{arch}"]
    _run(
        f"downloading the wheels of {lock.name}",
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--require-hashes", "--only-binary", ":all:", "--implementation", "cp", "--python-version", PYTHON,
        *(f"--abi={abi}" for abi in ("cp311", "abi3", "none")),
        *(f"--platform={platform}" for platform in platforms),
        "--requirement", str(lock), "--dest", str(target),
        cwd=lock.parent,
    )  # fmt: skip


def _wheelhouse(root: Path, out: Path, arch: str, fetch: Fetch) -> Path:
    """The directory with all locked wheels; kept for as long as the locks stay the same."""
    digest = hashlib.sha256(b"\0".join((root / name).read_bytes() for name in LOCKS)).hexdigest()[:12]
    house = out / f"wheels-{arch}-{digest}"
    if not house.exists():
        draft = out / f".draft-wheels-{os.getpid()}"
        draft.mkdir()
        for name in LOCKS:
            fetch(root / name, draft, arch)
        for old in out.glob(f"wheels-{arch}-*"):
            shutil.rmtree(old)
        draft.rename(house)
    return house


def _own_wheel(root: Path, target: Path) -> str:
    """Build the project's wheel into `target`; returns its line for a hashed requirements file."""
    # Without isolation: hatchling comes from the locked development environment.
    _run("building the wheel", sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target), cwd=root)
    (wheel,) = target.glob("doris_mcp_server-*.whl")
    version = wheel.name.split("-")[1]
    return f"doris-mcp-server=={version} \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def _tar(folder: Path, archive: Path) -> None:
    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = member.mtime = 0
        member.uname = member.gname = "root"
        member.mode = 0o755 if member.isdir() else 0o644
        return member

    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(folder.rglob("*")):
            tar.add(path, path.relative_to(folder).as_posix(), recursive=False, filter=plain)


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f".draft-{path.name}-{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


def _clear(out: Path) -> None:
    # We hold the lock, so a draft belongs to a run that was killed.
    for draft in out.glob(".draft-*"):
        shutil.rmtree(draft) if draft.is_dir() else draft.unlink()


def _forget_old(out: Path, current: str) -> None:
    builds = [p.parent for p in out.glob("*/RELEASE") if p.parent.name != current]
    for build in sorted(builds, key=lambda p: p.stat().st_mtime, reverse=True)[KEEP - 1 :]:
        (out / f"doris-mcp-{build.name}.tar").unlink(missing_ok=True)
        shutil.rmtree(build)


def build(root: Path, out: Path, arch: str = "x86_64", fetch: Fetch = download_wheels) -> tuple[str, Path, bool]:
    """Make sure the release of `root`'s present sources lies in `out`: (its id, the archive, whether it was built).

    Every result is moved into place whole, so a run killed anywhere leaves nothing that a later one would trust.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        release = release_id(root, arch)
        folder, archive, current = out / release, out / f"doris-mcp-{release}.tar", out / "RELEASE"
        changed = not ((folder / "RELEASE").exists() and archive.exists())
        if changed:
            _clear(out)
            house = _wheelhouse(root, out, arch, fetch)
            draft = out / f".draft-{release}"
            wheels = draft / "wheels"
            wheels.mkdir(parents=True)
            for wheel in house.iterdir():
                os.link(wheel, wheels / wheel.name)
            own = _own_wheel(root, wheels)
            if release_id(root, arch) != release:
                raise BuildError("the sources changed while they were being built; run it again")
            for name in LOCKS:
                (draft / name).write_text(f"{(root / name).read_text()}{own}")
            (draft / "RELEASE").write_text(f"{release}\n")
            _tar(draft, out / f".draft-{archive.name}")
            (out / f".draft-{archive.name}").replace(archive)
            shutil.rmtree(folder, ignore_errors=True)
            draft.rename(folder)
            _forget_old(out, release)
        if not current.exists() or current.read_text() != f"{release}\n":
            _replace(current, f"{release}\n")
        return release, archive, changed


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--arch", default="x86_64", choices=["x86_64", "aarch64"], help="the hosts' processor")
    parser.add_argument("--out", type=Path, default=ROOT / ".build", help="where builds are kept (.build)")
    args = parser.parse_args(argv)
    try:
        release, archive, changed = build(ROOT, args.out.resolve(), args.arch)
    except (BuildError, OSError) as error:
        print(f"build_release: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"release": release, "archive": str(archive), "changed": changed}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
