"""The demo engine as a process of its own: how it says it is ready, how it ends, what it says when it cannot start."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import aiomysql
import pymysql
import pytest

from ...certificate import Certificate
from .conftest import close_secured

LIMIT = 60


@contextlib.asynccontextmanager
async def launch(*options: str, **environment: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """A process, and the port it reported on its ready descriptor (0 when it ended without one)."""
    async with reporting(*options, **environment) as (process, ports):
        yield process, ports["port"]


@contextlib.asynccontextmanager
async def reporting(*options: str, **environment: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, Any]]:
    """A process, and all that it reported."""
    ready, told = os.pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "doris_mcp_server.sandbox", "--port", "0", "--rows", "200", "--ready-fd", str(told),
        *options, stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, pass_fds=(told,),
        env={**os.environ, **environment},
    )  # fmt: skip
    os.close(told)
    try:
        with os.fdopen(ready) as answers:
            line = await asyncio.wait_for(asyncio.to_thread(answers.readline), LIMIT)
        yield process, json.loads(line) if line else {"port": 0}
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_it_reports_its_port_serves_and_ends_with_its_parent(tmp_path: Path):
    password = tmp_path / "password"
    password.write_text("from-file\n")
    async with launch("--exit-with-parent", "--password-file", str(password)) as (process, port):
        connection = await aiomysql.connect(host="127.0.0.1", port=port, user="root", password="from-file", db="ssb")
        async with connection.cursor() as cursor:
            await cursor.execute("SELECT count(*) FROM lineorder")
            assert await cursor.fetchall() == ((200,),)
            process.stdin.close()
            assert await asyncio.wait_for(process.wait(), LIMIT) == 0
        connection.close()
        log = (await process.stderr.read()).decode()
        assert "not Apache Doris" in log and "Traceback" not in log and "from-file" not in log


async def test_sigterm_ends_it_cleanly_and_systemd_is_told(tmp_path: Path):
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(LIMIT)
        async with launch(NOTIFY_SOCKET=address) as (process, port):
            assert port
            assert b"READY=1" in await asyncio.to_thread(systemd.recv, 4096)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), LIMIT) == 0


async def test_without_exit_with_parent_stdin_does_not_matter():
    async with launch() as (process, port):
        process.stdin.close()
        connection = await aiomysql.connect(host="127.0.0.1", port=port, user="root", password="")
        await connection.ping()
        await connection.ensure_closed()
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), LIMIT) == 0


async def test_the_http_side_is_there_when_asked_for():
    async with reporting() as (_, ports):
        assert ports["http_port"] is None
    async with (
        reporting("--http-port", "0") as (_, ports),
        aiohttp.request("GET", f"http://127.0.0.1:{ports['http_port']}/api/bootstrap") as answer,
    ):
        assert (await answer.json())["code"] == 0


async def test_a_taken_http_port_ends_it():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with launch("--http-port", str(taken.getsockname()[1])) as (process, port):
            assert port == 0
            assert await asyncio.wait_for(process.wait(), LIMIT) == 1
            assert "Traceback" not in (await process.stderr.read()).decode()


async def test_a_taken_port_is_one_line_with_the_fix():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with launch("--port", str(taken.getsockname()[1])) as (process, port):
            assert port == 0
            assert await asyncio.wait_for(process.wait(), LIMIT) == 1
            said = (await process.stderr.read()).decode().splitlines()
    assert len(said) == 1 and "cannot listen on 127.0.0.1" in said[0] and "--port" in said[0]


async def test_version_accounts_and_tls_come_from_the_command_line(tmp_path: Path, certificate: Certificate):
    accounts = tmp_path / "accounts.json"
    accounts.write_text('[{"user": "ann", "password": "s3cret", "grants": ["internal.ops.*"]}]')
    tls = ("--tls-cert", str(certificate.cert), "--tls-key", str(certificate.key), "--require-tls")
    async with launch("--doris-version", "2.1", "--accounts", str(accounts), *tls) as (_, port):
        ann = {"host": "127.0.0.1", "port": port, "user": "ann", "password": "s3cret"}
        with pytest.raises(pymysql.err.MySQLError, match="require_secure_transport"):
            await aiomysql.connect(**ann)
        connection = await aiomysql.connect(**ann, ssl=certificate.client())
        async with connection.cursor() as cursor:
            await cursor.execute("SELECT @@version_comment")
            assert "doris-2.1." in (await cursor.fetchone())[0]
            await cursor.execute("SHOW DATABASES")
            assert ("ops",) in (rows := await cursor.fetchall()) and ("ssb",) not in rows
        await close_secured(connection)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--accounts", "{folder}/missing.json"), "missing.json: No such file"),
        (("--accounts", "{folder}/bad.json"), "bad.json, entry 1: grants is missing"),
        (("--tls-cert", "{folder}/bad.json"), "--tls-cert and --tls-key go together"),
        (("--tls-cert", "{folder}/bad.json", "--tls-key", "{folder}/bad.json"), "--tls-key"),
        (("--password-file", "{folder}/missing"), "missing: No such file"),
        (("--doris-version", "1.2"), "invalid choice"),
    ],
)
async def test_a_bad_option_is_two_lines_without_a_traceback_or_a_password(tmp_path: Path, options, words):
    (tmp_path / "bad.json").write_text('[{"user": "ann", "password": "s3cret"}]')
    async with launch(*(option.format(folder=tmp_path) for option in options)) as (process, port):
        assert port == 0
        assert await asyncio.wait_for(process.wait(), LIMIT) == 2
        said = (await process.stderr.read()).decode()
    assert words in said and "Traceback" not in said and "s3cret" not in said


async def test_an_open_address_needs_a_password():
    async with launch("--host", "0.0.0.0") as (process, port):
        assert port == 0
        assert await asyncio.wait_for(process.wait(), LIMIT) == 2
        assert "--password-file" in (await process.stderr.read()).decode()


async def test_without_the_extra_the_fix_is_named(tmp_path: Path):
    (tmp_path / "duckdb.py").write_text("raise ImportError('gone', name='duckdb')\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    async with launch(PYTHONPATH=path) as (process, port):
        assert port == 0
        assert await asyncio.wait_for(process.wait(), LIMIT) == 2
        assert "pip install 'doris-mcp-server[sandbox]'" in (await process.stderr.read()).decode()
