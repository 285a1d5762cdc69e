"""What the load asks, in both protocol eras, and what a right answer is.

MARK stands in a request for its number: the JSON-RPC id, and where a tool takes text, part of that text too.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

MARK: Final = "3000000"  # every number has these seven digits, so that no length in a request ever changes
VERSIONS: Final = {"modern": "2026-07-28", "legacy": "2025-11-25"}
ERAS: Final = tuple(VERSIONS)
_META: Final = "io.modelcontextprotocol/"

Result = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """One kind of request. `right(result, number)` judges the `result` of an answer to the request with that number.

    `steady`: two right answers differ in nothing but the number, so one that was judged stands for the others.
    """

    name: str
    method: str
    right: Callable[[Result, str], bool]
    params: dict[str, Any] = field(default_factory=dict)
    steady: bool = True


@dataclass(frozen=True)
class Target:
    """Where to ask, as whom; `path` differs from era to era on some servers."""

    port: int
    token: str
    paths: dict[str, str]
    handshakes: bool = True  # False: an app that checks nothing and begins no session


def request(target: Target, call: Call, era: str, session: str | None = None) -> list[bytes]:
    """The bytes of a request, cut where its number belongs: `number.join(parts)` is what goes on the wire."""
    params = dict(call.params)
    if era == "modern":
        params["_meta"] = {
            _META + "protocolVersion": VERSIONS[era],
            _META + "clientInfo": {"name": "bench", "version": "1"},
            _META + "clientCapabilities": {},
        }
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": int(MARK), "method": call.method, "params": params}
    if call.method.startswith("notifications/"):
        del message["id"]
    body = json.dumps(message, separators=(",", ":")).encode()
    headers = {
        "host": f"127.0.0.1:{target.port}",
        "authorization": f"Bearer {target.token}",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": VERSIONS[era],
        "content-length": str(len(body)),
    }
    if era == "modern":
        headers["mcp-method"] = call.method
        if "name" in params:
            headers["mcp-name"] = params["name"]
    if session:
        headers["mcp-session-id"] = session
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {target.paths[era]} HTTP/1.1\r\n{lines}\r\n".encode().join((b"", body)).split(MARK.encode())


def failed(result: Result) -> bool:
    return bool(result.get("isError"))


def _said_twice(result: Result) -> Any:
    """The structured content, when the text content says the same; else None."""
    content = result.get("content")
    if not (isinstance(content, list) and len(content) == 1 and content[0].get("type") == "text"):
        return None
    structured = result.get("structuredContent")
    try:
        return structured if json.loads(content[0]["text"]) == structured else None
    except (KeyError, TypeError, ValueError):
        return None


def _echoed(result: Result, number: str) -> bool:
    return bool(_said_twice(result) == {"text": f"message {number}"})


def _one_row(result: Result, number: str) -> bool:
    found = _said_twice(result)
    return isinstance(found, dict) and (found.get("rows"), found.get("row_count"), found.get("truncated")) == (
        [[1]],
        1,
        False,
    )


def _one_row_in_public(result: Result, number: str) -> bool:
    try:
        data = _said_twice(result)["data"]["data"]
    except (KeyError, TypeError):
        return False
    return bool((data.get("rows"), data.get("row_count"), data.get("truncated")) == ([{"1": 1}], 1, False))


ECHO: Final = Call("echo", "tools/call", _echoed, {"name": "echo", "arguments": {"text": f"message {MARK}"}})
QUERY: Final = Call(
    "execute_query",
    "tools/call",
    _one_row,
    {"name": "execute_query", "arguments": {"sql": "SELECT 1"}},
    steady=False,  # it tells how long the statement took
)
QUERY_IN_PUBLIC: Final = Call(
    "execute_query",
    "tools/call",
    _one_row_in_public,
    {"name": "doris_query", "arguments": {"child_tool": "execute_query", "arguments": {"sql": "SELECT 1"}}},
    steady=False,
)
LIST: Final = Call("tools/list", "tools/list", lambda result, _: bool(result.get("tools")))
INITIALIZE: Final = Call(
    "initialize",
    "initialize",
    lambda result, _: result.get("protocolVersion") == VERSIONS["legacy"],
    {
        "protocolVersion": VERSIONS["legacy"],
        "capabilities": {},
        "clientInfo": {"name": "bench", "version": "1"},
    },
)
INITIALIZED: Final = Call("initialized", "notifications/initialized", lambda result, _: True)


def listing(expected: Result) -> Call:
    """tools/list that must answer exactly `expected`."""
    return Call("tools/list", "tools/list", lambda result, _: result == expected)
