"""`python -m tests.bench.auth`: what it costs to know who is calling, of all that an ordinary request costs.

The application of one worker answers `tools/call` of the echo fixture, handed over as uvicorn does it, without a
socket: with an issued token that is warm, and on a server that asks for none. Times are CPU time of this process.
"""

import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import MutableMapping
from time import process_time
from typing import Any

import orjson

from doris_mcp_server.config import load

from .calls import VERSIONS

ROUNDS = 41
CALLS = 2_000
ASKED = 0.15  # of the request, at most
KEY = "ab" * 32
ECHO = {"DORIS_MCP_TEST_FIXTURES": "echo", "LOG_LEVEL": "WARNING"}


async def seconds(asgi: Any, token: str | None) -> float:
    """CPU seconds of one request."""
    meta = {
        "protocolVersion": VERSIONS["modern"],
        "clientInfo": {"name": "bench", "version": "1"},
        "clientCapabilities": {},
    }
    params = {
        "name": "echo",
        "arguments": {"text": "hello"},
        "_meta": {f"io.modelcontextprotocol/{name}": value for name, value in meta.items()},
    }
    body = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    headers = {
        "host": "localhost",
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
        "content-length": str(len(body)),
        "mcp-protocol-version": VERSIONS["modern"],
        "mcp-method": "tools/call",
        "mcp-name": "echo",
    } | ({"authorization": f"Bearer {token}"} if token else {})
    scope: MutableMapping[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/mcp",
        "scheme": "http",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    answers: set[bytes] = set()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            answers.add(message["body"])

    began = process_time()
    for _ in range(CALLS):
        await asgi(scope, receive, send)
    spent = (process_time() - began) / CALLS
    (answer,) = answers
    assert orjson.loads(answer)["result"]["isError"] is False, answer
    return spent


async def main() -> int:
    from doris_mcp_server.app import App  # reads PROMETHEUS_MULTIPROC_DIR

    known = App(load(environ=ECHO | {"DORIS_MCP_TOKEN_KEY": KEY}, serving=False))
    nobody = App(load(environ=ECHO, serving=False))
    for app in (known, nobody):
        await app.start()
    token, _ = await known.verifier.tokens.issue("ann", ("catalog:read", "query:execute"), None)
    with_token, without = [], []
    for _ in range(ROUNDS):  # side by side: whatever else the machine does, it does to both
        await known.verifier.verify(token)
        with_token.append(await seconds(known.asgi, token))
        without.append(await seconds(nobody.asgi, None))
    part = statistics.median(w / o for w, o in zip(with_token, without, strict=True)) - 1
    bare, known_us = statistics.median(without) * 1e6, statistics.median(with_token) * 1e6
    print(f"a request {bare:.1f} us, with a warm token {known_us:.1f} us")
    print(f"so knowing who calls costs {part:.1%} of it (asked: {ASKED:.0%} at most)")
    return 0 if part <= ASKED else 1


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        sys.exit(asyncio.run(main()))
