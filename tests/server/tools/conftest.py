"""Tools on the demo engine: the ways to it, and what a handler is given."""

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from doris_mcp_server import sandbox
from doris_mcp_server.clusters import Account, Caller, Cluster
from doris_mcp_server.doris.driver import choose
from doris_mcp_server.doris.pool import Limits
from doris_mcp_server.doris.routes import Routes
from doris_mcp_server.tools import Context, by_name

LIMIT = 30.0  # seconds: generous, the machine may be busy


def routes_to(*clusters: Cluster) -> Routes:
    return Routes(clusters, driver=choose(), pool_size=4, max_connections=100, connect_timeout=LIMIT)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def context() -> AsyncIterator[Context]:
    """The demo engine's `ssb` as the default database, at most 100 rows of a result."""
    engine = await sandbox.start("127.0.0.1", 0, "root", "", 200)
    account = Account(user="root", database="ssb")
    routes = routes_to(Cluster(frontends=(f"127.0.0.1:{engine.port}",), accounts={"default": account}))
    yield Context(routes, Limits(LIMIT, 100, 1 << 20), Caller("tester"))
    await routes.close(LIMIT)
    await engine.close()


async def call(context: Any, name: str, **arguments: Any) -> Any:
    """The tool's answer, checked against its own output model."""
    tool = by_name[name]
    answer = await tool.handler(context, tool.input.model_validate(arguments))
    tool.output.model_validate(answer)
    return answer
