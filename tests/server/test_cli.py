"""The command line: help, versions, and errors of one line that name the fix."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from doris_mcp_server.cli import duration, main, parser


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORKERS", "SERVER_HOST", "REDIS_URL", "DORIS_HOST", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


def test_version_says_version_and_release(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "--json"]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert set(seen) == {"version", "release"}
    assert seen["release"].startswith(seen["version"])


def test_ctl_does_not_import_the_server_it_asks() -> None:
    script = """
import sys
from doris_mcp_server.cli import main
assert main(["ctl", "--socket", "/nonexistent.sock", "status"]) == 1
names = [name.split(".") for name in sys.modules]
print(*{name[1] for name in names if name[0] == "doris_mcp_server" and name[1:]}, *{n[0] for n in names} & {"pydantic"})
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    # The demo engine's part is its options on the command line.
    assert set(done.stdout.split()) <= {"cli", "ctl", "errors", "sandbox", "observe"}


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("12h", 43_200), ("90d", 7_776_000), ("0.5s", 0.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


def test_flags_may_stand_before_or_after_serve() -> None:
    assert parser().parse_args(["--port", "1"]).port == 1
    assert parser().parse_args(["--port", "1", "serve"]).port == 1
    assert parser().parse_args(["serve", "--port", "2"]).port == 2


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["--transport", "http", "--host", "0.0.0.0"], 2, ["SERVER_HOST=0.0.0.0", "DORIS_MCP_TOKEN"]),
        (["--transport", "http", "--port", "99999"], 2, ["--port"]),
        (["check-config", "--env-file", "/nonexistent"], 2, ["/nonexistent"]),
        (["ctl", "--socket", "/nonexistent.sock", "status"], 1, ["/nonexistent.sock", "systemctl status"]),
        (["token", "list"], 2, ["REDIS_URL", "--env-file"]),
        (["smoke", "--url", "http://127.0.0.1:1/mcp", "--token-file", "/nonexistent"], 2, ["/nonexistent"]),
    ],
)
def test_an_error_is_one_line_and_the_fix(
    argv: list[str], code: int, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == code
    said = capsys.readouterr().err
    assert all(word in said for word in words), said
    assert "fix: " in said
    assert "Traceback" not in said


def test_smoke_says_why_a_host_is_not_proved(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["smoke", "--url", "http://127.0.0.1:1/mcp", "--json"]) == 1
    seen = json.loads(capsys.readouterr().out)
    assert seen["ok"] is False
    assert seen["reason"]


def test_check_config_reads_the_services_environment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "env"
    file.write_text("WORKERS=3\nTRANSPORT=http\n")
    assert main(["check-config", "--env-file", str(file)]) == 0
    assert "3 workers" in capsys.readouterr().out
    file.write_text("TRANSPORT=http\nSERVER_HOST=0.0.0.0\n")
    assert main(["check-config", "--env-file", str(file)]) == 2
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials/doris_mcp_token").write_text("a-token-of-sixteen-and-more\n")
    assert main(["check-config", "--env-file", str(file)]) == 0
    file.write_text("WORKRES=3\nDORIS_MCP_NODENAME=a\n")
    assert main(["check-config", "--env-file", str(file)]) == 2
    assert "DORIS_MCP_NODE_NAME" in capsys.readouterr().err


def test_a_tool_that_is_to_be_taken_out_must_be_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DORIS_MCP_DISABLED_TOOLS", "list_clusters,explain_querry")
    for command in ("check-config", "serve"):
        assert main([command]) == 2
        assert "did you mean explain_query?" in capsys.readouterr().err
