"""The tools for tests: there with the flag, in both eras, and not a trace of them without it."""

import json
from typing import Any

import aiohttp
import pytest

from .conftest import Launch, legacy, modern


async def ask(http: aiohttp.ClientSession, url: str, request: dict[str, Any]) -> dict[str, Any]:
    """The JSON-RPC answer, from a JSON body or from the last event of a stream."""
    async with http.post(f"{url}/mcp", **request) as response:
        text = await response.text()
    if response.content_type == "text/event-stream":
        text = [line[5:] for line in text.splitlines() if line.startswith("data:")][-1]
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.mark.parametrize("fixtures", ["echo", "conformance"])
@pytest.mark.parametrize("era", [modern, legacy])
async def test_echo_is_listed_and_called_like_any_tool(
    era: Any, fixtures: str, launch: Launch, http: aiohttp.ClientSession
) -> None:
    async with launch(DORIS_MCP_TEST_FIXTURES=fixtures) as server:
        listed = await ask(http, server.url, era("tools/list"))
        said = await ask(http, server.url, era("tools/call", {"name": "echo", "arguments": {"text": "Grüße"}}))
        wrong = await ask(http, server.url, era("tools/call", {"name": "echo", "arguments": {"words": "no"}}))
    names = [tool["name"] for tool in listed["result"]["tools"]]
    assert {"execute_query", "echo"} <= set(names)
    assert ("test_simple_text" in names) == (fixtures == "conformance")
    assert len(names) == len(set(names))
    assert said["result"]["structuredContent"] == {"text": "Grüße"}
    assert wrong["result"]["isError"] is True


@pytest.mark.parametrize("era", [modern, legacy])
async def test_without_the_flag_there_are_no_fixtures(era: Any, launch: Launch, http: aiohttp.ClientSession) -> None:
    async with launch() as server:
        listed = await ask(http, server.url, era("tools/list"))
        said = await ask(http, server.url, era("tools/call", {"name": "echo", "arguments": {"text": "hello"}}))
        prompt = await ask(http, server.url, era("prompts/get", {"name": "test_simple_prompt"}))
    names = {tool["name"] for tool in listed["result"]["tools"]}
    assert "execute_query" in names
    assert not {name for name in names if name == "echo" or name.startswith("test_")}
    assert "result" not in said
    assert "result" not in prompt
