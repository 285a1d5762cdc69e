"""The clients people use, against one local server of two workers on the demo engine: all get the same answer."""

import asyncio
from typing import Any

import pytest

from doris_mcp_server.tools import by_name

from ..clients import clients
from ..conftest import TOKEN, Launch, Running

TOOLS = set(by_name)
WORKERS = 2  # what a client does next may reach a worker that has never heard of it


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    clients.install()


def errors(server: Running) -> list[dict[str, Any]]:
    """What the server complained of: errors in its log, and lines that are no log (a traceback, a warning)."""
    return [line for line in server.lines if line.get("plain") or line["level"] in ("ERROR", "CRITICAL")]


async def test_every_client_lists_the_tools_and_gets_the_same_answer(launch: Launch) -> None:
    async with launch("--sandbox", workers=WORKERS, DORIS_MCP_TOKEN=TOKEN) as server:
        await server.said("doris answers", WORKERS)
        async with asyncio.TaskGroup() as all_at_once:
            asked = {
                name: all_at_once.create_task(clients.ask(name, f"{server.url}/mcp", TOKEN)) for name in clients.CLIENTS
            }
    assert not errors(server)
    answers = {name: task.result() for name, task in asked.items()}
    answers["Python SDK over stdio"] = await clients.ask_over_stdio()
    for name, seen in answers.items():
        assert set(seen.tools) == TOOLS, name
        assert [column["name"] for column in seen.columns] == ["d_year", "orders", "revenue"], name
        assert [row[0] for row in seen.rows] == list(range(1992, 1999)), name
        assert seen.rows == answers["Python SDK"].rows, name
        assert seen.columns == answers["Python SDK"].columns, name


async def test_a_client_with_a_wrong_token_is_told_so(launch: Launch) -> None:
    # Version 2 of the Python SDK, and fastmcp with it, shows nothing of an answer whose body is not JSON-RPC.
    told = r"401|[Uu]nauthorized|bearer token|Server returned an error response"

    async def ask(name: str, url: str) -> None:
        with pytest.raises(clients.ClientFailed, match=told):
            await clients.ask(name, url, "wrong-token-0123456789")

    async with launch(workers=WORKERS, DORIS_MCP_TOKEN=TOKEN) as server, asyncio.TaskGroup() as all_at_once:
        for name in clients.CLIENTS:
            all_at_once.create_task(ask(name, f"{server.url}/mcp"))
    assert not errors(server)
