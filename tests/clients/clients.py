"""The MCP clients people use, each a process of its own that asks the same question (question.json)."""

import asyncio
import contextlib
import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LIMIT = 120.0  # seconds: generous, the machine may be busy
MODERN = "2026-07-28"
HANDSHAKE = "2025-11-25"


def _python(name: str) -> Path:
    """The Python of a client whose dependencies are not the project's."""
    return HERE / ".venv" / name / "bin" / "python"


# name → (command, extra environment, the protocol it must arrive with); every one of them reveals what was negotiated
_HTTP: dict[str, tuple[list[str], dict[str, str], str]] = {
    "Python SDK": ([sys.executable, "python_sdk.py"], {}, MODERN),
    "Python SDK, legacy": ([sys.executable, "python_sdk.py"], {"ERA": "legacy"}, HANDSHAKE),
    "fastmcp": ([str(_python("fastmcp")), "fastmcp_client.py"], {}, MODERN),
    "fastmcp, legacy": ([str(_python("fastmcp")), "fastmcp_client.py"], {"ERA": "legacy"}, HANDSHAKE),
    "TypeScript client": (["node", "client.mjs"], {}, HANDSHAKE),
    "TypeScript client, modern": (["node", "client.mjs"], {"ERA": "auto"}, MODERN),
    "TypeScript SDK": (["node", "sdk.mjs"], {}, HANDSHAKE),
    "inspector": (["node", "inspector.mjs"], {}, HANDSHAKE),
    "inspector, modern": (["node", "inspector.mjs"], {"ERA": "modern"}, MODERN),
    "LangChain": ([str(_python("langchain")), "langchain_client.py"], {}, HANDSHAKE),
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
    """Install what the lock files name, unless it is there already. Raises: ClientFailed."""
    _install_node_modules()
    with ThreadPoolExecutor() as both:
        list(both.map(_install_venv, HERE.glob("*.lock")))


def _install_node_modules() -> None:
    done = HERE / "node_modules" / ".package-lock.json"
    if done.exists() and done.stat().st_mtime >= (HERE / "package-lock.json").stat().st_mtime:
        return
    _command("npm", "ci", "--no-audit", "--no-fund")
    done.touch()


def _install_venv(lock: Path) -> None:
    """The stamp holds what was installed; it is written last, so a run cut off half-way is made good by the next."""
    python = _python(lock.stem)
    venv = python.parents[1]
    stamp, want = venv / "installed", hashlib.sha256(lock.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == want:
        return
    print(f"deps: installing {venv.relative_to(HERE.parents[1])}", flush=True)
    # uv, not pip: pip 23 asks for the newest release of what comes with an extra (pydantic[email]) before it looks at
    # the pins, so a lock fails on the day of that release.
    _command(sys.executable, "-m", "venv", "--clear", "--without-pip", str(venv))
    uv = (sys.executable, "-m", "uv", "pip", "install", "--python", str(python))
    _command(*uv, "--quiet", "--require-hashes", "-r", str(lock))
    stamp.write_text(want)


def _command(*command: str) -> None:
    found = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    if found.returncode:
        raise ClientFailed(f"{' '.join(command)} in {HERE}:\n{found.stdout}{found.stderr}")


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


if __name__ == "__main__":
    install()
