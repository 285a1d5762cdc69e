"""The supervisor: even workers, crashes, drains, leases and restarts of a real server."""

import asyncio
import contextlib
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from doris_mcp_server import ctl
from doris_mcp_server.cli import main
from doris_mcp_server.errors import ServerError

from ..echoes import ECHO, wait
from .conftest import LIMIT, TOKEN, Launch, Running, modern, serving, status

SMOKE = "smoke-token-0123456789"
QUERY = modern("tools/call", {"name": "execute_query", "arguments": {"sql": "SELECT 1"}})
SLOW = modern("tools/call", {"name": "execute_query", "arguments": {"sql": "SELECT sleep(2)"}})

# A server whose workers say hello to each other when they get SIGUSR1.
TALKING = """
import asyncio, os, signal, sys
from doris_mcp_server import cli, worker
from doris_mcp_server.observe import event

class Talking(worker.App):
    def __init__(self, settings):
        super().__init__(settings)
        self.bus.subscribe("hello", lambda data: event("heard", of=data["pid"]))
        hello = lambda: self.bus.publish("hello", {"pid": os.getpid()})
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, hello)

worker.App = Talking
sys.exit(cli.main(sys.argv[1:]))
"""
CRASHING = """
import sys
from doris_mcp_server import cli, worker

def main(*args):
    raise RuntimeError("not today")

worker.main = main
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A server for tests that change nothing about it."""
    async with serving(tmp_path_factory.mktemp("one")) as server:
        yield server


async def until_pid_gone(pid: int) -> None:
    async with asyncio.timeout(LIMIT):
        while Path(f"/proc/{pid}").exists():
            await asyncio.sleep(0.02)


async def until_stopped(pid: int) -> None:
    async with asyncio.timeout(LIMIT):
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            await asyncio.sleep(0.01)


async def asked(client: aiohttp.ClientSession, url: str) -> tuple[int, str | None]:
    """One QUERY, its answer read to the end: status and Connection header."""
    async with client.post(f"{url}/mcp", **QUERY) as response:
        await response.read()
        return response.status, response.headers.get("connection")


