"""`doris-mcp-server smoke`: a real MCP client asks one host a real query, so that a play knows it works."""

import asyncio
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from doris_mcp_server.errors import ConfigError, ServerError


async def run(url: str, token_file: str | None, timeout: float, queries: int, as_json: bool) -> int:
    """List the tools and run `SELECT 1` at `url`. Exit code 0 when the answer is right, 1 otherwise.

    `queries` more like it, one after the other, say how quick the host is: `median_ms`.
    """
    began = time.monotonic()
    seen: dict[str, Any] = {"url": url, "ok": False}
    try:
        async with asyncio.timeout(timeout):
            seen |= await _ask(url, _token(token_file), queries)
    except TimeoutError:
        seen["reason"] = f"no answer within {timeout:g} s"
    except ConfigError:
        raise
    except BaseExceptionGroup as group:
        seen["reason"] = "; ".join(_leaves(group))
    except Exception as error:  # whatever the client stumbles over is the finding
        seen["reason"] = str(error) or repr(error)
    seen["seconds"] = round(time.monotonic() - began, 3)
    if as_json:
        print(json.dumps(seen))
    elif seen["ok"]:
        print(f"{url}: {seen['tools']} tools, SELECT 1 answered right in {seen['seconds']} s by {seen['server']}")
    else:
        print(f"{url}: {seen['reason']}", file=sys.stderr)
    return 0 if seen["ok"] else 1


async def _ask(url: str, token: str | None, queries: int) -> dict[str, Any]:
    import httpx2
    from mcp.client.client import Client
    from mcp.client.streamable_http import streamable_http_client

    async def refuse(response: httpx2.Response) -> None:
        # The client itself would only say that there was an error; who reads the play's output needs the answer.
        if response.status_code >= 400:
            body = (await response.aread()).decode(errors="replace")[:300]
            raise ServerError(f"answered {response.status_code}: {body}")

    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30, event_hooks={"response": [refuse]}) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        tools = (await client.list_tools()).tools
        server = client.server_info
        seen: dict[str, Any] = {
            "tools": len(tools),
            "server": f"{server.name} {server.version}" if server else "a server without a name",
        }
        took = []
        for number in range(1, queries + 2):
            began = time.monotonic()
            # Another text each time, so that no cache answers.
            result = await client.call_tool("execute_query", {"sql": f"SELECT {number} AS number"})
            took.append(time.monotonic() - began)
            if result.is_error or not result.structured_content:
                return {**seen, "reason": " ".join(getattr(part, "text", "") for part in result.content)}
            if (rows := result.structured_content["rows"]) != [[number]]:
                return {**seen, "reason": f"SELECT {number} answered {rows}"}
    if queries:
        # Without the first, which opens what the others use.
        seen["median_ms"] = round(statistics.median(took[1:]) * 1e3, 1)
    return {**seen, "ok": True}


def _token(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", hint="name the file with the smoke token"
        ) from None


def _leaves(group: BaseExceptionGroup[Any]) -> list[str]:
    return [
        text
        for error in group.exceptions
        for text in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [str(error) or repr(error)])
    ]
