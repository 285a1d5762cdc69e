"""The operator's socket: who may open it, and what it answers to what is no request."""

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from doris_mcp_server import ctl
from doris_mcp_server.cli import main
from doris_mcp_server.errors import InvalidArgument, ServerError

from .conftest import LIMIT


async def mirror(request: dict[str, Any]) -> dict[str, Any]:
    if request.get("do") == "refuse":
        raise InvalidArgument("not that", hint="this")
    if request.get("do") == "crash":
        raise ZeroDivisionError
    return {"asked": request}


@pytest_asyncio.fixture
async def path(tmp_path: Path) -> AsyncIterator[str]:
    found = str(tmp_path / "ctl.sock")
    server = await ctl.listen(found, mirror)
    yield found
    server.close()
    await server.wait_closed()


async def said(path: str, data: bytes, *, half: bool = False) -> dict[str, Any]:
    """What comes back for these bytes; `half`: they are all there will ever be."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(data)
    if half:
        writer.write_eof()
    async with asyncio.timeout(LIMIT):
        answer: dict[str, Any] = json.loads(await reader.readline())
    writer.close()
    await writer.wait_closed()
    return answer


def test_only_root_and_the_service_may_open_it(tmp_path: Path) -> None:
    async def mode() -> int:
        server = await ctl.listen(str(tmp_path / "ctl.sock"), mirror)
        try:
            return stat.S_IMODE((tmp_path / "ctl.sock").stat().st_mode)
        finally:
            server.close()

    assert asyncio.run(mode()) == 0o660


async def test_a_stale_file_of_a_killed_server_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "ctl.sock").touch()
    server = await ctl.listen(str(tmp_path / "ctl.sock"), mirror)
    assert await ctl.ask(str(tmp_path / "ctl.sock"), {"do": "x"}) == {"asked": {"do": "x"}}
    server.close()


@pytest.mark.parametrize(
    ("environ", "name"),
    [({"SUDO_USER": "ann", "USER": "root"}, "ann"), ({"USER": "bob"}, "bob"), ({}, f"uid-{os.getuid()}")],
)
def test_who_is_at_the_keyboard_is_found_behind_sudo_too(environ: dict[str, str], name: str) -> None:
    assert ctl.person(environ) == f"{name}@{os.uname().nodename}"


async def test_who_drains_goes_with_the_request_and_with_no_other(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    async def ask(path: str, request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request)
        return {}

    monkeypatch.setattr(ctl, "ask", ask)
    monkeypatch.setenv("SUDO_USER", "ann")
    monkeypatch.delenv("DORIS_MCP_CTL_BY", raising=False)
    me = ctl.person({"SUDO_USER": "ann"})
    for verb in (["drain"], ["drain", "--by", "bob"], ["undrain"], ["status"]):
        await asyncio.to_thread(main, ["ctl", *verb, "--json"])
    monkeypatch.setenv("DORIS_MCP_CTL_BY", "play:7")
    await asyncio.to_thread(main, ["ctl", "undrain", "--json"])
    assert [request.get("by") for request in asked] == [me, "bob", me, None, "play:7"]


async def test_where_no_socket_can_be_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="cannot listen on"):
        await ctl.listen(str(tmp_path / "missing/ctl.sock"), mirror)


@pytest.mark.parametrize(
    ("data", "half", "words"),
    [
        (b"A" * (1 << 20) + b"\n", False, "at most 4096 bytes"),
        (b"A" * (1 << 20), True, "at most 4096 bytes"),
        (b"\xff\x00\xfe\x80\n", False, "one line of JSON"),
        (b"hello\n", False, "one line of JSON"),
        (b"\n", False, "one line of JSON"),
        (b"[" * 4000 + b"\n", False, "one line of JSON"),
        (b'["do"]\n', False, "a JSON object"),
        (b"null\n", False, "a JSON object"),
        (b'{"do": "sta', True, "no end"),
        (b"", True, "no end"),
        (b'{"do": "refuse"}\n', False, "not that"),
        (b'{"do": "crash"}\n', False, "unexpected error"),
    ],
)
async def test_what_is_no_request_gets_an_error_in_words(data: bytes, half: bool, words: str, path: str) -> None:
    assert words in (await said(path, data, half=half))["error"]["message"]
    assert await ctl.ask(path, {"do": "x"}) == {"asked": {"do": "x"}}


async def test_a_line_that_never_ends_is_not_waited_for(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctl, "REQUEST_LIMIT", 0.01)
    assert "within 0.01 s" in (await said(path, b'{"do": "sta'))["error"]["message"]


async def test_of_a_thousand_connections_some_wait_and_the_others_are_turned_away(path: str) -> None:
    idle = [await asyncio.open_unix_connection(path) for _ in range(ctl.ASKERS)]
    turned = set()
    for _ in range(1000 - ctl.ASKERS):
        turned.add((await said(path, b""))["error"]["kind"])
    assert turned == {"overloaded"}
    with pytest.raises(ServerError, match="others are asking"):
        await ctl.ask(path, {"do": "x"})
    for reader, writer in idle:
        writer.write(b'{"do": "x"}\n')
        assert json.loads(await reader.readline()) == {"asked": {"do": "x"}}
        writer.close()
        await writer.wait_closed()
    assert await ctl.ask(path, {"do": "x"}) == {"asked": {"do": "x"}}
