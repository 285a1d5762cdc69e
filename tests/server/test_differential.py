"""The lean path gives the SDK's own answers: the same requests down both ways, hundreds of them, made by hypothesis.

Compared are status, JSON and the headers that mean something to a client. A handshake-era answer is an event stream
from the SDK and a plain JSON body from us, which the specification leaves to the server: its JSON is compared.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field

from doris_mcp_server.answers import Answers
from doris_mcp_server.auth import LOCAL, Principal
from doris_mcp_server.auth.challenge import Resources
from doris_mcp_server.auth.permits import Permits
from doris_mcp_server.auth.seats import Seats
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import QueryFailed
from doris_mcp_server.keys import KeyRing
from doris_mcp_server.observe import Metrics
from doris_mcp_server.protocol import Protocol, Request
from doris_mcp_server.protocol.admission import Admission
from doris_mcp_server.protocol.calls import PRINCIPAL, Calls
from doris_mcp_server.sessions import Sessions
from doris_mcp_server.state.bus import Bus
from doris_mcp_server.state.local import LocalStore
from doris_mcp_server.tools import TOOLS
from doris_mcp_server.tools.tool import Catalog, Context, Input, Output, Tool

from .conftest import META, MODERN

HANDSHAKE = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]


class Asked(Input):
    text: str
    catalog: Catalog = None
    number: int | None = Field(None, ge=0)


class Said(Output):
    text: str
    number: int | None


async def say(context: Context, asked: Asked) -> Said:
    if asked.text == "fail":
        raise QueryFailed("as you wished", hint="ask for something else")
    if asked.text == "crash":
        raise RuntimeError("a fault of ours")
    return Said(text=asked.text, number=asked.number)


SAY = Tool("say", "Say", "Says it.", Asked, Said, "catalog:read", say)


class Both:
    """One worker's protocol, and the SDK behind it reached directly."""

    def __init__(self) -> None:
        config = Settings()
        bus = self.bus = Bus()
        admission = Admission(total=1000, each=1000, queued=0, patience=60)
        nothing: Any = None
        permits, seats = Permits(config, LocalStore(), lambda: 1), Seats(config, LocalStore(), lambda: 1)
        calls = Calls(partial(Context, nothing, nothing), admission, Metrics(), permits, seats)
        keys = KeyRing([b"k" * 32])
        sessions = Sessions(keys, LocalStore(), bus, idle_seconds=100, max_seconds=100)
        self.protocol = Protocol(config, (SAY, *TOOLS), calls, Answers("node"), sessions, bus, keys, Resources(config))

    async def ours(self, headers: dict[str, str], body: bytes, principal: Principal = LOCAL) -> "Seen":
        seen = Seen()
        scope = _scope(headers)
        took = self.protocol.unusual.passed_on
        await self.protocol.post(Request(scope, dict(scope["headers"]), principal, _receive(body), seen.send))
        seen.lean = took == self.protocol.unusual.passed_on
        return seen

    async def theirs(self, headers: dict[str, str], body: bytes, principal: Principal = LOCAL) -> "Seen":
        seen = Seen()
        sdk = await self.protocol.sdk()
        await sdk.asgi({**_scope(headers), PRINCIPAL: principal}, _receive(body), seen.send)
        return seen


class Seen:
    """An answer as a client takes it in."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.lean = False

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        else:
            self.body += message.get("body", b"")

    @property
    def messages(self) -> list[Any]:
        """The JSON of the answer; of a stream, that of each event."""
        if not self.body:
            return []
        kind = self.headers.get("content-type", "")
        if kind.startswith("text/event-stream"):
            frames = self.body.decode().replace("\r\n", "\n").split("\n\n")
            lines = [line for frame in frames for line in frame.split("\n") if line.startswith("data:")]
            return [json.loads(line[5:]) for line in lines]
        return [json.loads(self.body) if kind.startswith("application/json") else self.body]


def _scope(headers: dict[str, str]) -> dict[str, Any]:
    pairs = [(k.encode(), v.encode("utf-8", "surrogateescape")) for k, v in headers.items()]
    base = {
        "type": "http",
        "method": "POST",
        "path": "/mcp",
        "raw_path": b"/mcp",
        "query_string": b"",
        "scheme": "http",
    }
    return {**base, "http_version": "1.1", "headers": pairs, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2)}


def _receive(body: bytes) -> Any:
    """`receive` of a client that sent `body` and stays."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        return messages.pop() if messages else await asyncio.get_running_loop().create_future()

    return receive


