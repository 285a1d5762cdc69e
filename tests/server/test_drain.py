"""What clients see while a server stops or replaces its workers: right answers, or errors that say to ask again."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from doris_mcp_server import ctl
from doris_mcp_server.cli import main

from ..echoes import ECHO, echoing, messages, stream, wait
from ..redis_server import PASSWORD
from .conftest import LIMIT, Launch, Running, legacy, modern, serving

ERAS = pytest.mark.parametrize("era", [modern, legacy])


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


# -- calls at the limit -------------------------------------------------------------------------------------
@ERAS
@pytest.mark.parametrize("members", [{}, {"task": {}}])
async def test_a_call_that_is_not_over_at_the_limit_is_answered_that_it_may_be_sent_again(
    era: Any, members: dict[str, Any], launch: Launch, http: aiohttp.ClientSession
) -> None:
    async with launch(DORIS_MCP_DRAIN_SECONDS="2", **ECHO) as server:
        await ask(http, server, wait(era, 0, **members))  # the SDK is loaded when first asked for, which takes seconds
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
    async with launch(**ECHO) as server, stream(http, server.url, era) as open_stream:
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
    async with launch(**ECHO) as server, stream(http, server.url, era) as open_stream:
        running = asyncio.create_task(ask(http, server, wait(modern, 1)))
        await until(server, streams=1, inflight=1)
        server.signal(signal.SIGTERM)
        ended = asyncio.create_task(open_stream.content.read())
        done, _ = await asyncio.wait([running, ended], return_when=asyncio.FIRST_COMPLETED)
        assert running in done
        assert (await running)[1]["result"]["structuredContent"] == {"text": "done"}
        await ended
        assert await server.process.wait() == 0


SLOW_SDK = """
import os, sys, time
from pathlib import Path
from doris_mcp_server import cli
from doris_mcp_server.observe import event
from doris_mcp_server.protocol import unusual

load = unusual.importlib.import_module

def import_module(name):
    event("loading")
    while not Path(os.environ["DORIS_MCP_RUNTIME_DIR"], "loaded").exists():
        time.sleep(0.02)
    return load(name)

unusual.importlib = type("importlib", (), {"import_module": staticmethod(import_module)})
sys.exit(cli.main(sys.argv[1:]))
"""


async def test_what_waits_for_the_sdk_when_the_server_stops_is_asked_to_come_again(
    launch: Launch, http: aiohttp.ClientSession
) -> None:
    listen = modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    async with launch(program=("-c", SLOW_SDK)) as server:
        opening = asyncio.create_task(http.post(f"{server.url}/mcp", **listen))
        await server.said("loading")
        server.signal(signal.SIGTERM)
        async with await opening as response:
            assert (response.status, response.headers["retry-after"]) == (503, "1")
            assert (await response.json())["id"] == listen["json"]["id"]
        (server.runtime / "loaded").touch()
        assert await server.process.wait() == 0
    assert set(steps(server).values()) == {"ok"}


# -- replacing workers --------------------------------------------------------------------------------------


async def test_a_reload_answers_everything_on_every_connection(launch: Launch, http: aiohttp.ClientSession) -> None:
    async with launch(workers=2, **ECHO) as server, echoing(server.url, clients=4, streams=1) as echoes:
        before = {worker["pid"] for worker in (await until(server, streams=2))["workers"]}
        running = [asyncio.create_task(ask(http, server, wait(era, 1))) for era in (modern, legacy)]
        server.signal(signal.SIGHUP)
        server.signal(signal.SIGHUP)
        await server.said("worker retired", 2)
        for call in running:
            assert (await call)[1]["result"]["structuredContent"] == {"text": "done"}
        after = await ctl.ask(server.ctl, {"do": "status"})
        assert not before & {worker["pid"] for worker in after["workers"]}
        assert [worker["replaced"] for worker in after["workers"]] == [1, 1]
        await echoes.until(lambda seen: seen.right > 100)
    assert not (echoes.again or echoes.wrong), echoes


async def test_a_worker_that_served_enough_is_replaced_the_new_one_first_and_never_two_at_once(launch: Launch) -> None:
    often = {"DORIS_MCP_MAX_REQUESTS": "20", "DORIS_MCP_MAX_REQUESTS_JITTER": "10"}
    async with launch(workers=2, **often, **ECHO) as server:
        async with echoing(server.url) as echoes:
            await server.said("worker retired", 4)
        assert not (echoes.again or echoes.wrong), echoes
        told = [
            (line["message"], line.get("worker"))
            for line in server.lines
            if line["message"] in ("worker is due", "worker listens", "worker retired")
        ]
        changes = told[2:]  # the first two have begun
        for due, listens, retired in zip(changes[::3], changes[1::3], changes[2::3], strict=False):
            assert (due[0], listens[0], retired[0]) == ("worker is due", "worker listens", "worker retired")
            assert due[1] == retired[1] != listens[1]


async def test_the_new_worker_is_looked_after_while_the_old_one_still_works(
    launch: Launch, http: aiohttp.ClientSession
) -> None:
    async with launch(**ECHO) as server:
        running = asyncio.create_task(ask(http, server, wait(modern, 600)))
        await until(server, inflight=1)
        server.signal(signal.SIGHUP)
        await server.said("reloaded")
        (new,) = [w["pid"] for w in (await until(server))["workers"] if w["state"] == "serving"]
        os.kill(new, signal.SIGKILL)
        assert (await server.said("worker ended"))["worker"] == new
        await server.said("worker listens", 3)
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await server.said("worker retired")


async def test_unless_told_so_a_worker_never_serves_enough(launch: Launch) -> None:
    async with launch(**ECHO) as server:
        async with echoing(server.url) as echoes:
            await echoes.until(lambda seen: seen.right > 200)
        (worker,) = (await until(server, inflight=0))["workers"]
        assert worker["replaced"] == 0


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
        await server.said("watching Doris and the store failed; this worker ends")
        (server.runtime / "fail").unlink()
        assert (await running)[1]["result"]["structuredContent"] == {"text": "done"}
        assert (await server.said("worker ended"))["code"] == 1
        await server.said("worker listens", 2)
        (worker,) = (await ctl.ask(server.ctl, {"do": "status"}))["workers"]
        assert (worker["crashes"], worker["last_exit"]["reason"]) == (1, "exit code 1")
    assert set(steps(server).values()) == {"ok"}


# -- stdio ---------------------------------------------------------------------------------------------------


async def test_servers_that_listen_to_a_store_end_in_order(redis_port: int, tmp_path: Path) -> None:
    """A lost cancellation left one in a few of them hanging, until the supervisor took it for blocked."""

    async def life(name: str) -> int:
        (tmp_path / name).mkdir()
        async with serving(tmp_path / name, workers=2, **variables) as server:
            await server.said("store answers", 2)
            server.signal(signal.SIGTERM)
            code = await server.process.wait()
        assert not [line for line in server.lines if line["message"] == "worker killed"]
        return code

    variables = {"REDIS_URL": f"redis://127.0.0.1:{redis_port}/0", "REDIS_PASSWORD": PASSWORD}
    variables |= {"DORIS_MCP_TOKEN_KEY": "ab" * 32}
    assert await asyncio.gather(*map(life, "abcde")) == [0] * 5


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
