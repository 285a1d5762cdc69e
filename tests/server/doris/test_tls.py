"""TLS to a frontend: what is asked for is what is had, or nothing is sent at all."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest

from doris_mcp_server import sandbox
from doris_mcp_server.clusters import Account, Caller, Cluster
from doris_mcp_server.doris.driver import Login
from doris_mcp_server.doris.frontends import Frontend
from doris_mcp_server.doris.pool import Limits
from doris_mcp_server.doris.routes import Routes
from doris_mcp_server.doris.wire import Wire
from doris_mcp_server.errors import DorisUnavailable
from doris_mcp_server.sandbox.options import Options

LIMIT = 30.0  # seconds: generous, the machine may be busy
LIMITS = Limits(LIMIT, 10_000, 1 << 24)


@pytest.fixture
async def engine(certificate: Any) -> AsyncIterator[Any]:
    """A demo engine that wants TLS, its certificate made out to 127.0.0.1."""
    options = Options(tls_cert=certificate.cert, tls_key=certificate.key, require_tls=True)
    made = await sandbox.start("127.0.0.1", 0, "root", "pw", 2000, options=options)
    yield made
    await made.close()


def routes(driver: Any, address: str, **config: Any) -> Routes:
    account = Account(user="root", password="pw", database="ssb")
    cluster = Cluster(frontends=(address,), accounts={"default": account}, **config)
    return Routes([cluster], driver=driver, pool_size=2, max_connections=10, connect_timeout=LIMIT)


async def ask(made: Routes, sql: str = "SELECT count(*) FROM lineorder") -> Any:
    try:
        return (await made.way(None, Caller("ann")).pool.query(sql, catalog=None, database=None, limits=LIMITS)).rows
    finally:
        await made.close(LIMIT)


@pytest.mark.parametrize(
    ("mode", "host"),
    [("required", "127.0.0.1"), ("verify_ca", "localhost"), ("verify_identity", "127.0.0.1")],
)
async def test_what_is_asked_for_is_had(driver: Any, engine: Any, certificate: Any, mode: str, host: str) -> None:
    ca = "" if mode == "required" else str(certificate.cert)
    made = routes(driver, f"{host}:{engine.port}", tls=mode, ca=ca)
    await made.cluster(None).ping()
    assert await ask(made) == [(2000,)]


async def test_a_large_result_comes_whole(driver: Any, engine: Any) -> None:
    made = routes(driver, f"127.0.0.1:{engine.port}", tls="required")
    rows = await ask(made, "SELECT lo_orderkey, repeat('x', 900) FROM lineorder")
    assert (len(rows), {len(row[1]) for row in rows}) == (2000, {900})


async def test_kills_come_in_too(driver: Any, engine: Any) -> None:
    made = routes(driver, f"127.0.0.1:{engine.port}", tls="required")
    pool = made.way(None, Caller("ann")).pool
    task = asyncio.create_task(pool.query("SELECT sleep(60)", catalog=None, database=None, limits=Limits(60, 1, 1000)))
    running = "SELECT count(*) FROM information_schema.processlist WHERE info = 'SELECT sleep(60)'"
    async with asyncio.timeout(LIMIT):
        while (await pool.query(running, catalog=None, database=None, limits=LIMITS)).rows != [(1,)]:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        while not any(pool.kills.counts.values()):
            await asyncio.sleep(0)
    assert pool.kills.counts == {"sent": 1, "failed": 0}
    await made.close(LIMIT)


@pytest.mark.parametrize(
    ("mode", "host", "known"),
    [
        ("verify_ca", "127.0.0.1", False),
        ("verify_identity", "127.0.0.1", False),
        ("verify_identity", "localhost", True),
    ],
)
async def test_a_certificate_that_does_not_do(
    driver: Any, engine: Any, certificate: Any, mode: str, host: str, known: bool
) -> None:
    """Signed by somebody else, or made out to another name."""
    made = routes(driver, f"{host}:{engine.port}", tls=mode, ca=str(certificate.cert) if known else "")
    with pytest.raises(DorisUnavailable, match="certificate verify failed"):
        await ask(made)


async def test_a_plain_login_where_tls_is_required(driver: Any, engine: Any) -> None:
    with pytest.raises(DorisUnavailable, match="insecure transport"):
        await ask(routes(driver, f"127.0.0.1:{engine.port}"))


async def test_nothing_is_sent_to_a_frontend_without_tls(driver: Any) -> None:
    """Not even who we are: its greeting does not have the flag, and the connection is closed."""
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeting = b"\x0a5.7.99\0\x01\0\0\0" + b"12345678\0" + b"\xff\xf7\x21\x02\x00\xff\x81\x15" + b"\0" * 10
        greeting += b"123456789012\0mysql_native_password\0"
        writer.write(len(greeting).to_bytes(3, "little") + b"\0" + greeting)
        heard.set_result(await reader.read())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    frontend = Frontend("127.0.0.1", server.sockets[0].getsockname()[1])
    login = Login("ann", "secret", "d", ssl.create_default_context())
    with pytest.raises(DorisUnavailable, match="does not offer TLS") as refused:
        await Wire.open(frontend, login, driver)
    assert "DORIS_MCP_DORIS_TLS" in str(refused.value.hint)
    async with asyncio.timeout(LIMIT):
        assert await heard == b""
    server.close()
    await server.wait_closed()
