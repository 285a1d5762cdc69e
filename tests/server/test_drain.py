"""What clients see while a server stops or replaces its workers: right answers, or errors that say to ask again."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from doris_mcp_server import ctl
from doris_mcp_server.cli import main

from .conftest import LIMIT, Launch, Running, legacy, modern

ECHO = {"DORIS_MCP_TEST_FIXTURES": "echo"}
ERAS = pytest.mark.parametrize("era", [modern, legacy])


def wait(era: Any, seconds: float, **members: Any) -> dict[str, Any]:
    """A call that takes so long. With `members` in its params it is not ordinary, and the SDK's to serve."""
    return era("tools/call", {"name": "test_wait", "arguments": {"text": "done", "seconds": seconds}, **members})


def messages(text: str) -> list[dict[str, Any]]:
    """The JSON-RPC messages of a body, which is one object or an event stream."""
    if text.lstrip().startswith("{"):
        return [json.loads(text)]
    return [json.loads(line[5:]) for line in text.splitlines() if line.startswith("data:") and line[5:].strip()]


async def ask(http: aiohttp.ClientSession, server: Running, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """The status and the last message of the answer."""
    async with http.post(f"{server.url}/mcp", **request) as response:
        return response.status, messages(await response.text())[-1]


async def until(server: Running, **wanted: int) -> dict[str, Any]:
    """Wait until the workers together have so many in flight, or streams."""
    async with asyncio.timeout(LIMIT):
        while True:
            status = await ctl.ask(server.ctl, {"do": "status"})
            if all(sum(worker[name] for worker in status["workers"]) == count for name, count in wanted.items()):
                return status
            await asyncio.sleep(0.02)


def steps(server: Running) -> dict[str, str]:
    """Step → result, of the one worker that ended."""
    return {line["step"]: line["result"] for line in server.lines if line["message"] == "shutdown step"}


@contextlib.asynccontextmanager
async def stream(http: aiohttp.ClientSession, server: Running, era: Any) -> AsyncIterator[aiohttp.ClientResponse]:
    """An open event stream in either era, its first frame read."""
    if era is modern:
        request = modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        opening = http.post(f"{server.url}/mcp", **request)
    else:
        hello = legacy("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}})
        hello["json"]["params"]["clientInfo"] = {"name": "test", "version": "1"}
        async with http.post(f"{server.url}/mcp", **hello) as response:
            session = response.headers["mcp-session-id"]
        headers = {"mcp-session-id": session, "mcp-protocol-version": "2025-11-25", "accept": "text/event-stream"}
        opening = http.get(f"{server.url}/mcp", headers=headers)
    async with opening as response:
        assert response.status == 200
        await response.content.readuntil(b"\r\n\r\n")
        yield response


# -- calls at the limit -------------------------------------------------------------------------------------


@ERAS
@pytest.mark.parametrize("members", [{}, {"unusual": True}])
async def test_a_call_that_is_not_over_at_the_limit_is_answered_that_it_may_be_sent_again(
    era: Any, members: dict[str, Any], launch: Launch, http: aiohttp.ClientSession
) -> None:
    async with launch(DORIS_MCP_DRAIN_SECONDS="2", **ECHO) as server:
        running = asyncio.create_task(ask(http, server, wait(era, 600, **members)))
        await until(server, inflight=1)
        server.signal(signal.SIGTERM)
        status, message = await running
        assert await server.process.wait() == 1
    assert (status, message["result"]["isError"]) == (200, True)
    error = json.loads(message["result"]["content"][0]["text"])["error"]
    assert (error["kind"], error["retryable"]) == ("shutting_down", True)
    assert steps(server) == dict.fromkeys(steps(server), "ok") | {"calls": "cut"}
    assert next(line for line in server.lines if line["message"] == "stopped")["killed"] == 0


async def test_a_statement_given_up_at_the_limit_is_killed_at_doris(
    launch: Launch, http: aiohttp.ClientSession
) -> None:
    sleep = modern("tools/call", {"name": "execute_query", "arguments": {"sql": "SELECT sleep(60)"}})
    async with launch("--sandbox", DORIS_MCP_DRAIN_SECONDS="2", DORIS_MCP_QUERY_TIMEOUT="900") as server:
        await server.said("doris answers")
        running = asyncio.create_task(ask(http, server, sleep))
        await until(server, inflight=1)
        server.signal(signal.SIGTERM)
        _, message = await running
        assert "shutting_down" in message["result"]["content"][0]["text"]
        assert await server.process.wait() == 1
    async with launch() as server, http.get(f"{server.url}/metrics") as response:
        assert 'doris_mcp_kills_total{cluster="default",outcome="sent"} 1.0' in await response.text()


# -- streams ------------------------------------------------------------------------------------------------


@ERAS
async def test_a_stream_holds_up_no_drain_and_ends_with_a_last_frame(
    era: Any, launch: Launch, http: aiohttp.ClientSession, capsys: pytest.CaptureFixture[str]
) -> None:
    async with launch(**ECHO) as server, stream(http, server, era) as open_stream:
        await until(server, streams=1, inflight=0)
        drain = ["ctl", "--socket", server.ctl, "drain", "--for", "60", "--wait", "60", "--json"]
        assert await asyncio.to_thread(main, drain) == 0
        assert json.loads(capsys.readouterr().out)["inflight"] == 0
        server.signal(signal.SIGTERM)
        await open_stream.content.read()  # raises when it is cut off instead of ended
        assert await server.process.wait() == 0
    assert set(steps(server).values()) == {"ok"}


@ERAS
async def test_streams_go_on_until_the_last_call_is_over(era: Any, launch: Launch, http: aiohttp.ClientSession) -> None:
    async with launch(**ECHO) as server, stream(http, server, era) as open_stream:
        running = asyncio.create_task(ask(http, server, wait(modern, 1)))
        await until(server, streams=1, inflight=1)
        server.signal(signal.SIGTERM)
        ended = asyncio.create_task(open_stream.content.read())
        done, _ = await asyncio.wait([running, ended], return_when=asyncio.FIRST_COMPLETED)
        assert running in done
        assert (await running)[1]["result"]["structuredContent"] == {"text": "done"}
        await ended
        assert await server.process.wait() == 0


# -- replacing workers --------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def busy(server: Running, answers: list[tuple[int, bool]]) -> AsyncIterator[None]:
    """Clients of both eras that never pause, on connections kept alive: the status, and whether it was the answer."""
    over = asyncio.Event()

    async def client(number: int, era: Any) -> None:
        async with aiohttp.ClientSession() as http:
            while not over.is_set():
                text = f"{number}-{len(answers)}"
                status, message = await ask(
                    http, server, era("tools/call", {"name": "echo", "arguments": {"text": text}})
                )
                answers.append((status, message.get("result", {}).get("structuredContent") == {"text": text}))

    clients = [asyncio.create_task(client(number, era)) for number in range(4) for era in (modern, legacy)]
    try:
        yield
    finally:
        over.set()
        await asyncio.gather(*clients)


async def test_a_reload_answers_everything_on_every_connection(launch: Launch, http: aiohttp.ClientSession) -> None:
    answers: list[tuple[int, bool]] = []
    async with launch(workers=2, **ECHO) as server:
        before = {worker["pid"] for worker in (await until(server, inflight=0))["workers"]}
        running = [asyncio.create_task(ask(http, server, wait(era, 1))) for era in (modern, legacy)]
        await until(server, inflight=2)
        async with busy(server, answers):
            server.signal(signal.SIGHUP)
            server.signal(signal.SIGHUP)
            await server.said("worker retired", 2)
        for call in running:
            assert (await call)[1]["result"]["structuredContent"] == {"text": "done"}
        after = await ctl.ask(server.ctl, {"do": "status"})
        assert not before & {worker["pid"] for worker in after["workers"]}
        assert [worker["replaced"] for worker in after["workers"]] == [1, 1]
    assert len(answers) > 8
    assert set(answers) == {(200, True)}


async def test_a_worker_that_served_enough_is_replaced_the_new_one_first_and_never_two_at_once(
    launch: Launch,
) -> None:
    answers: list[tuple[int, bool]] = []
    async with launch(workers=2, DORIS_MCP_MAX_REQUESTS="20", DORIS_MCP_MAX_REQUESTS_JITTER="10", **ECHO) as server:
        async with busy(server, answers):
            await server.said("worker retired", 4)
        assert set(answers) == {(200, True)}
        told = [
            (line["message"], line.get("worker"))
            for line in server.lines
            if line["message"] in ("worker is due", "worker listens", "worker retired")
        ]
        changes = told[2:]  # the first two have begun
        for due, listens, retired in zip(changes[::3], changes[1::3], changes[2::3], strict=False):
            assert (due[0], listens[0], retired[0]) == ("worker is due", "worker listens", "worker retired")
            assert due[1] == retired[1] != listens[1]


async def test_nobody_is_replaced_who_was_not_asked_to_count(launch: Launch) -> None:
    answers: list[tuple[int, bool]] = []
    async with launch(**ECHO) as server:
        async with busy(server, answers):
            async with asyncio.timeout(LIMIT):
                while (await ctl.ask(server.ctl, {"do": "status"}))["workers"][0]["served"] < 100:
                    await asyncio.sleep(0.02)
        status = await ctl.ask(server.ctl, {"do": "status"})
        assert (len(status["workers"]), status["workers"][0]["replaced"]) == (1, 0)


async def test_sigterm_wins_over_a_reload_under_way(launch: Launch, http: aiohttp.ClientSession) -> None:
    async with launch(workers=2, **ECHO) as server:
        running = [asyncio.create_task(ask(http, server, wait(era, 1))) for era in (modern, legacy)]
        pids = {worker["pid"] for worker in (await until(server, inflight=2))["workers"]}
        server.signal(signal.SIGHUP)
        await server.said("worker listens", 3)  # the first of the new ones, the second is not there yet
        server.signal(signal.SIGTERM)
        for call in running:
            assert (await call)[1]["result"]["structuredContent"] == {"text": "done"}
        assert await server.process.wait() == 0
    pids |= {line["worker"] for line in server.lines if line["message"] == "worker listens"}
    assert len(pids) >= 3
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not [line for line in server.lines if line.get("level") in ("ERROR", "CRITICAL")]


# -- errors take the same way -------------------------------------------------------------------------------

FAILING = """
import asyncio, os, sys
from pathlib import Path
from doris_mcp_server import cli, {module}

async def fail(*args):
    while not Path(os.environ["DORIS_MCP_RUNTIME_DIR"], "fail").exists():
        await asyncio.sleep(0.02)
    raise ZeroDivisionError("not today")

{module}.{name} = fail
sys.exit(cli.main(sys.argv[1:]))
"""


async def test_an_error_in_the_supervisor_ends_it_in_order_and_not_with_0(
    launch: Launch, http: aiohttp.ClientSession
) -> None:
    program = FAILING.format(module="process", name="Supervisor._renew")
    async with launch(program=("-c", program), **ECHO) as server:
        running = asyncio.create_task(ask(http, server, wait(modern, 1)))
        await until(server, inflight=1)
        (server.runtime / "fail").touch()
        assert (await running)[1]["result"]["structuredContent"] == {"text": "done"}
        assert await server.process.wait() == 1
    assert "not today" in next(line for line in server.lines if line.get("level") == "CRITICAL")["exception"]
    assert set(steps(server).values()) == {"ok"}


async def test_an_error_in_a_worker_ends_that_one_in_order_and_another_takes_its_place(
    launch: Launch, http: aiohttp.ClientSession
) -> None:
    program = FAILING.format(module="health", name="Health.watch")
    async with launch(program=("-c", program), **ECHO) as server:
        running = asyncio.create_task(ask(http, server, wait(modern, 1)))
        await until(server, inflight=1)
        (server.runtime / "fail").touch()
        await server.said("fail failed; this worker ends")
        (server.runtime / "fail").unlink()
        assert (await running)[1]["result"]["structuredContent"] == {"text": "done"}
        assert (await server.said("worker ended"))["code"] == 1
        await server.said("worker listens", 2)
        (worker,) = (await ctl.ask(server.ctl, {"do": "status"}))["workers"]
        assert (worker["crashes"], worker["last_exit"]["reason"]) == (1, "exit code 1")
    assert set(steps(server).values()) == {"ok"}


# -- stdio ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, None])
async def test_stdio_ends_at_once_also_with_its_client_still_there(sig: signal.Signals | None) -> None:
    hello = legacy("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}})
    hello["json"]["params"]["clientInfo"] = {"name": "test", "version": "1"}
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("DORIS_", "REDIS_"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "doris_mcp_server"),
        env=environ,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    try:
        process.stdin.write(json.dumps(hello["json"]).encode() + b"\n")
        async with asyncio.timeout(LIMIT):
            assert json.loads(await process.stdout.readline())["id"] == 1
            if sig is None:
                process.stdin.close()
            else:
                process.send_signal(sig)
            said = [json.loads(line) async for line in process.stderr]
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        process.stdin.close()
    ended = [line["step"] for line in said if line["message"] == "shutdown step"]
    assert ended == ["background", "sessions", "doris", "store"]
