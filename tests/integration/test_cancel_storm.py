"""Ten thousand calls given up at random moments: no answer reaches a wrong request, and nothing is left over."""

import asyncio
import contextlib
import os
import re
import secrets
import signal
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from doris_mcp_server.doris.driver import Name

from ..bench.databases import mariadb
from ..conftest import LIMIT, TOKEN, Launch, Running
from .house import House, look_into, until
from .storm import ENDLESS, MOST, TOO_LARGE, Call, Line, Storm
from .wire import Connection, canary

STORMS = [("sandbox", "auto", 10_000), ("mariadb", "asyncmy", 2_000), ("mariadb", "aiomysql", 500)]
"""Database, driver, and how many calls are given up."""
CLIENTS = 64
WORKERS = 2
SLOTS = 4  # of each worker's pool: so few that one which is lost shows
SECONDS = 6  # longer than a statement waits for a slot: where one is missing, one of them is refused
SETTINGS = {
    "DORIS_MCP_TOKEN": TOKEN,
    "CONNECTION_POOL_SIZE": str(SLOTS),
    "DORIS_MCP_QUERY_TIMEOUT": "300",
    "DORIS_MCP_MAX_RESULT_BYTES": str(MOST),
    "DORIS_MCP_CONNECT_TIMEOUT": "30",
}


class StormHouse(House):
    """One in which every slot of every worker can be asked for."""

    async def every_slot(self) -> None:
        """Run as many statements at once as the pools of all workers have slots, and have each answered."""
        calls: list[tuple[Connection, Call]] = []
        async with contextlib.AsyncExitStack() as stack:
            for pid, connections in (await self._connections(stack)).items():
                for number, connection in enumerate(connections):
                    nonce = f"slot-{pid}-{number}-{secrets.token_hex(4)}"
                    sql = f"SELECT '{nonce}' AS nonce, sleep({SECONDS}) AS slept"
                    session = "" if number % 2 else None  # both eras, and both ways
                    call = Call(nonce, nonce, sql, SECONDS, session, odd=number < 2, progress=False)
                    calls.append((connection, call))
            for connection, call in calls:
                connection.send(b"".join(call.request()))
            nonces = [call.nonce for _, call in calls]
            await until(self.statements, lambda shown: all(any(nonce in sql for sql in shown) for nonce in nonces))
            assert [call.verdict(await connection.answer()) for connection, call in calls] == ["ok"] * len(calls)

    async def _connections(self, stack: contextlib.AsyncExitStack) -> dict[int, list[Connection]]:
        """To each worker as many connections as its pool has slots. A new one may reach any worker."""
        found: dict[int, list[Connection]] = defaultdict(list)
        wanted = await self.workers()
        while any(len(found[pid]) < SLOTS for pid in wanted):
            line = Line(self.port)
            stack.push_async_callback(line.drop)
            connection = await line.open()
            data, name = canary()
            connection.send(data)
            answer = await connection.answer()
            assert answer is not None and answer.is_for(name)
            pid = _owner(self.port, line.port, list(wanted))
            if len(found[pid]) < SLOTS:
                found[pid].append(connection)
        return found


def _owner(port: int, from_port: int, pids: list[int]) -> int:
    """The process that serves the connection from this local port."""
    ours, theirs = f"0100007F:{port:04X}", f"0100007F:{from_port:04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines())
    link = next(f"socket:[{row[9]}]" for row in rows if row[1:3] == [ours, theirs])
    for pid in pids:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(entry.readlink()) == link:
                    return pid
    raise AssertionError(f"no worker has {link}")


@contextlib.asynccontextmanager
async def house(launch: Launch, database: str, folder: Path, driver: Name = "auto") -> AsyncIterator[StormHouse]:
    async with contextlib.AsyncExitStack() as stack:
        args: list[str] = []
        where = {"DORIS_MCP_DRIVER": driver}
        if database == "sandbox":
            args.append("--sandbox")
        else:
            where |= stack.enter_context(mariadb(folder))
        server = await stack.enter_async_context(launch(*args, workers=WORKERS, **SETTINGS, **where))
        await server.said("doris answers", WORKERS)
        port = int(where.get("DORIS_PORT", 0)) or _sandbox_port(server)
        wire = await look_into(port)
        stack.callback(wire.abort)
        yield StormHouse(server, wire, port)


