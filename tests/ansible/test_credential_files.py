"""The folder of secrets on a host: what is written, what is left alone, what goes."""

import os
from pathlib import Path

import pytest

from .plugins import plugin

credentials = plugin("doris_mcp/library/credential_files.py")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_what_is_missing_is_written_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert credentials.apply(tmp_path, {"password": "one", "token": ""}) == ["password"]
    finally:
        os.umask(before)
    assert [path.name for path in tmp_path.iterdir()] == ["password"]
    assert (tmp_path / "password").read_text() == "one\n"
    assert mode(tmp_path / "password") == 0o600


def test_what_is_right_keeps_its_time(tmp_path: Path) -> None:
    credentials.apply(tmp_path, {"password": "one"})
    os.utime(tmp_path / "password", (1000, 1000))
    assert credentials.apply(tmp_path, {"password": "one"}) == []
    assert (tmp_path / "password").stat().st_mtime == 1000


def test_another_text_replaces_the_file_and_no_text_removes_it(tmp_path: Path) -> None:
    credentials.apply(tmp_path, {"password": "one", "token": "two"})
    (tmp_path / "somebody's").write_text("own")
    assert credentials.apply(tmp_path, {"password": "three", "token": ""}) == ["password", "token"]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"password": "three\n", "somebody's": "own"}


@pytest.mark.parametrize("wrong", ["readable", "a link"])
def test_a_file_that_others_could_read_is_made_anew(wrong: str, tmp_path: Path) -> None:
    folder, path = tmp_path / "credentials", tmp_path / "credentials/password"
    folder.mkdir()
    if wrong == "readable":
        path.write_text("one\n")
        path.chmod(0o644)
    else:
        (tmp_path / "elsewhere").write_text("one\n")
        (tmp_path / "elsewhere").chmod(0o600)
        path.symlink_to(tmp_path / "elsewhere")
    assert credentials.apply(folder, {"password": "one"}) == ["password"]
    assert mode(path) == 0o600 and not path.is_symlink()


def test_what_a_killed_run_left_half_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".password").write_text("hal")
    assert credentials.apply(tmp_path, {"password": "whole"}) == ["password"]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"password": "whole\n"}


def test_a_check_changes_nothing_and_says_what_would(tmp_path: Path) -> None:
    credentials.apply(tmp_path, {"token": "two"})
    assert credentials.apply(tmp_path, {"password": "one", "token": ""}, check=True) == ["password", "token"]
    assert [path.name for path in tmp_path.iterdir()] == ["token"]
