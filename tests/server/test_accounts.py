"""What the Doris accounts of the settings may do: asked by `check-config --ask-doris`, and told by `ctl status`."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from doris_mcp_server import sandbox
from doris_mcp_server.cli import main
from doris_mcp_server.doris.grants import OWN_ACCOUNT
from doris_mcp_server.report import _with_problems_first
from doris_mcp_server.sandbox.options import Options

from .conftest import LIMIT, Launch, status

GOOD = "settings are good"


@pytest_asyncio.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    """A demo engine with the accounts root, who may do everything, and weak, who reads one database."""
    file = tmp_path / "accounts.json"
    file.write_text(json.dumps([{"user": "weak", "password": "", "grants": ["internal.ssb.*"]}]))
    engine = await sandbox.start("127.0.0.1", 0, "root", "", 10, options=Options(accounts=file))
    yield engine.port
    await engine.close()


def clusters(port: int, **accounts: str) -> str:
    """DORIS_MCP_CLUSTERS with one cluster and accounts by name."""
    named = {name: {"user": user} for name, user in accounts.items()}
    return json.dumps({"sales": {"frontends": [f"127.0.0.1:{port}"], "accounts": named}})


async def checked(monkeypatch: pytest.MonkeyPatch, configured: str, *args: str) -> int:
    monkeypatch.setenv("DORIS_MCP_CLUSTERS", configured)
    monkeypatch.setenv("DORIS_MCP_CONNECT_TIMEOUT", str(LIMIT))
    async with asyncio.timeout(LIMIT):
        return await asyncio.to_thread(main, ["check-config", *args])


async def test_every_configured_account_is_asked_and_only_warned_of(
    port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configured = clusters(port, reader="weak", boss="root", stranger="nobody")
    assert await checked(monkeypatch, configured, "--ask-doris") == 0
    said = capsys.readouterr()
    assert GOOD in said.out
    boss, fix, stranger = said.err.splitlines()
    assert boss == (
        "warning: sales, account boss: the Doris account 'root'@'%' may do more than read: Admin_priv on *.*.*"
    )
    assert fix == f"  fix: {OWN_ACCOUNT}"
    assert stranger.startswith("warning: sales, account stranger: what its Doris account may do is not known: ")
    assert "Access denied" in stranger


async def test_accounts_that_only_read_are_nothing_to_warn_of(
    port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await checked(monkeypatch, clusters(port, reader="weak"), "--ask-doris") == 0
    said = capsys.readouterr()
    assert (GOOD in said.out, said.err) == (True, "")
    assert "sales, account reader: 'weak'@'%' only reads\n" in said.out


async def test_doris_is_asked_only_on_request(
    port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await checked(monkeypatch, clusters(port, boss="root")) == 0
    assert capsys.readouterr().err == ""


async def test_without_a_doris_there_is_nobody_to_ask(capsys: pytest.CaptureFixture[str]) -> None:
    assert await asyncio.to_thread(main, ["check-config", "--ask-doris"]) == 0
    assert capsys.readouterr().err == ""


async def test_the_status_says_what_the_account_may_do(launch: Launch, capsys: pytest.CaptureFixture[str]) -> None:
    async with launch("--sandbox") as server:
        said = await server.said("doris_account_has_too_much", level="WARNING", cluster="default")
        assert said["too_much"] == [{"privilege": "Admin_priv", "on": "*.*.*"}]
        async with asyncio.timeout(LIMIT):
            while not (seen := await status(server))["accounts"]:
                pass  # until the worker's next tick
        account = seen["accounts"]["default"]
        assert (account["account"], account["only_reads"]) == ("'root'@'%'", False)
        assert seen["ready"] and not seen["reasons"]  # it serves all the same
        assert await asyncio.to_thread(main, ["ctl", "--socket", server.ctl, "status"]) == 0
        words = capsys.readouterr().out
        assert "  default: the Doris account 'root'@'%' may do more than read: Admin_priv on *.*.*\n" in words
        assert f"    fix: {OWN_ACCOUNT}\n" in words


async def test_of_an_account_that_only_reads_the_status_has_no_words(
    port: int, launch: Launch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with launch(DORIS_HOST=f"127.0.0.1:{port}", DORIS_USER="weak", DORIS_PASSWORD="") as server:
        async with asyncio.timeout(LIMIT):
            while not (seen := await status(server))["accounts"]:
                pass
        assert seen["accounts"]["default"]["only_reads"] is True
        assert await asyncio.to_thread(main, ["ctl", "--socket", server.ctl, "status"]) == 0
        assert "Doris account" not in capsys.readouterr().out


def test_the_worse_of_what_workers_have_seen_counts() -> None:
    good: dict[str, Any] = {"problem": None}
    bad: dict[str, Any] = {"problem": "may do more than read"}
    for seen in ([{"a": good}, {"a": bad, "b": good}], [{"a": bad, "b": good}, {"a": good}, {}]):
        assert _with_problems_first(seen) == {"a": bad, "b": good}
    assert _with_problems_first([{}, {}]) == {}
