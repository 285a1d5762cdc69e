"""`doris-mcp-server guard`: a line in, a line out, whatever stands in it; and what docs/guard.md shows."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from doris_mcp_server import judge

PAGE = Path(__file__).parents[2] / "docs" / "guard.md"


def answers(*lines: bytes) -> tuple[int, list[Any]]:
    out = io.StringIO()
    code = judge.run(lines, out)
    return code, [json.loads(line) for line in out.getvalue().splitlines()]


def statement(sql: str) -> bytes:
    return json.dumps({"sql": sql}).encode() + b"\n"


def test_verdicts_come_in_order() -> None:
    code, found = answers(
        statement("SELECT * FROM d.t, u"), statement("SELECT 1;\nDROP TABLE t"), statement("SHOW TABLES")
    )
    assert code == 0
    assert found[0] == {
        "verdict": "accept",
        "reason": None,
        "kind": "select",
        "tables": ["d.t", "u"],
        "sent": "SELECT * FROM d.t, u",
    }
    assert found[1] == {
        "verdict": "refuse",
        "reason": "There is text after the closing `;`",
        "hint": "Send one SELECT or WITH statement at a time.",
        "at": {"line": 2, "column": 1},
        "kind": None,
        "tables": [],
        "sent": None,
    }
    assert found[2]["kind"] == "show"


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"SELECT 1\n",
        b"[]\n",
        b'"SELECT 1"\n',
        b"{}\n",
        b'{"sql": null}\n',
        b'{"sql": 1}\n',
        b'{"sql": "SELECT 1"\n',
        b'{"sql": "\xff"}\n',
        b"[" * 100_000,
        b"\0",
        b'{"sql": "a"} {"sql": "b"}',
    ],
)
def test_a_line_that_is_no_statement_is_answered_in_its_place(line: bytes) -> None:
    code, found = answers(statement("SELECT 1"), line, statement("SELECT 2"))
    assert code == 2
    assert [answer["verdict"] for answer in found] == ["accept", "refuse", "accept"]
    assert "Line 2" in found[1]["reason"]
    assert '{"sql": "SELECT 1"}' in found[1]["reason"]


@pytest.mark.parametrize("sql", ["", "SELECT '\ud800'", "SELECT '" + "a" * 2_000_000 + "'", "SELECT 1\0"])
def test_odd_statements_are_refused_not_failed_on(sql: str) -> None:
    code, found = answers(statement(sql))
    assert code == 0
    assert found[0]["verdict"] == "refuse"
    assert found[0]["hint"]


EXAMPLES = re.findall(r"```sh\n(doris-mcp-server .*?)```\n\n```json\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize(("command", "shown"), EXAMPLES, ids=["what is sent", "asking it"])
def test_the_documented_command_answers_as_documented(command: str, shown: str) -> None:
    ours = f'doris-mcp-server() {{ "{sys.executable}" -m doris_mcp_server "$@"; }}\n'
    done = subprocess.run(["bash", "-c", ours + command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == shown


def test_the_version_of_doris_decides() -> None:
    sql = statement("SELECT a FROM t QUALIFY row_number() OVER (ORDER BY a) = 1")
    out = io.StringIO()
    judge.run([sql], out, (2, 1, 7))
    judge.run([sql], out, (4, 0, 1))
    old, new = (json.loads(line) for line in out.getvalue().splitlines())
    assert old["reason"] == "QUALIFY needs Doris 4.0, and this cluster runs 2.1.7"
    assert new["verdict"] == "accept"


def test_the_page_for_operators_names_everything_that_is_refused_or_closed() -> None:
    page = PAGE.read_text(encoding="utf-8")
    shown = judge.policy()
    names = [f"`{name}()`" for key in ("refused_functions", "table_functions") for name in shown[key]]
    names += [f"`{name}`" for key in ("refused_prefixes", "closed_tables") for name in shown[key]]
    names += [f"`{argument.partition(' ')[0]}`" for argument in shown["bounded_arguments"] if "outer" not in argument]
    assert [name for name in names if name not in page] == []


@pytest.mark.parametrize(("argument", "words"), [("4", "'4' is no version of Doris"), ("x.y", "write 3.0 or 3.0.4")])
def test_a_version_that_is_none_is_refused(argument: str, words: str) -> None:
    command = [sys.executable, "-m", "doris_mcp_server", "guard", "--doris", argument]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert words in done.stderr


def test_the_policy_can_be_seen() -> None:
    command = [sys.executable, "-m", "doris_mcp_server", "guard", "--policy"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=True)
    assert json.loads(done.stdout) == judge.policy()


def test_a_reader_of_the_answers_may_go_away() -> None:
    line = json.dumps({"sql": "SELECT 1"})
    command = f"for i in $(seq 2000); do echo '{line}'; done | \"{sys.executable}\" -m doris_mcp_server guard | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert json.loads(done.stdout)["verdict"] == "accept"
    assert "Traceback" not in done.stderr
