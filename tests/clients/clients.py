"""The MCP clients people use, each a process of its own that asks the same question (question.json)."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LIMIT = 120.0  # seconds: generous, the machine may be busy
MODERN = "2026-07-28"

# name → (command, extra environment, the protocol it must arrive with)
_HTTP: dict[str, tuple[list[str], dict[str, str], str]] = {
    "Python SDK": ([sys.executable, "python_sdk.py"], {}, MODERN),
    "TypeScript client": (["node", "client.mjs"], {}, "2025-11-25"),
    "TypeScript client, modern": (["node", "client.mjs"], {"ERA": "auto"}, MODERN),
    "TypeScript SDK": (["node", "sdk.mjs"], {}, "2025-11-25"),
}
CLIENTS = tuple(_HTTP)
STDIO = [sys.executable, "python_sdk.py", "--stdio"]


class ClientFailed(Exception):
    """A client ended with an error; the message is what it said."""


@dataclass(frozen=True)
class Seen:
    """What a client saw: tool names, the answer's columns and rows, and the protocol version it speaks."""

    tools: list[str]
    columns: list[dict[str, Any]]
    rows: list[list[Any]]
    protocolVersion: str


def install() -> None:
    """`npm ci`, unless what the lock file names is installed already."""
    done = HERE / "node_modules" / ".package-lock.json"
    if done.exists() and done.stat().st_mtime >= (HERE / "package-lock.json").stat().st_mtime:
        return
    command = ["npm", "ci", "--no-audit", "--no-fund"]
    found = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    if found.returncode:
        raise ClientFailed(f"{' '.join(command)} in {HERE}:\n{found.stdout}{found.stderr}")
    done.touch()


async def ask(name: str, url: str, token: str | None) -> Seen:
    """Let one of CLIENTS ask at `url` (the whole address, with /mcp). Raises: ClientFailed."""
    command, extra, protocol = _HTTP[name]
    seen = await _run(command, {"URL": url, "TOKEN": token or "", **extra})
    assert seen.protocolVersion == protocol, f"{name} speaks {seen.protocolVersion}"
    return seen


async def ask_over_stdio(variables: dict[str, str] | None = None) -> Seen:
    """Let the Python SDK start a server with the demo engine and ask it over stdio. Raises: ClientFailed."""
    return await _run(STDIO, variables or {})


async def _run(command: list[str], variables: dict[str, str]) -> Seen:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=HERE,
        env=os.environ | variables,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(LIMIT):
            out, err = await process.communicate()
    except TimeoutError:
        raise ClientFailed(f"{' '.join(command)}: no end within {LIMIT:g} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    if process.returncode:
        raise ClientFailed(f"{' '.join(command)} ended with {process.returncode}:\n{err.decode()[-3000:]}")
    return Seen(**json.loads(out))
