"""The two stores that settings live in: a file of one host, and a real Redis."""

from collections.abc import Callable
from pathlib import Path

import pytest

from doris_mcp_server.config import Settings
from doris_mcp_server.state import Store, open_store
from doris_mcp_server.state.bus import Bus

from ...redis_server import PASSWORD

KEY = "ab" * 32
Open = Callable[..., Store]


@pytest.fixture(params=["file", "redis"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Those of a host; its state, with the copy, lies in tmp_path."""
    if request.param == "file":
        return Settings(token_key=KEY, state_dir=str(tmp_path))
    url = f"redis://127.0.0.1:{request.getfixturevalue('redis_port')}/0"
    return Settings(token_key=KEY, state_dir=str(tmp_path), redis_url=url, redis_password=PASSWORD)


@pytest.fixture
def open_one(settings: Settings) -> Open:
    """Opens the same store again and again, as the workers of a fleet do."""

    def open_it(bus: Bus | None = None) -> Store:
        return open_store(settings, bus)

    return open_it
