"""What the server is measured against, each a factory of an ASGI app that host.py serves.

Every app imports what it needs when it is made: they run in different interpreters. BENCH_ANSWERS names a file with
what our server answers to each kind of request, so that all of them say the same.
"""

import json
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Start = Callable[[], Awaitable[None]]

POOL = 20  # connections, as the server's own default


def answers() -> dict[str, dict[str, Any]]:
    """`<era> <call>` → the `result` our server gives."""
    found: dict[str, dict[str, Any]] = json.loads(Path(os.environ["BENCH_ANSWERS"]).read_text(encoding="utf-8"))
    return found


def bare() -> App:
    """The limit: one parse, one look-up, one dump. No header is looked at, nothing is checked."""
    known = answers()

    async def result(message: dict[str, Any], era: str) -> dict[str, Any]:
        params = message["params"]
        if message["method"] == "tools/list":
            return known[f"{era} tools/list"]
        return _content(known[f"{era} echo"], {"text": params["arguments"]["text"]})

    return _app(result)


def driver() -> App:
    """The limit with a database: as `bare`, and one statement over a pool of aiomysql."""
    import aiomysql

    known = answers()
    pool: Any = None

    async def start() -> None:
        nonlocal pool
        pool = await aiomysql.create_pool(
            host=os.environ["DORIS_HOST"],
            port=int(os.environ["DORIS_PORT"]),
            user=os.environ["DORIS_USER"],
            minsize=1,
            maxsize=POOL,
            autocommit=True,
        )

    async def stop() -> None:
        pool.close()
        await pool.wait_closed()

    async def result(message: dict[str, Any], era: str) -> dict[str, Any]:
        began = time.perf_counter()
        async with pool.acquire() as connection, connection.cursor() as cursor:
            await cursor.execute(message["params"]["arguments"]["sql"])
            rows = await cursor.fetchall()
        template = known[f"{era} execute_query"]
        elapsed = round((time.perf_counter() - began) * 1e3, 2)
        found = {**template["structuredContent"], "rows": rows, "row_count": len(rows), "elapsed_ms": elapsed}
        return _content(template, found)

    return _app(result, start, stop)


def _content(template: dict[str, Any], structured: dict[str, Any]) -> dict[str, Any]:
    import orjson

    text = {"type": "text", "text": orjson.dumps(structured).decode()}
    return {**template, "content": [text], "structuredContent": structured}


def _app(
    result: Callable[[dict[str, Any], str], Awaitable[dict[str, Any]]],
    start: Start | None = None,
    stop: Start | None = None,
) -> App:
    import orjson

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            if start:
                await start()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            if stop:
                await stop()
            await send({"type": "lifespan.shutdown.complete"})
            return
        event = await receive()
        body = event["body"]
        while event.get("more_body"):
            event = await receive()
            body += event["body"]
        message = orjson.loads(body)
        era = "modern" if "_meta" in message["params"] else "legacy"
        out = orjson.dumps({"jsonrpc": "2.0", "id": message["id"], "result": await result(message, era)})
        length = str(len(out)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": out})

    return app


def sdk() -> App:
    """The official SDK's own server, set up for speed: JSON answers, no sessions, schemas given, no token asked."""
    import mcp_types as types
    from mcp.server.lowlevel import Server
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    tools = [types.Tool.model_validate(tool) for tool in answers()["modern tools/list"]["tools"]]
    schemas = {tool.name: tool.input_schema for tool in tools}
    listing = types.ListToolsResult(tools=tools)

    async def list_tools(ctx: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return listing

    async def call_tool(ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        structured = {"text": (params.arguments or {})["text"]}
        text = types.TextContent(type="text", text=json.dumps(structured, separators=(",", ":")))
        return types.CallToolResult(content=[text], structured_content=structured)

    server: Server[Any] = Server(
        "bench",
        version="1",
        # Without it the SDK runs the whole tools/list handler before every call.
        get_tool_input_schema=schemas.get,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    manager = StreamableHTTPSessionManager(server, json_response=True, stateless=True)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await manager.handle_request(scope, receive, send)
            return
        await receive()
        async with manager.run():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    return app


def fastmcp() -> App:
    """fastmcp with one tool, JSON answers and no sessions."""
    from fastmcp import FastMCP  # type: ignore[import-not-found]

    server = FastMCP("bench")

    @server.tool  # type: ignore[untyped-decorator]
    def echo(text: str) -> dict[str, str]:
        return {"text": text}

    app: App = server.http_app(path="/mcp", json_response=True, stateless_http=True)
    return app
