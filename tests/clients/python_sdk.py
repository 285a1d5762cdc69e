"""The Python SDK's client over HTTP (URL and TOKEN), or over stdio with a server of its own (--stdio).

It finds the modern era by itself; ERA=legacy makes it open the handshake era.
"""

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

ERA = os.environ.get("ERA", "auto")
QUESTION = json.loads(Path(__file__).with_name("question.json").read_text())


async def main() -> None:
    async with AsyncExitStack() as stack:
        if "--stdio" in sys.argv:
            server = StdioServerParameters(
                command=sys.executable, args=["-m", "doris_mcp_server", "--sandbox"], env=dict(os.environ)
            )
            client = await stack.enter_async_context(Client(server, mode=ERA))
        else:
            headers = {"authorization": f"Bearer {os.environ['TOKEN']}"} if os.environ.get("TOKEN") else {}
            http = await stack.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=60))
            transport = streamable_http_client(os.environ["URL"], http_client=http)
            client = await stack.enter_async_context(Client(transport, mode=ERA))
        tools = (await client.list_tools()).tools
        result = await client.call_tool(QUESTION["tool"], QUESTION["arguments"])
        if result.is_error or not result.structured_content:
            sys.exit(f"the call failed: {result.content}")
        answer = result.structured_content
        seen = {"tools": [tool.name for tool in tools], "columns": answer["columns"], "rows": answer["rows"]}
        print(json.dumps({**seen, "protocolVersion": client.protocol_version}))


if __name__ == "__main__":
    asyncio.run(main())
