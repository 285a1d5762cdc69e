"""The demo engine's HTTP side: a frontend's pages, in its envelopes, for who may log in."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from doris_mcp_server.sandbox.endpoint import Sandbox

from .conftest import PASSWORD, Ask, Connect, query

LIMIT = 60
QUERY = "/rest/v2/manager/query"


class Pages:
    """GET for the tests: a page as status and text, or what its envelope carries."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def get(self, target: str) -> tuple[int, str]:
        async with self.session.get(target) as answer:
            return answer.status, await answer.text()

    async def data(self, target: str, code: int = 0) -> Any:
        async with self.session.get(target) as answer:
            envelope = await answer.json()
            assert (answer.status, envelope["code"]) == (200, code), envelope
            assert set(envelope) == {"msg", "code", "data", "count"}
            return envelope["data"]


@contextlib.asynccontextmanager
async def as_user(engine: Sandbox, user: str, password: str) -> AsyncIterator[Pages]:
    async with aiohttp.ClientSession(
        f"http://127.0.0.1:{engine.http_port}",
        headers={"authorization": aiohttp.encode_basic_auth(user, password)},
        timeout=aiohttp.ClientTimeout(total=LIMIT),
    ) as session:
        yield Pages(session)


@pytest.fixture
async def pages(engine: Sandbox) -> AsyncIterator[Pages]:
    async with as_user(engine, "root", PASSWORD) as made:
        yield made


@pytest.fixture
async def running(connect: Connect, pages: Pages) -> AsyncIterator[str]:
    """The id of a query under way."""
    async with connect() as connection:
        task = asyncio.create_task(query(connection, "SELECT sleep(30) AS `a b`"))
        async with asyncio.timeout(LIMIT):
            while (row := (await pages.data(f"{QUERY}/query_info"))["rows"][0])[6] != "RUNNING":
                await asyncio.sleep(0.01)
        yield row[0]
        async with connect() as other:
            await query(other, f"KILL QUERY '{row[0]}'")
        await asyncio.gather(task, return_exceptions=True)


async def test_queries_under_way(pages: Pages, running: str, engine: Sandbox) -> None:
    found = await pages.data(f"{QUERY}/query_info")
    assert len(found["column_names"]) == 10
    row = found["rows"][0]  # newest first, and before them what still runs
    id, node, kind, _, end, took, state, user, catalog, database, statement, *plans = row
    assert (id, node, kind) == (running, f"127.0.0.1:{engine.http_port}", "QUERY")
    assert (end, took, state, user) == ("N/A", "N/A", "RUNNING", "root")
    assert (catalog, database, statement, plans) == ("internal", "ssb", "SELECT sleep(30) AS `a b`", ["N/A", "N/A"])
    assert (await pages.data(f"{QUERY}/query_info?query_id={running}"))["rows"] == [row]
    assert (await pages.data(f"{QUERY}/query_info?query_id=1-2"))["rows"] == []


async def test_profiles(pages: Pages, running: str) -> None:
    text = (await pages.data(f"{QUERY}/profile/text/{running}"))["profile"]
    assert f"Profile ID: {running}" in text and "Sql Statement: SELECT sleep(30) AS `a b`" in text
    assert await pages.get(f"/api/profile/text?query_id={running}") == (200, text)
    marked = await pages.data(f"/rest/v1/query_profile/{running}")
    assert " " not in marked and "\n" not in marked
    assert marked.replace("</br>", "\n").replace("&nbsp;&nbsp;", " ") == text


async def test_profiles_that_are_not_there(pages: Pages) -> None:
    assert await pages.data(f"{QUERY}/profile/text/1-2") == {}
    assert await pages.data("/rest/v1/query_profile/1-2", code=1) == "ID 1-2 does not exist"
    assert await pages.get("/api/profile/text?query_id=1-2") == (200, "query id 1-2 not found")


async def test_health_and_metrics(pages: Pages, ask: Ask) -> None:
    await ask("SELECT 1")
    assert await pages.data("/api/health") == {"online_backend_num": 1, "total_backend_num": 1}
    assert (await pages.data("/api/bootstrap"))["queryPort"] == 0
    status, text = await pages.get("/metrics")
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines())
    assert status == 200 and int(samples["doris_fe_connection_total"]) >= 1
    assert samples['node_info{type="be_node_num", state="alive"}'] == "1"


@pytest.mark.parametrize(("user", "password"), [("root", "wrong"), ("other", PASSWORD), ("root", "")])
async def test_only_the_account_may_see_queries(engine: Sandbox, user: str, password: str) -> None:
    async with as_user(engine, user, password) as pages:
        for target in (f"{QUERY}/query_info", f"{QUERY}/profile/text/1-2", "/rest/v1/query_profile/1-2"):
            assert await pages.data(target, code=401) == "Access denied"
        assert (await pages.get("/api/health"))[0] == 200


async def send(engine: Sandbox, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", engine.http_port)
    try:
        writer.write(request)
        writer.write_eof()
        async with asyncio.timeout(LIMIT):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /rest/v2/manager/query/query_info HTTP/1.1\r\nauthorization: Basic !\r\n\r\n", b"200"),
        (b"GET /nowhere HTTP/1.1\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"GET http://[x HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /metrics\r\n\r\n", b"400"),
        (b"\x16\x03\x01\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\n", b""),
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n", b""),
    ],
)
async def test_requests_that_are_none(engine: Sandbox, request_: bytes, status: bytes) -> None:
    answered = await send(engine, request_)
    assert answered.split(b" ")[1:2] == ([status] if status else [])
    if status == b"200":
        assert b'"code": 401' in answered


async def test_show_frontends_names_the_port(engine: Sandbox, ask: Ask) -> None:
    names, (row,) = await ask("SHOW FRONTENDS")
    assert row[names.index("HttpPort")] == str(engine.http_port)
