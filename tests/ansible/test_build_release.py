"""The release builder: the same sources are the same release, and nothing half-made is ever trusted."""

import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from .plugins import ROOT, imported

build_release = imported(ROOT / "ansible/build_release.py")

PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "doris-mcp-server"
version = "1.2.3"
readme = "README.md"
[tool.hatch.build.targets.wheel]
packages = ["server/doris_mcp_server"]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    package = root / "server" / "doris_mcp_server"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("ANSWER = 42\n")
    (root / "pyproject.toml").write_text(PYPROJECT)
    (root / "README.md").write_text("# A project\n")
    for lock in build_release.LOCKS:
        (root / lock).write_text("six==1.0 \\\n    --hash=sha256:00\n")
    return root


def fetch(lock: Path, target: Path, arch: str) -> None:
    (target / "six-1.0-py3-none-any.whl").write_bytes(f"wheel for {arch}".encode())


def no_fetch(lock: Path, target: Path, arch: str) -> None:
    raise AssertionError("nothing had to be fetched")


def contents(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        return tar.getnames()


def test_the_archive_installs_the_project_from_a_hashed_file(project: Path, tmp_path: Path) -> None:
    release, archive, changed = build_release.build(project, tmp_path / "out", fetch=fetch)
    assert changed
    assert release.startswith("1.2.3-") and len(release) == len("1.2.3-") + 12
    assert (tmp_path / "out" / "RELEASE").read_text() == f"{release}\n"
    with tarfile.open(archive) as tar:
        unpacked = tmp_path / "host"
        tar.extractall(unpacked, filter="data")
    assert (unpacked / "RELEASE").read_text() == f"{release}\n"
    own = next((unpacked / "wheels").glob("doris_mcp_server-1.2.3-*.whl"))
    digest = build_release.hashlib.sha256(own.read_bytes()).hexdigest()
    for lock in build_release.LOCKS:
        lines = (unpacked / lock).read_text()
        assert lines.startswith("six==1.0")
        assert lines.endswith(f"doris-mcp-server==1.2.3 \\\n    --hash=sha256:{digest}\n")


def test_a_second_run_builds_nothing(project: Path, tmp_path: Path) -> None:
    release, archive, _ = build_release.build(project, tmp_path / "out", fetch=fetch)
    before = archive.stat()
    assert build_release.build(project, tmp_path / "out", fetch=no_fetch) == (release, archive, False)
    assert archive.stat().st_mtime_ns == before.st_mtime_ns


def test_the_same_sources_give_the_same_bytes_anywhere(project: Path, tmp_path: Path) -> None:
    _, one, _ = build_release.build(project, tmp_path / "one", fetch=fetch)
    _, two, _ = build_release.build(project, tmp_path / "two", fetch=fetch)
    assert one.name == two.name
    assert one.read_bytes() == two.read_bytes()
    assert contents(one) == sorted(contents(one))


def edit_source(root: Path) -> None:
    (root / "server" / "doris_mcp_server" / "__init__.py").write_text("ANSWER = 43\n")


def add_source(root: Path) -> None:
    (root / "server" / "doris_mcp_server" / "more.py").write_text("")


def edit_lock(root: Path) -> None:
    (root / "requirements-sandbox.lock").write_text("six==1.1 --hash=sha256:11\n")


def rename_source(root: Path) -> None:
    package = root / "server" / "doris_mcp_server"
    (package / "__init__.py").rename(package / "other.py")


@pytest.mark.parametrize("edit", [edit_source, add_source, edit_lock, rename_source])
def test_whatever_a_host_gets_changes_the_id(project: Path, edit: Callable[[Path], None]) -> None:
    before = build_release.release_id(project, "x86_64")
    edit(project)
    assert build_release.release_id(project, "x86_64") != before


def test_the_id_tells_processors_apart(project: Path) -> None:
    assert build_release.release_id(project, "x86_64") != build_release.release_id(project, "aarch64")


def test_what_python_leaves_behind_does_not_change_the_id(project: Path) -> None:
    before = build_release.release_id(project, "x86_64")
    cache = project / "server" / "doris_mcp_server" / "__pycache__"
    cache.mkdir()
    (cache / "x.cpython-311.pyc").write_bytes(b"x")
    (project / "notes.txt").write_text("not part of a release")
    assert build_release.release_id(project, "x86_64") == before


def test_wheels_are_fetched_once_for_the_same_locks(project: Path, tmp_path: Path) -> None:
    build_release.build(project, tmp_path / "out", fetch=fetch)
    edit_source(project)
    _, archive, changed = build_release.build(project, tmp_path / "out", fetch=no_fetch)
    assert changed
    assert "wheels/six-1.0-py3-none-any.whl" in contents(archive)


def test_a_run_that_was_killed_is_made_good(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    release, archive, _ = build_release.build(project, out, fetch=fetch)
    whole = archive.read_bytes()
    # Killed while downloading, while filling the directory, and before the archive was moved into place.
    archive.unlink()
    (out / f".draft-{release}" / "wheels").mkdir(parents=True)
    (out / ".draft-wheels-1").mkdir()
    (out / f".draft-{archive.name}").write_bytes(b"half")
    assert build_release.build(project, out, fetch=no_fetch) == (release, archive, True)
    assert archive.read_bytes() == whole
    assert not list(out.glob(".draft-*"))


def test_a_failed_download_leaves_nothing_to_trust(project: Path, tmp_path: Path) -> None:
    def broken(lock: Path, target: Path, arch: str) -> None:
        fetch(lock, target, arch)
        raise build_release.BuildError("no such wheel")

    with pytest.raises(build_release.BuildError, match="no such wheel"):
        build_release.build(project, tmp_path / "out", fetch=broken)
    assert not (tmp_path / "out" / "RELEASE").exists()
    assert build_release.build(project, tmp_path / "out", fetch=fetch)[2]


def test_old_builds_are_forgotten(project: Path, tmp_path: Path) -> None:
    made = []
    for n in range(5):
        (project / "README.md").write_text(f"# {n}\n")
        made.append(build_release.build(project, tmp_path / "out", fetch=fetch)[1])
    assert [archive.exists() for archive in made] == [False, False, True, True, True]


def test_a_broken_project_is_reported_with_the_builders_words(project: Path, tmp_path: Path) -> None:
    (project / "README.md").unlink()
    with pytest.raises(OSError, match=r"README\.md"):
        build_release.build(project, tmp_path / "out", fetch=fetch)


def test_the_command_prints_json(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build_release, "build", lambda *a: ("1-a", tmp_path / "doris-mcp-1-a.tar", False))
    assert build_release.main(["--out", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "release": "1-a",
        "archive": str(tmp_path / "doris-mcp-1-a.tar"),
        "changed": False,
    }


def test_it_explains_itself() -> None:
    shown = subprocess.run(
        [sys.executable, ROOT / "ansible" / "build_release.py", "--help"], capture_output=True, text=True
    )
    assert shown.returncode == 0
    assert "--arch" in shown.stdout
