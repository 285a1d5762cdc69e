"""One call of execute_query, what came of it, and how long that took."""

import json
import time
from dataclasses import dataclass
from typing import Any

from .wire import connected, modern, post, rpc


@dataclass(frozen=True)
class Told:
    """`result` is the tool's answer, None where it was an `error`."""

    seconds: float
    result: dict[str, Any] | None
    error: dict[str, Any] | None

    @property
    def kind(self) -> str | None:
        """Of the error."""
        return self.error and self.error["kind"]


async def ask(port: int, sql: str, *, cluster: str | None = None, **arguments: Any) -> Told:
    """Ask the server on this port, over a connection of its own."""
    asked = json.dumps({"sql": sql, "cluster": cluster, **arguments})
    headers = modern("tools/call", "execute_query") | ({} if cluster is None else {"Mcp-Param-Cluster": cluster})
    body = rpc("tools/call", f'"name":"execute_query","arguments":{asked}')
    async with connected(port) as connection:
        began = time.monotonic()
        connection.send(post(body, headers))
        answer = await connection.answer()
        seconds = time.monotonic() - began
    assert answer is not None and answer.status == 200, answer
    result = answer.message()["result"]
    text = json.loads(result["content"][0]["text"])
    if result.get("isError"):
        return Told(seconds, None, text["error"])
    assert text == result["structuredContent"]
    return Told(seconds, text, None)