@contextlib.asynccontextmanager
async def both() -> AsyncIterator[Both]:
    pair = Both()
    try:
        yield pair
    finally:
        await pair.protocol.close()


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
ids = st.integers(-(2**63), 2**63 - 1) | st.text(max_size=20)
infos = st.just({"name": "client", "version": "1.0"}) | st.fixed_dictionaries(
    {"name": st.text(max_size=10), "version": st.text(max_size=10)},
    optional={"title": st.text(max_size=5), "websiteUrl": json_values, "description": st.none(), "icons": json_values},
)
capabilities = st.just({}) | st.fixed_dictionaries(
    {},
    optional={
        "roots": st.just({"listChanged": True}) | json_values,
        "sampling": st.just({}) | st.just({"tools": {}}) | json_values,
        "elicitation": st.just({"form": {}}) | json_values,
        "experimental": json_values,
        "extensions": st.just({"a/b": {}}) | json_values,
        "tasks": st.just({}),
        "other": json_values,
    },
)
arguments = st.fixed_dictionaries(
    {"text": st.sampled_from(["hello", "fail", "crash", 'ünï \u2028 "x" \\']) | st.text()},
    optional={"number": st.integers(-5, 2**53), "catalog": st.sampled_from(["internal", "Ünï", None, " x "])},
)


@st.composite
def modern_requests(draw: st.DrawFn) -> tuple[dict[str, str], Any]:
    """Mostly right requests of 2026-07-28, each with up to two things changed."""
    method = draw(
        st.sampled_from(
            ["tools/call", "tools/call", "tools/list", "server/discover", "ping", "resources/list", "prompts/list"]
        )
    )
    meta: dict[str, Any] = {META + "protocolVersion": MODERN, META + "clientCapabilities": draw(capabilities)}
    if draw(st.booleans()):
        meta[META + "clientInfo"] = draw(infos)
    params: dict[str, Any] = {"_meta": meta}
    headers = {
        "host": "127.0.0.1",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": MODERN,
        "mcp-method": method,
    }
    if method == "tools/call":
        params |= {"name": draw(st.sampled_from(["say", "say", "say", "no_such_tool"])), "arguments": draw(arguments)}
        headers["mcp-name"] = params["name"]
        catalog = params["arguments"].get("catalog")
        if catalog is not None and catalog.isascii():
            headers["mcp-param-catalog"] = catalog
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": draw(ids), "method": method, "params": params}
    for change in draw(st.just([]) | st.lists(st.integers(0, 12), max_size=2)):
        match change:
            case 0:
                headers.pop(draw(st.sampled_from(sorted(headers))), None)
            case 1:
                headers[draw(st.sampled_from(["mcp-name", "mcp-method", "mcp-param-catalog", "accept"]))] = draw(
                    st.sampled_from(["say", "tools/call", "*/*", "application/json", "=?base64?aW50ZXJuYWw=?=", "x"])
                )
            case 2:
                meta.pop(draw(st.sampled_from(sorted(meta))), None)
            case 3:
                meta[draw(st.sampled_from([META + "protocolVersion", META + "clientInfo", "x"]))] = draw(json_values)
            case 4:
                meta[META + "clientCapabilities"] = draw(json_values)
            case 5:
                params["cursor"] = draw(json_values)
            case 6:
                params["arguments"] = draw(json_values)
            case 7:
                params[draw(st.sampled_from(["requestState", "inputResponses", "task", "extra"]))] = draw(json_values)
            case 8:
                message["jsonrpc"] = draw(st.sampled_from(["1.0", 2, None]))
            case 9:
                message.pop(draw(st.sampled_from(["jsonrpc", "id", "method", "params"])), None)
            case 10:
                params["_meta"] = draw(json_values)
            case 11:
                message["extra"] = draw(json_values)
            case 12:
                params["name"] = draw(json_values)
    return headers, message


