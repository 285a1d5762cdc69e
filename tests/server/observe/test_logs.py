"""Logging as the processes of the server use it: in order, whole at every exit, nothing twice after a fork."""

import asyncio
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlglot

from doris_mcp_server.observe import event, logs
from doris_mcp_server.observe.logs import LIBRARIES, set_level

from ..conftest import LIMIT

CANARY = "hunter2-canary-0123456789"
PRELUDE = """
import asyncio, logging, os, signal, sys
from doris_mcp_server.observe import configure_logging, event, flush_logs, journal, logs
"""


async def started(script: str, stderr: int = asyncio.subprocess.PIPE) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "dev", "-W", "error", "-c", PRELUDE + script),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
    )


async def lines_of(script: str, code: int = 0) -> list[dict[str, Any]]:
    """What a process that runs `script` logs."""
    process = await started(script)
    async with asyncio.timeout(LIMIT):
        _, said = await process.communicate()
    assert process.returncode == code, said
    return [json.loads(row) for row in said.splitlines()]


def messages(lines: list[dict[str, Any]]) -> list[str]:
    return [line["message"] for line in lines]


async def test_events_and_records_come_in_order_at_their_level() -> None:
    lines = await lines_of("""
configure_logging("INFO")
async def main():
    event("one", tool="a")
    logging.getLogger("doris_mcp.other").info("two %s", "words")
    event("not shown", level=logging.DEBUG)
    logging.getLogger("uvicorn.error").info("not shown")
    event("three", level=logging.WARNING, reason=None)
    event("four")
asyncio.run(main())
logging.getLogger("uvicorn").warning("five")
event("six")
""")
    assert messages(lines) == ["one", "two words", "three", "four", "five", "six"]
    assert [line["level"] for line in lines] == ["INFO", "INFO", "WARNING", "INFO", "WARNING", "INFO"]
    assert [line["logger"] for line in lines[:2]] == ["doris_mcp", "doris_mcp.other"]
    assert lines[0]["tool"] == "a" and lines[2]["reason"] is None
    assert len({line["pid"] for line in lines}) == 1


async def test_a_record_has_its_traceback_and_bad_arguments_lose_nothing() -> None:
    lines = await lines_of(f"""
configure_logging("DEBUG")
log = logging.getLogger("doris_mcp")
try:
    raise ValueError("password={CANARY}")
except ValueError:
    log.exception("crashed")
log.info("%d and %d", "x")
log.debug("here", stack_info=True)
log.info("not ours", extra={{"fields": "token"}})
log.info("beside", extra={{"fields": {{"token": "{CANARY}", "tool": "a"}}}})
""")
    assert lines[0]["exception"].startswith("Traceback") and "ValueError: password=***" in lines[0]["exception"]
    assert (lines[1]["message"], lines[1]["arguments"]) == ("%d and %d", ["x"])
    assert "Stack" in lines[2]["stack"]
    assert lines[3]["message"] == "not ours"
    assert (lines[4]["token"], lines[4]["tool"]) == ("***", "a")
    assert CANARY not in json.dumps(lines)


@pytest.mark.parametrize(
    "ending",
    [
        "",
        "sys.exit(0)",
        "flush_logs(); os._exit(0)",
        "logging.shutdown(); os._exit(0)",
        "os.kill(os.getpid(), signal.SIGTERM); await asyncio.Event().wait()",  # `ended` ends it
    ],
)
async def test_nothing_is_lost_at_the_end(ending: str) -> None:
    lines = await lines_of(f"""
configure_logging("INFO")
def ended():
    event("told to end")
    flush_logs()
    os._exit(0)
async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended)
    for number in range(50):
        event("tool call", number=number)
    {ending}
asyncio.run(main())
""")
    assert [line["number"] for line in lines[:50]] == list(range(50))
    assert messages(lines[50:]) == (["told to end"] if "SIGTERM" in ending else [])


