"""What goes over the wire in either era, and what can be read from what comes back."""

import json
from collections.abc import Iterator
from typing import Any, Final

MODERN: Final = "2026-07-28"
LEGACY: Final = "2025-11-25"

_META: Final = "io.modelcontextprotocol/"
_CLIENT: Final = {"name": "load", "version": "1"}
_ANY: Final = {"accept": "application/json, text/event-stream"}

Asking = tuple[str, dict[str, Any] | None, dict[str, str]]
"""Method, JSON body or none, and headers of an HTTP request."""


def execute(name: str, sql: str, session: str | None = None, *, modern: bool) -> Asking:
    """A call of execute_query with `name` as its request id; in the handshake era within a session, if there is one."""
    params: dict[str, Any] = {"name": "execute_query", "arguments": {"sql": sql}}
    if modern:
        return _modern(name, "tools/call", params, {"mcp-name": "execute_query"})
    headers = _ANY | {"mcp-protocol-version": LEGACY} | ({"mcp-session-id": session} if session else {})
    return "POST", {"jsonrpc": "2.0", "id": name, "method": "tools/call", "params": params}, headers


def tools(name: str) -> Asking:
    """What tools there are."""
    return _modern(name, "tools/list", {}, {})


def initialize() -> Asking:
    """How a session begins; its id is in the header `mcp-session-id` of the answer."""
    params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": _CLIENT}
    return "POST", {"jsonrpc": "2.0", "id": "hello", "method": "initialize", "params": params}, _ANY


def listen(name: str, session: str, *, modern: bool) -> Asking:
    """A stream: a subscription whose frames carry `name`, or the stream of a session, whose frames carry none."""
    if modern:
        return _modern(name, "subscriptions/listen", {"notifications": {"toolsListChanged": True}}, {})
    headers = {"accept": "text/event-stream", "mcp-protocol-version": LEGACY, "mcp-session-id": session}
    return "GET", None, headers


def _modern(name: str, method: str, params: dict[str, Any], headers: dict[str, str]) -> Asking:
    meta = {
        _META + "protocolVersion": MODERN,
        _META + "clientInfo": _CLIENT,
        _META + "clientCapabilities": {},
    }
    body = {"jsonrpc": "2.0", "id": name, "method": method, "params": params | {"_meta": meta}}
    return "POST", body, _ANY | headers | {"mcp-protocol-version": MODERN, "mcp-method": method}


def statement(nonce: str, seconds: float) -> str:
    """A query that takes so long and whose one row ends with the nonce."""
    return f"SELECT sleep({seconds:g}) AS slept, '{nonce}' AS nonce" if seconds else f"SELECT '{nonce}' AS nonce"


def messages(text: str) -> Iterator[dict[str, Any]]:
    """The JSON-RPC messages of a body, which is one object or an event stream. Raises: ValueError."""
    if text.lstrip().startswith("{"):
        yield json.loads(text)
        return
    for line in text.splitlines():
        if line.startswith("data:") and line[5:].strip():
            yield json.loads(line[5:])


def subscription(message: dict[str, Any]) -> str:
    """Which subscription a frame is of. Raises: KeyError, TypeError."""
    within = message["result"] if "result" in message else message["params"]
    return str(within["_meta"][_META + "subscriptionId"])


def nonce_in(answer: dict[str, Any]) -> str | None:
    """The nonce of a result; None when the answer is an error. Raises: KeyError, IndexError, TypeError."""
    result = answer.get("result")
    if result is None or result.get("isError"):
        return None
    return str(result["structuredContent"]["rows"][0][-1])


def error_in(answer: dict[str, Any]) -> str:
    """What kind of error an answer is, in a few words."""
    if "error" in answer:
        return f"JSON-RPC error {answer['error'].get('code')}"
    try:
        return f"tool error {json.loads(answer['result']['content'][0]['text'])['error']['kind']}"
    except (ValueError, KeyError, IndexError, TypeError):
        return "tool error"
