"""The scenario's hosts, and the application's way to the store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import testinfra
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

LAB = Path(__file__).resolve().parents[5] / ".lab" / os.environ["LAB_NAME"]
TLS: dict[str, Any] = {"ssl": True, "ssl_ca_certs": str(LAB / "tls/ca.pem"), "ssl_check_hostname": True}
LIMITS: dict[str, Any] = {"socket_timeout": 1.0, "socket_connect_timeout": 0.5}


@pytest.fixture(scope="session")
def hosts() -> dict[str, Any]:
    config = str(LAB / "ssh_config")
    names = ("redis-1", "redis-2", "redis-3")
    return {name: testinfra.get_host(f"ssh://{name}", ssh_config=config, sudo=True) for name in names}


@pytest.fixture(scope="session")
def app() -> Any:
    """The application's client, over TLS; it asks Sentinel at each connection and tries nothing twice."""
    common = {**TLS, **LIMITS, "retry": Retry(NoBackoff(), 0)}
    sentinels = Sentinel(
        [(f"10.93.104.{n}", 26379) for n in (31, 32, 33)],
        sentinel_kwargs={"password": "molecule-sentinel-password", **common},
        username="app",
        password="molecule-app-password",
        decode_responses=True,
        **common,
    )
    return sentinels.master_for("doris-mcp")
