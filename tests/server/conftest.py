"""Requests in both protocol eras, as the tests of the server send them."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from doris_mcp_server import ctl
from doris_mcp_server.config import Settings
from doris_mcp_server.state import Store, open_store

from ..conftest import LIMIT, TOKEN, Launch, Running, serving
from ..ports import free_port
from ..redis_server import PASSWORD, answers, daemon

__all__ = ["LIMIT", "META", "MODERN", "TOKEN", "Launch", "Running", "legacy", "modern", "serving", "status"]

MODERN = "2026-07-28"
META = "io.modelcontextprotocol/"


@pytest_asyncio.fixture
async def redis_port(tmp_path: Path) -> AsyncIterator[int]:
    """Port of a Redis of this test's own, on loopback, with PASSWORD."""
    chosen = free_port()
    with daemon(tmp_path, "redis", f"port {chosen}\nrequirepass {PASSWORD}"):
        await answers(chosen)
        yield chosen


@pytest_asyncio.fixture(params=["local", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """A store of each kind, of this test's own."""
    with contextlib.ExitStack() as stack:
        settings = Settings(state_dir=str(tmp_path))
        if request.param == "redis":
            port = free_port()
            stack.enter_context(daemon(tmp_path, "redis", f"port {port}\nrequirepass {PASSWORD}"))
            await answers(port)
            settings = Settings(redis_url=f"redis://127.0.0.1:{port}/0", redis_password=PASSWORD)
        opened = open_store(settings)
        yield opened
        await opened.close()


@pytest_asyncio.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIMIT)) as session:
        yield session


async def status(server: Running) -> dict[str, Any]:
    """What the supervisor says of itself and its workers."""
    return await ctl.ask(server.ctl, {"do": "status"})


def modern(method: str, params: dict[str, Any] | None = None, *, id: int = 1) -> dict[str, Any]:
    """Keyword arguments of a POST in the 2026-07-28 era."""
    params = dict(params or {})
    params["_meta"] = {
        META + "protocolVersion": MODERN,
        META + "clientInfo": {"name": "test", "version": "1"},
        META + "clientCapabilities": {},
    }
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": MODERN,
        "mcp-method": method,
    }
    if "name" in params:
        headers["mcp-name"] = str(params["name"])
        for argument in ("cluster", "catalog", "database"):
            if isinstance(value := params.get("arguments", {}).get(argument), str):
                headers[f"mcp-param-{argument}"] = value
    return {"json": {"jsonrpc": "2.0", "id": id, "method": method, "params": params}, "headers": headers}


def legacy(method: str, params: dict[str, Any] | None = None, *, id: int = 1) -> dict[str, Any]:
    """Keyword arguments of a POST in the handshake era (2025-11-25)."""
    headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}
    return {"json": {"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}}, "headers": headers}
