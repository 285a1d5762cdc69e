"""LangChain's MultiServerMCPClient over HTTP (URL and TOKEN): a session for each call, then one for several calls.

It stands on version 1 of the Python SDK and knows the handshake era only.
"""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools

QUESTION = json.loads(Path(__file__).with_name("question.json").read_text())


async def main() -> None:
    headers = {"authorization": f"Bearer {os.environ['TOKEN']}"} if os.environ.get("TOKEN") else {}
    client = MultiServerMCPClient({"doris": {"transport": "http", "url": os.environ["URL"], "headers": headers}})

    tools = await client.get_tools()
    answers = [await ask(tools) for _ in range(3)]
    answers += await asyncio.gather(*(ask(tools) for _ in range(4)))

    # The adapters drop the handshake's answer, so it is made here by hand.
    async with client.session("doris", auto_initialize=False) as session:
        version = (await session.initialize()).protocolVersion
        held = await load_mcp_tools(session)
        answers += [await ask(held) for _ in range(2)]
        answers += await asyncio.gather(*(ask(held) for _ in range(2)))

    names = [tool.name for tool in tools]
    if names != [tool.name for tool in held] or any(answer != answers[0] for answer in answers):
        sys.exit(f"the answers differ: {names} {answers}")
    print(json.dumps({"tools": names, **answers[0], "protocolVersion": version}))


async def ask(tools: Sequence[BaseTool]) -> dict[str, Any]:
    """What an agent gets for the question: the columns and rows. Raises: ToolException."""
    tool = next(tool for tool in tools if tool.name == QUESTION["tool"])
    call = {"type": "tool_call", "id": "1", "name": tool.name, "args": QUESTION["arguments"]}
    answer = (await tool.ainvoke(call)).artifact["structured_content"]
    return {"columns": answer["columns"], "rows": answer["rows"]}


if __name__ == "__main__":
    asyncio.run(main())