def offspring(pid: int) -> dict[int, str]:
    """The children of a process and the state each is in: Z for one that was not reaped."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # it ended meanwhile
            continue
        if int(parent) == pid:
            found[int(stat.parent.name)] = state
    return found


async def until_inflight(server: Running, count: int) -> None:
    async with asyncio.timeout(LIMIT):
        while (await status(server))["inflight"] != count:
            await asyncio.sleep(0.02)


async def test_a_killed_worker_is_replaced(launch: Launch, http: aiohttp.ClientSession) -> None:
    async with launch(workers=2) as server:
        before = await status(server)
        assert (before["state"], len(before["workers"])) == ("running", 2)
        os.kill(before["workers"][0]["pid"], signal.SIGKILL)
        assert (await server.said("worker ended"))["code"] == -signal.SIGKILL
        await server.said("worker listens", 3)
        after = await status(server)
        assert after["state"] == "running"
        assert len({w["pid"] for w in after["workers"]} & {w["pid"] for w in before["workers"]}) == 1
        children = offspring(server.process.pid)
        assert set(children) == {w["pid"] for w in after["workers"]}
        assert "Z" not in children.values()


async def test_sigterm_to_a_worker_replaces_that_one_only_the_new_one_first(launch: Launch) -> None:
    async with launch(workers=2) as server:
        one, other = (w["pid"] for w in (await status(server))["workers"])
        os.kill(one, signal.SIGTERM)
        retired = await server.said("worker retired")
        assert (retired["worker"], retired["code"]) == (one, 0)
        told = [line["message"] for line in server.lines]
        listens = [number for number, message in enumerate(told) if message == "worker listens"]
        assert len(listens) == 3
        assert listens[2] < told.index("drained") < told.index("worker retired")
        assert "worker ended" not in told
        after = await status(server)
        assert after["state"] == "running"
        assert other in {w["pid"] for w in after["workers"]}
        assert {w["replaced"] for w in after["workers"]} == {0, 1}
        os.kill(other, signal.SIGHUP)  # to reload is the supervisor's: of no effect here
        os.kill(other, signal.SIGTERM)
        assert (await server.said("worker retired", 2))["code"] == 0


async def test_a_worker_that_crashes_at_once_is_started_later_and_later(launch: Launch) -> None:
    async with launch(program=("-c", CRASHING), wait=False) as server:
        await server.said("worker ended", 4)
        ended = [line for line in server.lines if line["message"] == "worker ended"]
        assert [line["again_in_s"] for line in ended[:4]] == [0.1, 0.2, 0.4, 0.8]
        assert {line["code"] for line in ended} == {1}
        crashed = await server.said("process crashed")
        assert "not today" in crashed["exception"]
        missing = (await status(server))["missing"]
        assert missing[0]["last_exit"]["reason"] == "exit code 1"
        assert missing[0]["crashes"] >= 4
        server.signal(signal.SIGTERM)
        assert await server.process.wait() == 0


async def test_what_one_worker_tells_all_the_others_hear_once(launch: Launch) -> None:
    async with launch(program=("-c", TALKING), workers=3) as server:
        pids = [w["pid"] for w in (await status(server))["workers"]]
        for count, pid in enumerate(pids, 1):
            os.kill(pid, signal.SIGUSR1)
            await server.said("heard", 3 * count)
        heard = [(line["of"], line["pid"]) for line in server.lines if line["message"] == "heard"]
        assert sorted(heard) == sorted((of, pid) for of in pids for pid in pids)


async def test_a_retiring_worker_hears_events_until_its_last_call_is_over(
    launch: Launch, http: aiohttp.ClientSession
) -> None:
    async with launch("--sandbox", program=("-c", TALKING)) as server:
        await server.said("doris answers")
        (old,) = [w["pid"] for w in (await status(server))["workers"]]
        slow = modern("tools/call", {"name": "execute_query", "arguments": {"sql": "SELECT sleep(20)"}})
        running = asyncio.create_task(http.post(f"{server.url}/mcp", **slow))
        await until_inflight(server, 1)
        server.signal(signal.SIGHUP)
        await server.said("reloaded")
        (new,) = [w["pid"] for w in (await status(server))["workers"] if w["state"] == "serving"]
        os.kill(new, signal.SIGUSR1)
        await server.said("heard", 2)
        assert {line["pid"] for line in server.lines if line["message"] == "heard"} == {old, new}
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_a_worker_killed_with_events_unread_is_replaced_like_any_other(launch: Launch) -> None:
    async with launch(program=("-c", TALKING), workers=3) as server:
        stuck, *others = [w["pid"] for w in (await status(server))["workers"]]
        os.kill(stuck, signal.SIGSTOP)
        os.kill(others[0], signal.SIGUSR1)
        await server.said("heard", 2)  # by both others, so it was passed on to the stuck one too
        os.kill(stuck, signal.SIGKILL)
        await server.said("worker listens", 4)
        assert (await status(server))["state"] == "running"


@pytest.mark.parametrize("unread", [False, True])
async def test_no_worker_outlives_a_killed_supervisor(launch: Launch, unread: bool) -> None:
    async with launch(program=("-c", TALKING), workers=2) as server:
        pids = [w["pid"] for w in (await status(server))["workers"]]
        if unread:  # what it left unread resets the pipe instead of ending it
            server.signal(signal.SIGSTOP)
            for count in (1, 2):
                for pid in pids:
                    os.kill(pid, signal.SIGUSR1)
                await server.said("heard", 2 * count)
        server.signal(signal.SIGKILL)
        await server.process.wait()
        for pid in pids:
            await until_pid_gone(pid)


ALONE = """
import os, sys
from doris_mcp_server import cli, worker
worker.ORPHAN_LIMIT = 1
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("how", ["stopped", "blocked"])
async def test_nor_does_one_whose_loop_stands_still(how: str, launch: Launch, http: aiohttp.ClientSession) -> None:
    async with launch(program=("-c", ALONE), **ECHO) as server:
        (worker,) = [w["pid"] for w in (await status(server))["workers"]]
        asking = None
        if how == "stopped":
            os.kill(worker, signal.SIGSTOP)
            await until_stopped(worker)  # one that stops after its parent's end is woken by nobody
        else:
            block = wait(modern, 600)
            block["json"]["params"]["name"] = block["headers"]["mcp-name"] = "test_block"
            asking = asyncio.create_task(http.post(f"{server.url}/mcp", **block))
            await server.said("standing still")
        server.signal(signal.SIGKILL)
        await server.process.wait()
        await until_pid_gone(worker)
        if asking is not None:
            with pytest.raises(aiohttp.ClientError):
                await asking


