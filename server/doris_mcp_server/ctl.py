"""The operator's socket: `doris-mcp-server ctl drain|undrain|status|reload` on the host itself, and what commands tell.

One JSON object a line each way over a Unix socket that only root and the service's own user and group may open.
Whatever else is sent gets an error in words.
"""

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from doris_mcp_server.errors import InvalidArgument, Overloaded, ServerError

DEFAULT_SOCKET = "/run/doris-mcp/ctl.sock"

ANSWER_LIMIT = 90.0  # seconds; a reload answers when every worker has been replaced
REQUEST_LIMIT = 5.0  # seconds a request may take to arrive
REQUEST_BYTES = 4096
ANSWER_BYTES = 1 << 20
ASKERS = 32  # connections at once: each costs a descriptor, and the workers' pipes need some too

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


async def listen(path: str, handler: Handler) -> asyncio.Server:
    """Answer requests on `path` with `handler`; a stale socket file of a killed server is replaced.

    Raises: ServerError when there cannot be a socket at `path`.
    """
    askers = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal askers
        askers += 1
        try:
            answer = await _answer(reader, handler if askers <= ASKERS else _turn_away)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except ConnectionError:
            pass  # the asker went away
        finally:
            askers -= 1
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    before = os.umask(0o117)  # from its first moment nobody else can open it
    try:
        Path(path).unlink(missing_ok=True)
        return await asyncio.start_unix_server(serve, path, backlog=1024)
    except OSError as error:
        raise ServerError(
            f"cannot listen on {path}: {error.strerror or error}", hint="set DORIS_MCP_CTL_SOCKET or see to its folder"
        ) from None
    finally:
        os.umask(before)


async def _answer(reader: asyncio.StreamReader, handler: Handler) -> dict[str, Any]:
    try:
        return await handler({} if handler is _turn_away else await _request(reader))
    except ServerError as error:
        return {"error": error.as_dict()}
    except ConnectionError:
        raise
    except Exception:  # whatever an operator asks, the workers go on
        logging.getLogger("doris_mcp").exception("unexpected error in the operator's socket")
        return {"error": ServerError("unexpected error in the server", hint="its log has the cause").as_dict()}


async def _turn_away(_: dict[str, Any]) -> dict[str, Any]:
    raise Overloaded(f"{ASKERS} others are asking", hint="try again in a moment")


async def _request(reader: asyncio.StreamReader) -> dict[str, Any]:
    """The request, read to its end however long it is: an answer to somebody still writing would be lost."""
    kept = b""
    try:
        async with asyncio.timeout(REQUEST_LIMIT):
            while chunk := await reader.read(1 << 16):
                kept = (kept + chunk)[: REQUEST_BYTES + 1]
                if b"\n" in chunk:
                    break
    except TimeoutError:
        raise InvalidArgument(f"no whole line came within {REQUEST_LIMIT:g} s") from None
    line, end, _ = kept.partition(b"\n")
    if len(line) > REQUEST_BYTES:
        raise InvalidArgument(f"a request has at most {REQUEST_BYTES} bytes")
    if not end:
        raise InvalidArgument("the line has no end")
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise InvalidArgument("a request is one line of JSON in UTF-8") from None
    if not isinstance(request, dict):
        raise InvalidArgument("a request is a JSON object", hint='{"do": "status"}')
    return request


async def ask(path: str, request: dict[str, Any]) -> dict[str, Any]:
    """Send one request to the supervisor and return its answer.

    Raises: ServerError with the fix when nobody listens there or the server refuses.
    """
    try:
        async with asyncio.timeout(ANSWER_LIMIT):
            reader, writer = await asyncio.open_unix_connection(path, limit=ANSWER_BYTES)
            writer.write(json.dumps(request).encode() + b"\n")
            line = await reader.readline()
            writer.close()
    except (OSError, TimeoutError) as error:
        raise ServerError(
            f"no server answers at {path}: {error or 'no reply in time'}",
            hint="is doris-mcp running (systemctl status doris-mcp), and are you root?",
        ) from None
    if not line:
        raise ServerError("the server ended before it answered", hint="see the journal of doris-mcp")
    answer: dict[str, Any] = json.loads(line)
    if problem := answer.get("error"):
        raise ServerError(problem["message"], hint=problem.get("hint"))
    return answer


async def drained(path: str, timeout: float) -> dict[str, Any]:
    """Ask for the status until nothing is in flight, at most `timeout` seconds; the last status."""
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        status = await ask(path, {"do": "status"})
        if status["inflight"] == 0 or asyncio.get_running_loop().time() >= deadline:
            return status
        await asyncio.sleep(0.1)
