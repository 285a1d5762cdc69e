"""The files of a host, as text_files makes them: what is written, what is left alone, what goes."""

import grp
import os
from pathlib import Path
from typing import Any

import pytest

from .plugins import plugin

text_files = plugin("doris_mcp/library/text_files.py")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def apply(folder: Path, texts: dict[str, str], *, check: bool = False, **more: Any) -> list[str]:
    """The names of the files that were not right."""
    files = [{"path": name, "text": text, **more} for name, text in texts.items()]
    wrong = text_files.apply(text_files.wanted_files(files, str(folder), "0600"), check)
    return [Path(path).name for path in wrong]


def test_what_is_missing_is_written_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert apply(tmp_path, {"password": "one", "token": ""}) == ["password"]
    finally:
        os.umask(before)
    assert [path.name for path in tmp_path.iterdir()] == ["password"]
    assert (tmp_path / "password").read_text() == "one\n"
    assert mode(tmp_path / "password") == 0o600


def test_a_text_has_one_last_line_end(tmp_path: Path) -> None:
    apply(tmp_path, {"one": "a\nb\n", "two": "a\nb"}, mode="0644")
    assert (tmp_path / "one").read_text() == (tmp_path / "two").read_text() == "a\nb\n"
    assert mode(tmp_path / "one") == 0o644


def test_what_is_right_keeps_its_time(tmp_path: Path) -> None:
    apply(tmp_path, {"password": "one"})
    os.utime(tmp_path / "password", (1000, 1000))
    assert apply(tmp_path, {"password": "one"}) == []
    assert (tmp_path / "password").stat().st_mtime == 1000


def test_another_text_replaces_the_file_and_no_text_removes_it(tmp_path: Path) -> None:
    apply(tmp_path, {"password": "one", "token": "two"})
    (tmp_path / "somebody's").write_text("own")
    assert apply(tmp_path, {"password": "three", "token": ""}) == ["password", "token"]
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
    assert apply(folder, {"password": "one"}) == ["password"]
    assert mode(path) == 0o600 and not path.is_symlink()


def test_what_a_killed_run_left_half_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".password").write_text("hal")
    assert apply(tmp_path, {"password": "whole"}) == ["password"]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"password": "whole\n"}


def test_what_its_reader_refuses_does_not_land(tmp_path: Path) -> None:
    apply(tmp_path, {"settings": "good"})
    with pytest.raises(text_files.Refused, match="no such setting"):
        apply(tmp_path, {"settings": "bad"}, validate=["sh", "-c", "grep good %s || { echo no such setting; false; }"])
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"settings": "good\n"}
    assert apply(tmp_path, {"settings": "good too"}, validate=["grep", "-q", "good", "%s"]) == ["settings"]


def test_a_check_changes_nothing_and_says_what_would_also_for_a_group_to_come(tmp_path: Path) -> None:
    apply(tmp_path, {"token": "two"})
    assert apply(tmp_path, {"password": "one", "token": ""}, check=True) == ["password", "token"]
    assert apply(tmp_path / "missing", {"settings": "one"}, check=True, group="nobody-yet") == ["settings"]
    assert [path.name for path in tmp_path.iterdir()] == ["token"]


def test_a_file_is_readable_by_the_group_that_is_named(tmp_path: Path) -> None:
    group = grp.getgrgid(os.getegid()).gr_name
    apply(tmp_path, {"settings": "one"}, group=group, mode="0640")
    assert apply(tmp_path, {"settings": "one"}, group=group, mode="0640") == []
    assert (tmp_path / "settings").stat().st_gid == os.getegid()


def test_folders_get_their_modes_once(tmp_path: Path) -> None:
    wanted = [{"path": f"{tmp_path}/etc", "mode": "0755"}, {"path": f"{tmp_path}/etc/credentials", "mode": "0700"}]
    assert text_files.apply_folders(wanted, check=True) == [one["path"] for one in wanted]
    assert not (tmp_path / "etc").exists()
    assert text_files.apply_folders(wanted) == [one["path"] for one in wanted]
    assert (mode(tmp_path / "etc"), mode(tmp_path / "etc/credentials")) == (0o755, 0o700)
    (tmp_path / "etc/credentials").chmod(0o755)
    assert text_files.apply_folders(wanted) == [f"{tmp_path}/etc/credentials"]
    assert text_files.apply_folders(wanted) == []
