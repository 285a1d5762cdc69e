"""The operator's socket: `doris-mcp-server ctl drain|undrain|status|reload` on the host itself.

One JSON object a line each way over a Unix socket that only root and the service's own user may open.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from doris_mcp_server.errors import ServerError

DEFAULT_SOCKET = "/run/doris-mcp/ctl.sock"

ANSWER_LIMIT = 90.0  # seconds; a reload answers when every worker has been replaced

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


async def listen(path: str, handler: Handler) -> asyncio.Server:
    """Answer requests on `path` with `handler`; a stale socket file of a killed server is replaced."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(5):
                line = await reader.readline()
            try:
                answer = await handler(json.loads(line))
            except ServerError as error:
                answer = {"error": error.as_dict()}
            except (ValueError, KeyError, TypeError) as error:
                answer = {"error": {"kind": "invalid_argument", "message": f"not a request: {error!r}"}}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (TimeoutError, ConnectionError):
            pass  # the asker went away
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    Path(path).unlink(missing_ok=True)
    server = await asyncio.start_unix_server(serve, path)
    Path(path).chmod(0o660)
    return server


async def ask(path: str, request: dict[str, Any]) -> dict[str, Any]:
    """Send one request to the supervisor and return its answer.

    Raises: ServerError with the fix when nobody listens there or the server refuses.
    """
    try:
        async with asyncio.timeout(ANSWER_LIMIT):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(json.dumps(request).encode() + b"\n")
            line = await reader.readline()
            writer.close()
    except (OSError, TimeoutError) as error:
        raise ServerError(
            f"no server answers at {path}: {error or 'no reply in time'}",
            hint="is doris-mcp running (systemctl status doris-mcp), and are you root?",
        ) from None
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