async def test_sigterm_finishes_the_running_call_refuses_new_ones_and_exits_0(
    launch: Launch, http: aiohttp.ClientSession
) -> None:
    async with launch("--sandbox") as server:
        await server.said("doris answers")
        url = server.url
        running = asyncio.create_task(http.post(f"{url}/mcp", **SLOW))
        await until_inflight(server, 1)
        async with aiohttp.ClientSession() as other:
            code, _ = await asked(other, url)  # over a connection that is then kept alive
            assert code == 200
            server.signal(signal.SIGTERM)
            await server.said("stopping")
            async with asyncio.timeout(LIMIT):
                while (refused := await asked(other, url))[0] == 200:
                    pass
            assert refused == (503, "close")
        async with await running as response:
            assert response.status == 200
            assert (await response.json())["result"]["structuredContent"]["row_count"] == 1
        assert await server.process.wait() == 0


async def test_a_drain_turns_away_all_but_the_smoke_token_and_outlives_a_restart(
    launch: Launch, http: aiohttp.ClientSession, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    secrets = {"DORIS_MCP_TOKEN": TOKEN, "DORIS_MCP_SMOKE_TOKEN": SMOKE}

    async def ask(server: Running, token: str) -> int:
        headers = QUERY["headers"] | {"authorization": f"Bearer {token}"}
        async with http.post(f"{server.url}/mcp", json=QUERY["json"], headers=headers) as response:
            return response.status

    async def drained(server: Running, yes: bool) -> None:
        async with asyncio.timeout(LIMIT):
            while any(w["draining"] != yes for w in (await status(server))["workers"]):
                await asyncio.sleep(0.02)

    async with launch("--sandbox", **secrets) as server:
        assert (await ctl.ask(server.ctl, {"do": "drain", "for": 600, "by": "ann"}))["state"] == "draining"
        await drained(server, True)
        assert (await ask(server, TOKEN), await ask(server, SMOKE)) == (503, 200)
        async with http.get(f"{server.url}/readyz") as response:
            assert (response.status, (await response.json())["status"]) == (503, "draining")
        async with http.get(f"{server.url}/livez") as response:
            assert response.status == 200
    async with launch("--sandbox", **secrets) as server:
        for deed in ({"do": "undrain", "by": "play:7"}, {"do": "drain", "for": 60, "by": "play:7"}):
            told = await ctl.ask(server.ctl, deed)
            assert (told["state"], told["drained_by"], told["drained_until"] is None) == ("draining", "ann", False)
        assert await asyncio.to_thread(main, ["ctl", "--socket", server.ctl, "status"]) == 0
        assert re.search(r"drained until 20\S+ by ann\n", capsys.readouterr().out)
        assert (await ask(server, TOKEN), await ask(server, SMOKE)) == (503, 200)
        smoke = ["smoke", "--url", f"{server.url}/mcp", "--token-file", str(tmp_path / "token")]
        (tmp_path / "token").write_text(TOKEN)
        assert await asyncio.to_thread(main, smoke) == 1
        assert "503" in capsys.readouterr().err
        (tmp_path / "token").write_text(SMOKE)
        assert await asyncio.to_thread(main, smoke) == 0
        assert "SELECT 1 answered right" in capsys.readouterr().out
        assert await asyncio.to_thread(main, [*smoke, "--queries", "3", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["median_ms"] > 0
        assert await asyncio.to_thread(main, ["ctl", "--socket", server.ctl, "undrain"]) == 0
        assert "running" in capsys.readouterr().out
        await drained(server, False)
        assert await ask(server, TOKEN) == 200


async def test_status_says_in_words_what_became_of_the_workers(
    launch: Launch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with launch() as server:
        os.kill((await status(server))["workers"][0]["pid"], signal.SIGKILL)
        await server.said("worker listens", 2)
        assert (await ctl.ask(server.ctl, {"do": "reload"}))["state"] == "running"
        await server.said("worker retired")
        assert await asyncio.to_thread(main, ["ctl", "--socket", server.ctl, "status"]) == 0
        (line,) = [line for line in capsys.readouterr().out.splitlines() if "worker" in line]
        for words in (": serving for ", ", 0 served", "replaced 1 times", "1 crashes, last: ended by SIGKILL at 20"):
            assert words in line


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({}, "unknown request None"),
        ({"do": "x" * 3000}, "unknown request"),
        ({"do": "drain"}, "how many seconds"),
        ({"do": "drain", "for": "60"}, "how many seconds"),
        ({"do": "drain", "for": True}, "how many seconds"),
        ({"do": "drain", "for": 0}, "1 to 3600"),
        ({"do": "drain", "for": 60, "by": 7}, "must be a name"),
        ({"do": "drain", "for": 60, "by": "a\nb"}, "one line"),
        ({"do": "drain", "for": float("nan")}, "1 to 3600"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_what_the_operator_may_not_ask_changes_nothing(
    request_: dict[str, Any], words: str, one: Running
) -> None:
    with pytest.raises(ServerError, match=words):
        await ctl.ask(one.ctl, request_)
    now = await status(one)
    assert (now["state"], now["drained_until"]) == ("running", None)


async def test_a_drain_nobody_renews_ends_by_itself(launch: Launch) -> None:
    async with launch() as server:
        await ctl.ask(server.ctl, {"do": "drain", "for": 1})
        await server.said("drain lease ran out; serving again")
        assert (await status(server))["state"] == "running"


async def test_sighup_replaces_each_worker_and_loses_nothing(launch: Launch, http: aiohttp.ClientSession) -> None:
    async with launch(workers=2) as server:
        before = {w["pid"] for w in (await status(server))["workers"]}
        done = asyncio.Event()
        answers: list[int] = []

        async def load() -> None:
            while not done.is_set():
                async with http.get(f"{server.url}/livez") as response:
                    answers.append(response.status)

        loading = asyncio.create_task(load())
        server.signal(signal.SIGHUP)
        await server.said("reloaded")
        for pid in before:
            await until_pid_gone(pid)
        done.set()
        await loading
        after = await status(server)
        assert after["state"] == "running"
        assert not before & {w["pid"] for w in after["workers"]}
        assert set(answers) == {200}


async def test_new_connections_reach_every_worker_and_any_of_them_tells_the_sum(launch: Launch) -> None:
    listing = modern("tools/list")
    async with launch(workers=3) as server:
        sent = 0
        async with asyncio.timeout(LIMIT):
            while not all(w["served"] for w in (await status(server))["workers"]):
                async with aiohttp.ClientSession() as fresh, fresh.post(f"{server.url}/mcp", **listing) as response:
                    assert response.status == 200
                sent += 1
            told = ""
            while f'doris_mcp_requests_total{{route="/mcp",status="200"}} {sent}.0' not in told:
                async with aiohttp.ClientSession() as fresh, fresh.get(f"{server.url}/metrics") as response:
                    told = await response.text()
        assert "doris_mcp_ready_workers 0.0" in told  # there is no Doris here


async def test_how_a_server_ended_is_in_its_log_and_in_the_metrics_of_the_next_one(
    launch: Launch, http: aiohttp.ClientSession
) -> None:
    async with launch() as server:
        server.signal(signal.SIGTERM)
        await server.process.wait()
    steps = {line["step"]: line for line in server.lines if line["message"] == "shutdown step"}
    assert " ".join(steps) == "calls streams others connections background sessions doris store logs"
    assert {line["result"] for line in steps.values()} == {"ok"}
    assert all(line["ms"] >= 0 for line in steps.values())
    async with launch() as server, http.get(f"{server.url}/metrics") as response:
        told = await response.text()
    for step in steps:
        assert f'doris_mcp_shutdown_steps_total{{result="ok",step="{step}"}} 1.0' in told
        assert f'doris_mcp_shutdown_step_seconds_count{{step="{step}"}} 1.0' in told
