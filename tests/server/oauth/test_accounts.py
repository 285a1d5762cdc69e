"""Asking Doris whether an account may come in, over the wire: what is told apart, and what is left as it was."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from doris_mcp_server import clusters, sandbox
from doris_mcp_server.clusters import Account
from doris_mcp_server.doris.driver import Name, choose
from doris_mcp_server.doris.routes import Cluster, Routes
from doris_mcp_server.errors import DorisRefusedLogin, DorisUnavailable
from doris_mcp_server.sandbox.endpoint import Sandbox
from doris_mcp_server.sandbox.options import Options

from ...ports import free_port

ANN = Account(user="ann", password="ann's password", database="a database that is not there")


def cluster(*ports: int, driver: Name = "auto") -> Cluster:
    config = clusters.Cluster(
        frontends=tuple(f"127.0.0.1:{port}" for port in ports), accounts={"default": Account(user="root")}
    )
    routes = Routes([config], driver=choose(driver), pool_size=2, max_connections=2, connect_timeout=5.0)
    return routes.cluster(None)


@pytest_asyncio.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Sandbox]:
    file = tmp_path / "accounts.json"
    file.write_text(json.dumps([{"user": ANN.user, "password": ANN.password, "grants": []}]))
    running = await sandbox.start("127.0.0.1", 0, "root", "root", 10, options=Options(accounts=file))
    yield running
    await running.close()


@pytest.mark.parametrize("driver", ["asyncmy", "aiomysql"])
async def test_doris_itself_says_who_comes_in(engine: Sandbox, driver: Name) -> None:
    asked = cluster(engine.port, driver=driver)
    await asked.admit(ANN)
    for wrong in (ANN.model_copy(update={"password": "guess"}), ANN.model_copy(update={"user": "nobody"})):
        with pytest.raises(DorisRefusedLogin):
            await asked.admit(wrong)
    assert asked.ways == {}  # nothing is kept of who only tried


async def test_a_frontend_that_is_away_is_passed_by(engine: Sandbox) -> None:
    await cluster(free_port(), engine.port).admit(ANN)


async def test_who_tries_to_log_in_does_not_close_doris_to_the_others() -> None:
    asked = cluster(free_port())
    for _ in range(5):
        with pytest.raises(DorisUnavailable):
            await asked.admit(ANN)
    assert asked.available
    assert [frontend.failures for frontend in asked.frontends.all] == [0]
