"""Bad HTTP, JSON and MCP, byte for byte, straight to the workers and through the balancer.

Each row sends its bytes and, in the same breath, an ordinary request behind them. Either the row is answered and the
ordinary request after it, or the row is refused and the connection closed; never anything else, never a 5xx, and
never a request at a worker that nobody sent.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from doris_mcp_server import ctl

from ..balancer import balancing
from ..conftest import LIMIT, TOKEN, Running, serving
from .edge_rows import LIST, TOOLS_LIST, Row, Want, every
from .wire import LEGACY, Connection, Relay, canary, connected, head, modern, post, relaying, rpc

# One server for all of them: none of these requests may harm it.
pytestmark = pytest.mark.asyncio(loop_scope="module")

WORKERS = 2
OTHER_TOKEN = "another-caller-0123456789"
WAYS = ("direct", "balanced")


@dataclass(frozen=True)
class House:
    """The server under test and the two ways to it."""

    server: Running
    direct: int
    balanced: int
    relay: Relay

    def port(self, way: str) -> int:
        return self.direct if way == "direct" else self.balanced

    async def pids(self) -> list[int]:
        status = await ctl.ask(self.server.ctl, {"do": "status"})
        return [worker["pid"] for worker in status["workers"]]

    def calls(self, tool: str) -> int:
        """How many calls of a tool the server has logged so far."""
        return sum(line["message"] == "tool call" and line["tool"] == tool for line in self.server.lines)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    runtime, edge = tmp_path_factory.mktemp("runtime"), tmp_path_factory.mktemp("edge")
    settings = {"DORIS_MCP_TOKEN": TOKEN, "DORIS_MCP_SMOKE_TOKEN": OTHER_TOKEN}
    async with serving(runtime, "--sandbox", workers=WORKERS, **settings) as server:
        await server.said("doris answers", WORKERS)
        direct = int(server.url.rpartition(":")[2])
        async with relaying(direct) as relay, balancing(edge, [relay.port]) as balanced:
            yield House(server, direct, balanced, relay)


def rows(way: str) -> list[Any]:
    return [pytest.param(row, way, id=f"{row.name} {way}") for row in every()]


async def refused_or_answered(connection: Connection, row: Row, want: Want) -> int:
    """Send a row and a canary behind it; how many of the two were taken for requests."""
    ordinary, name = canary()
    connection.send(row.send + ordinary)
    answer = await connection.answer()
    assert answer is not None, "closed without a word"
    assert answer.status in want.statuses, answer
    if want.codes:
        assert answer.message()["error"]["code"] in want.codes, answer
    assert b"Traceback" not in answer.body and b"root:" not in answer.body
    second = await connection.answer()
    if want.closed:
        assert second is None, f"what stood behind a refused request was answered: {second}"
        return int(want.reaches)
    assert second is not None and second.is_for(name), second
    return 1 + int(want.reaches)


@pytest.mark.parametrize(("row", "way"), [*rows("direct"), *rows("balanced")])
async def test_it_gets_its_answer_and_nobody_else_is_harmed(row: Row, way: str, house: House) -> None:
    before, seen = await house.pids(), house.relay.requests
    async with connected(house.port(way)) as connection:
        taken = await refused_or_answered(connection, row, getattr(row, way))
    async with connected(house.port(way)) as connection:
        ordinary, name = canary()
        connection.send(ordinary)
        answer = await connection.answer()
        assert answer is not None and answer.is_for(name), answer
    if way == "balanced":
        assert house.relay.requests - seen == taken + 1
    assert await house.pids() == before
    assert not [line for line in house.server.lines if line["message"] == "worker ended"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_hundred_requests_in_one_breath_are_answered_in_order(way: str, house: House) -> None:
    """H09"""
    requests = [canary() for _ in range(100)]
    async with connected(house.port(way)) as connection:
        connection.send(b"".join(data for data, _ in requests))
        for _, name in requests:
            answer = await connection.answer()
            assert answer is not None and answer.is_for(name), (name, answer)


async def test_a_balancers_connection_ends_after_as_many_requests_as_it_may_carry(house: House, tmp_path: Path) -> None:
    requests = [canary() for _ in range(100)]
    async with (
        balancing(tmp_path, [house.direct], nginx_keepalive_requests=40) as port,
        connected(port) as connection,
    ):
        connection.send(b"".join(data for data, _ in requests))
        for _, name in requests[:40]:
            answer = await connection.answer()
            assert answer is not None and answer.is_for(name), (name, answer)
        assert answer.headers["connection"] == "close"
        assert await connection.answer() is None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_call_without_an_id_is_not_carried_out(era: str, way: str, house: House) -> None:
    text = '"name":"list_catalogs","arguments":{}'
    headers = modern("tools/call", "list_catalogs") if era == "modern" else LEGACY
    nobody_waits = post(rpc("tools/call", text, id=None, era=era), headers)
    text = '"name":"explain_query","arguments":{"sql":"SELECT 1"}'
    after = post(rpc("tools/call", text), modern("tools/call", "explain_query"))
    explained, listed = house.calls("explain_query"), house.calls("list_catalogs")
    async with connected(house.port(way)) as connection:
        connection.send(nobody_waits)
        refused = await connection.answer()
        assert refused is not None and refused.status in (202, 400)
        connection.send(after)
        done = await connection.answer()
        assert done is not None and "result" in done.message()
    await logged(house, "explain_query", explained + 1)
    assert house.calls("list_catalogs") == listed


async def logged(house: House, tool: str, times: int) -> None:
    async with asyncio.timeout(LIMIT):
        while house.calls(tool) < times:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("way", WAYS)
async def test_nobody_gets_events_of_somebody_elses_stream(way: str, house: House) -> None:
    """H27: another caller, with the session of the first one and the id of an event of its stream."""
    hello = '"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"wire","version":"1"}'
    async with connected(house.port(way)) as connection:
        connection.send(post(rpc("initialize", hello, era="legacy"), LEGACY))
        begun = await connection.answer()
    assert begun is not None and begun.status == 200
    session = begun.headers.get("mcp-session-id", "nobody-was-given-one")
    lines = (f"Mcp-Session-Id: {session}", "Last-Event-ID: 1")
    stranger = {"Authorization": f"Bearer {OTHER_TOKEN}", "Accept": "text/event-stream"}
    async with connected(house.port(way)) as connection:
        connection.send(head(LEGACY, *lines, method="GET", but=stranger))
        answer = await connection.begun()
        assert answer is not None and answer.status in (400, 404, 405), answer


@pytest.mark.parametrize("way", WAYS)
async def test_nobody_can_cancel_somebody_elses_call(way: str, house: House) -> None:
    """H31: the id of a running request is no secret and no proof."""
    text = '"name":"execute_query","arguments":{"sql":"SELECT sleep(1)"},"_meta":{"progressToken":"again"}'
    cancel = rpc("notifications/cancelled", '"requestId":"the-call"', id=None, era="legacy")
    cancelled = house.calls("execute_query")
    async with connected(house.port(way)) as caller, connected(house.port(way)) as stranger:
        caller.send(post(rpc("tools/call", text, id='"the-call"', era="legacy"), LEGACY))
        for _ in range(20):
            stranger.send(post(cancel, LEGACY, authorization=f"Bearer {OTHER_TOKEN}"))
            ignored = await stranger.answer()
            assert ignored is not None and ignored.status in (202, 400, 404), ignored
        answer = await caller.answer()
    assert answer is not None and answer.message()["id"] == "the-call"
    assert answer.message()["result"]["structuredContent"]["row_count"] == 1
    await logged(house, "execute_query", cancelled + 1)


NO_TOKEN = {
    "no token": {"authorization": None},
    "empty bearer": {"authorization": "Bearer "},
    "only the scheme": {"authorization": "Bearer"},
    "Basic": {"authorization": f"Basic {TOKEN}"},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", [*NO_TOKEN, "two headers", "query", "wrong token"])
async def test_without_a_good_token_the_answer_says_where_to_get_one(what: str, way: str, house: House) -> None:
    """H35"""
    match what:
        case "two headers":
            request = post(LIST, TOOLS_LIST, f"Authorization: Bearer {TOKEN}")
        case "query":
            request = post(LIST, TOOLS_LIST, target=f"/mcp?access_token={TOKEN}", authorization=None)
        case "wrong token":
            request = post(LIST, TOOLS_LIST, authorization="Bearer wrong-token-0123456789")
        case _:
            request = post(LIST, TOOLS_LIST, **NO_TOKEN[what])
    ordinary, name = canary()
    async with connected(house.port(way)) as connection:
        connection.send(request + ordinary)
        answer, second = await connection.answer(), await connection.answer()
        if (what, way) == ("two headers", "balanced"):
            # nginx takes that for a broken request.
            assert answer is not None and answer.status == 400 and second is None, answer
            return
        assert answer is not None and answer.status == 401, answer
        assert second is not None and second.is_for(name), second
        challenge = answer.headers["www-authenticate"]
        assert challenge.startswith("Bearer ")
        assert ("invalid_token" in challenge) is (what == "wrong token")
        assert 'scope="catalog:read cluster:read query:execute"' in challenge
        where = challenge.partition('resource_metadata="http://127.0.0.1')[2].partition('"')[0]
        assert answer.message()["error"]["message"]
        connection.send(head({}, method="GET", target=where, but={"Authorization": None}))
        metadata = await connection.answer()
    assert metadata is not None and metadata.status == 200
    assert json.loads(metadata.body)["resource"] == "http://127.0.0.1/mcp"
