"""Two workers of one server behind a real nginx, which asks them in turn: no two requests of a session meet one worker.

The workers' sockets are handed over as systemd does it, each on a port of its own, and nginx runs the fleet's own
configuration but for what the machine must keep for itself: user, paths, and the choice of a member.
"""

import asyncio
import contextlib
import fcntl
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..balancer import balancing
from ..conftest import Running, end

WORKERS = 2


@dataclass(frozen=True)
class Stack:
    """Where the balancer answers (with /mcp), and the server's control socket."""

    url: str
    ctl: str


@contextlib.asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[Stack]:
    """A server with the suite's fixtures, behind the balancer."""
    with contextlib.ExitStack() as stack:
        queues = [stack.enter_context(socket.socket()) for _ in range(WORKERS)]
        for queue in queues:
            queue.bind(("127.0.0.1", 0))
            queue.listen()
        async with (
            _workers(directory, queues),
            balancing(directory, [queue.getsockname()[1] for queue in queues], in_turn=True) as port,
        ):
            yield Stack(f"http://127.0.0.1:{port}/mcp", str(directory / "ctl.sock"))


@contextlib.asynccontextmanager
async def _workers(directory: Path, queues: Sequence[socket.socket]) -> AsyncIterator[None]:
    # Descriptors from 3 on are where systemd puts them; the shell moves ours there and becomes the server.
    fds = [fcntl.fcntl(queue, fcntl.F_DUPFD, 10) for queue in queues]
    moves = " ".join(f"{number}<&{fd}" for number, fd in enumerate(fds, 3))
    script = f'exec {moves}; export LISTEN_PID=$$ LISTEN_FDS={len(fds)}; exec "$0" -m doris_mcp_server "$@"'
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DORIS_", "REDIS_"))}
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", script, sys.executable, "--transport", "http", "--workers", str(len(fds))),
        env=inherited
        | {
            "DORIS_MCP_RUNTIME_DIR": str(directory),
            "DORIS_MCP_TEST_FIXTURES": "conformance",
            "DORIS_MCP_KEYS": secrets.token_hex(32),
        },
        pass_fds=fds,
        stderr=asyncio.subprocess.PIPE,
    )
    for fd in fds:
        os.close(fd)
    server = Running(process, directory)
    reading = asyncio.create_task(server.read())
    try:
        await server.said("worker listens", len(fds))
        yield
    finally:
        await end(process)
        await reading
