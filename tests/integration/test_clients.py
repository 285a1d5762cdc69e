"""The clients people use, against one local server on the demo engine: all get the same answer."""

import pytest

from ..clients import clients
from ..conftest import TOKEN, Launch

TOOLS = {"list_catalogs", "list_databases", "list_tables", "get_table_context", "execute_query", "explain_query"}


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    clients.install()


async def test_every_client_lists_the_tools_and_gets_the_same_answer(launch: Launch) -> None:
    async with launch("--sandbox", DORIS_MCP_TOKEN=TOKEN) as server:
        await server.said("doris answers")
        answers = {name: await clients.ask(name, f"{server.url}/mcp", TOKEN) for name in clients.CLIENTS}
    answers["Python SDK over stdio"] = await clients.ask_over_stdio()
    for name, seen in answers.items():
        assert set(seen.tools) == TOOLS, name
        assert [column["name"] for column in seen.columns] == ["d_year", "orders", "revenue"], name
        assert [row[0] for row in seen.rows] == list(range(1992, 1999)), name
        assert seen.rows == answers["Python SDK"].rows, name
        assert seen.columns == answers["Python SDK"].columns, name


async def test_a_client_with_a_wrong_token_is_told_so(launch: Launch) -> None:
    # The Python SDK shows nothing of an answer whose body is not JSON-RPC.
    told = r"401|[Uu]nauthorized|bearer token|Server returned an error response"
    async with launch(DORIS_MCP_TOKEN=TOKEN) as server:
        for name in clients.CLIENTS:
            with pytest.raises(clients.ClientFailed, match=told):
                await clients.ask(name, f"{server.url}/mcp", "wrong-token-0123456789")