async def test_a_forked_child_writes_only_its_own_lines() -> None:
    lines = await lines_of("""
configure_logging("INFO")
async def main():
    event("before")
    child = os.fork()
    if child == 0:
        os.closerange(3, 100)
        held = [os.open("/dev/null", os.O_WRONLY) for _ in range(20)]  # the numbers are taken by others
        event("in the child")
        flush_logs()
        os._exit(0)
    os.waitpid(child, 0)
    event("after", child=child)
asyncio.run(main())
""")
    assert messages(lines) == ["in the child", "before", "after"]
    child, parent = lines[0]["pid"], lines[1]["pid"]
    assert child == lines[2]["child"] != parent == lines[2]["pid"]


async def test_a_reader_that_stands_still_keeps_nothing_from_running() -> None:
    process = await started("""
configure_logging("INFO")
async def main():
    for number in range(6000):
        event("tool call", number=number, filling="x" * 1000)
        if number % 100 == 0:
            await asyncio.sleep(0)
    event("something is wrong", level=logging.WARNING)
    print("still running", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
asyncio.run(main())
""")
    assert process.stdout is not None and process.stdin is not None
    async with asyncio.timeout(LIMIT):
        assert await process.stdout.readline() == b"still running\n"  # and nobody has read a line of its log
        _, said = await process.communicate(b"\n")
    assert process.returncode == 0
    lines = [json.loads(row) for row in said.splitlines()]
    kept = [line["number"] for line in lines if line["message"] == "tool call"]
    assert kept == list(range(len(kept)))
    assert messages(lines[len(kept) :]) == ["something is wrong", "log lines dropped"]
    assert len(kept) + lines[-1]["lines"] == 6000
    assert len(said) < 6 << 20


LOUD = """
sys.stdin.readline()
journal.PATIENCE = logs.EXIT_PATIENCE = 0.05
configure_logging("INFO")
def main():
    for number in range(2000):
        event("tool call", filling="x" * 1000)
        event("wrong", level=logging.WARNING)
async def in_loop():
    main()
{where}
print("at the end")
"""


@pytest.mark.parametrize("where", ["main()", "asyncio.run(in_loop())"])
@pytest.mark.parametrize("reader", ["never reads", "went away"])
async def test_a_process_runs_to_its_end_whatever_its_reader_does(where: str, reader: str) -> None:
    reads, writes = os.pipe()
    process = await started(LOUD.replace("{where}", where), writes)
    os.close(writes)
    if reader == "went away":
        os.close(reads)
    async with asyncio.timeout(LIMIT):
        said, _ = await process.communicate(b"\n")
    assert (process.returncode, said) == (0, b"at the end\n")
    if reader != "went away":
        os.close(reads)


async def test_without_a_stderr_its_number_is_left_alone(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable),
        PRELUDE
        + f"""
taken = os.open({str(tmp_path / "data")!r}, os.O_CREAT | os.O_WRONLY)
assert taken == 2
configure_logging("INFO")
event("to nobody")
event("to nobody", level=logging.ERROR)
""",
    )
    async with asyncio.timeout(LIMIT):
        assert await process.wait() == 0
    assert (tmp_path / "data").read_bytes() == b""


def test_before_logging_is_set_up_events_are_records(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logs, "_journal", None)
    event("said", level=logging.WARNING, tool="a")
    assert caplog.records[-1].getMessage() == "said"
    assert vars(caplog.records[-1])["fields"] == {"tool": "a"}


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "ERROR"])
def test_libraries_tell_neither_statements_nor_urls(level: str) -> None:
    before = {name: logging.getLogger(name).level for name in ("", *LIBRARIES)}
    try:
        set_level(level)
        assert not logging.getLogger("sqlglot").isEnabledFor(logging.WARNING)
        assert not logging.getLogger("httpx2").isEnabledFor(logging.INFO)
        assert logging.getLogger("sqlglot").isEnabledFor(logging.ERROR)
    finally:
        for name, old in before.items():
            logging.getLogger(name).setLevel(old)


def test_what_the_demo_engine_cannot_read_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    """sqlglot warns of a bare Command with its text; where it does not any more, LIBRARIES needs no line for it."""
    sqlglot.parse("ALTER USER secret_of_a_caller IDENTIFIED BY 'x'", read="doris")
    assert "secret_of_a_caller" in caplog.text
