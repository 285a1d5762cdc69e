"""Tools that an operator takes out: not listed and not called, in both eras, on the lean path and by the SDK."""

import asyncio
import json
from typing import Any

import pytest

from doris_mcp_server import protocol
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import ConfigError
from doris_mcp_server.protocol.streams import CHANGED
from doris_mcp_server.tools import TOOLS, check_disabled

from .conftest import LIMIT, legacy, modern
from .test_differential import Both, both

OUT = Settings(disabled_tools=("say", "list_clusters"))
SAY = {"name": "say", "arguments": {"text": "x"}}
ERAS = [modern, legacy]


async def asked(pair: Both, era: Any, method: str, params: dict[str, Any], *, lean: bool) -> Any:
    request = era(method, params)
    headers = {"host": "127.0.0.1", "content-type": "application/json", **request["headers"]}
    seen = await (pair.ours if lean else pair.theirs)(headers, json.dumps(request["json"]).encode())
    return seen.messages[0]


async def offered(pair: Both, era: Any, *, lean: bool) -> set[str]:
    return {tool["name"] for tool in (await asked(pair, era, "tools/list", {}, lean=lean))["result"]["tools"]}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("lean", [True, False])
async def test_a_tool_taken_out_is_unknown_until_it_is_back(era: Any, lean: bool) -> None:
    every = {"say", *(tool.name for tool in TOOLS)}
    async with both() as pair:
        assert await offered(pair, era, lean=lean) == every
        assert (await asked(pair, era, "tools/call", SAY, lean=lean))["result"]["isError"] is False
        pair.protocol.apply(OUT)
        assert await offered(pair, era, lean=lean) == every - {"say", "list_clusters"}
        error = (await asked(pair, era, "tools/call", SAY, lean=lean))["error"]
        assert (error["code"], error["message"]) == (-32602, "Unknown tool: say")
        pair.protocol.apply(Settings())
        assert await offered(pair, era, lean=lean) == every
        assert (await asked(pair, era, "tools/call", SAY, lean=lean))["result"]["isError"] is False


async def test_who_listens_hears_of_it_at_once_and_when_all_workers_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "SETTLED", 0.001)
    async with both() as pair:
        heard: list[Any] = []
        pair.bus.subscribe(CHANGED, heard.append)
        pair.protocol.apply(Settings())
        assert heard == []
        pair.protocol.apply(OUT)
        assert heard == [{"method": "notifications/tools/list_changed"}]
        async with asyncio.timeout(LIMIT):
            while len(heard) < 2:
                await asyncio.sleep(0.001)
        pair.protocol.apply(OUT.model_copy(update={"max_streams": 1}))
        assert len(heard) == 2


def test_a_name_that_no_tool_has_is_refused_with_what_is_meant() -> None:
    check_disabled(("list_tables", "execute_query"))
    with pytest.raises(ConfigError, match="no tool 'list_table'") as caught:
        check_disabled(("list_tables", "list_table"))
    assert "list_tables" in str(caught.value.hint)