def _sandbox_port(server: Running) -> int:
    found = (re.search(r"listening on 127.0.0.1:(\d+), users", str(line["message"])) for line in server.lines)
    return int(next(match[1] for match in found if match))


@pytest.mark.parametrize(("database", "driver", "calls"), STORMS)
async def test_a_storm_of_cancelled_calls_leaves_nothing_behind(
    database: str, driver: Name, calls: int, launch: Launch, tmp_path: Path
) -> None:
    seed = int(os.environ.get("STORM_SEED") or secrets.randbits(32))
    print(f"again with STORM_SEED={seed}")
    async with house(launch, database, tmp_path, driver) as it:
        await it.every_slot()  # loads what is loaded on first need, and fills the pools
        before = await until(it.left, bool)

        storm = Storm(it.port, seed, ENDLESS[database], SLOTS + 1)
        async with asyncio.timeout(5 * LIMIT):
            await storm.blow(calls // 2, CLIENTS)  # most are given up while they wait for a connection
            await storm.blow(calls, CLIENTS // 3)  # and most of these while their statement runs
        for what, count in sorted(storm.seen.items()):
            print(f"{count:6} {what}")
        assert not storm.wrong
        assert storm.given_up >= calls

        assert await until(it.statements, lambda running: not running) == []
        await it.every_slot()
        after = await until(
            it.left,
            lambda left: (
                left.keys() == before.keys()
                and all(
                    left[pid].tasks <= before[pid].tasks and left[pid].descriptors <= before[pid].descriptors
                    for pid in left
                )
            ),
        )
        cancelled = await it.figure("doris_mcp_tool_calls_total", outcome="cancelled")
        made = await it.connections_made()
        print(f"before {before}\nafter  {after}\ncancelled at work: {cancelled}; connections to the database: {made}")
        # It was a storm: many calls were stopped at their work, and a statement that is stopped costs its connection.
        assert cancelled > calls / 10
        assert made > calls / 20
        assert storm.seen["word: cancelled"] > calls / 100

        it.running.signal(signal.SIGTERM)
        assert await it.running.process.wait() == 0
    assert not it.complaints(), "\n\n".join(it.complaints()[:4])


async def test_a_call_ends_with_its_connection_also_when_another_request_waits_behind_it(
    launch: Launch, tmp_path: Path
) -> None:
    async with house(launch, "sandbox", tmp_path) as it:
        line = Line(it.port)
        connection = await line.open()
        long = Call("long", "long", f"SELECT 'long' AS nonce, {ENDLESS['sandbox']}", 120, None, False, False)
        connection.send(b"".join(long.request()) + canary()[0])
        await until(it.statements, bool)
        await line.drop()
        await until(it.statements, lambda running: not running)
        await it.running.said("tool call", outcome="cancelled")
    assert not it.complaints()


async def test_who_does_not_read_an_answer_still_gets_the_next_one(launch: Launch, tmp_path: Path) -> None:
    """The second call is answered as a stream, and has its first sign of life while the first answer is in the way."""
    async with house(launch, "sandbox", tmp_path) as it:
        line = Line(it.port, narrow=True)
        connection = await line.open()
        large = Call(
            "large", "large", f"SELECT 'large' AS nonce, {TOO_LARGE.format(nonce='x' * 20)}", 0, None, False, False
        )
        slow = Call("slow", "slow", "SELECT 'slow' AS nonce, sleep(2) AS slept", 2, None, False, progress=True)
        connection.send(b"".join(large.request() + slow.request()))
        await it.running.said("tool call", 2)
        assert [each.verdict(await connection.answer()) for each in (large, slow)] == ["ok", "ok"]
        await line.drop()
    assert not it.complaints()
