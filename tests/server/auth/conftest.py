"""A store of one host whose clock the test moves."""

import pytest

from doris_mcp_server.state import local

from ...clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(local, "wall", clock)
    return clock
