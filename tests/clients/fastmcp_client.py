"""fastmcp's client over HTTP (URL and TOKEN). It finds the modern era by itself; ERA=legacy opens the handshake era."""

import asyncio
import json
import os
import sys
from pathlib import Path

from fastmcp import Client

ERA = os.environ.get("ERA", "auto")
QUESTION = json.loads(Path(__file__).with_name("question.json").read_text())


async def main() -> None:
    async with Client(os.environ["URL"], auth=os.environ.get("TOKEN") or None, mode=ERA, timeout=60) as client:
        tools = await client.list_tools()
        result = await client.call_tool(QUESTION["tool"], QUESTION["arguments"], raise_on_error=False)
        if result.is_error or not result.structured_content:
            sys.exit(f"the call failed: {result.content}")
        answer = result.structured_content
        seen = {"tools": [tool.name for tool in tools], "columns": answer["columns"], "rows": answer["rows"]}
        print(json.dumps({**seen, "protocolVersion": client.protocol_version}))


if __name__ == "__main__":
    asyncio.run(main())