@st.composite
def handshake_requests(draw: st.DrawFn) -> tuple[dict[str, str], Any]:
    method = draw(
        st.sampled_from(
            [
                "tools/call",
                "tools/call",
                "tools/list",
                "ping",
                "initialize",
                "notifications/initialized",
                "resources/templates/list",
                "x",
            ]
        )
    )
    params: dict[str, Any] = {}
    if method == "tools/call":
        params = {"name": draw(st.sampled_from(["say", "say", "no_such_tool"])), "arguments": draw(arguments)}
    elif method == "initialize":
        version = draw(st.sampled_from([*HANDSHAKE, "1999-01-01", MODERN]))
        params = {"protocolVersion": version, "capabilities": draw(capabilities), "clientInfo": draw(infos)}
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
    if not method.startswith("notifications/"):
        message["id"] = draw(ids)
    headers = {
        "host": "127.0.0.1",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
    }
    if draw(st.booleans()):
        headers["mcp-protocol-version"] = draw(st.sampled_from(HANDSHAKE))
    for change in draw(st.just([]) | st.lists(st.integers(0, 6), max_size=2)):
        match change:
            case 0:
                headers.pop(draw(st.sampled_from(["content-type", "accept"])), None)
            case 1:
                params[draw(st.sampled_from(["name", "arguments", "cursor", "task", "clientInfo", "_meta"]))] = draw(
                    json_values
                )
            case 2:
                params["_meta"] = draw(st.sampled_from([{}, {"x": 1}, None]))
            case 3:
                message.pop(draw(st.sampled_from(["jsonrpc", "params", "method"])), None)
            case 4:
                message["params"] = draw(json_values)
            case 5:
                message["extra"] = draw(json_values)
            case 6 if params:
                params.pop(draw(st.sampled_from(sorted(params))))
    return headers, message


def compare(ours: Seen, theirs: Seen) -> None:
    assert ours.status == theirs.status, (ours.status, ours.body, theirs.status, theirs.body)
    assert ours.messages == theirs.messages
    mine, its = _meaning(ours.headers), _meaning(theirs.headers)
    if its.get("content-type", "").startswith("text/event-stream") and "content-type" in mine:
        for name in ("content-type", "cache-control", "connection", "x-accel-buffering"):
            mine.pop(name, None)
            its.pop(name, None)
    assert mine == its
    assert ours.headers["x-served-by"] == "node"


def _meaning(headers: dict[str, str]) -> dict[str, str]:
    """Without the length of a body that is compared as JSON, and what only we say."""
    return {k: v for k, v in headers.items() if k not in ("content-length", "x-served-by", "mcp-session-id")}


@pytest.mark.parametrize("requests", [modern_requests, handshake_requests])
def test_both_ways_give_the_same_answer(requests: Any) -> None:
    taken = {"lean": 0, "sdk": 0}
    with asyncio.Runner() as runner:
        pair = runner.run(_start())

        @settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
        @given(requests())
        def check(case: tuple[dict[str, str], Any]) -> None:
            headers, message = case
            body = json.dumps(message).encode()

            async def ask() -> tuple[Seen, Seen]:
                return await pair.ours(headers, body), await pair.theirs(headers, body)

            ours, theirs = runner.run(ask())
            taken["lean" if ours.lean else "sdk"] += 1
            compare(ours, theirs)

        try:
            check()
        finally:
            runner.run(pair.protocol.close())
    # A test of two ways that only ever takes one would pass, too.
    assert taken["lean"] > 60, taken
    assert taken["sdk"] > 60, taken


async def _start() -> Both:
    pair = Both()
    await pair.protocol.sdk()
    return pair
