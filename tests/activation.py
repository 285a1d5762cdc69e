"""What systemd does for the server, done by a test: sockets that outlive it, and an ear for what it notifies."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from .conftest import LIMIT, Running, serving

# Descriptors from 3 on are where systemd puts the sockets. They come in with higher numbers, as pass_fds keeps them.
ACTIVATED = """
import os, sys
from doris_mcp_server import cli
{patch}
given = [os.dup(int(fd)) for fd in os.environ["FDS"].split()]
for number, fd in enumerate(given, 3):
    os.dup2(fd, number)
os.closerange(3 + len(given), max(given) + 1)
os.environ |= {{"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(given))}}
sys.exit(cli.main(sys.argv[1:]))
"""


class Activation:
    """A socket unit with so many queues on one port, and a service unit of Type=notify."""

    def __init__(self, runtime: Path, queues: int) -> None:
        self.notified: list[str] = []  # what the service said, one assignment each
        self._runtime = runtime
        self._news = asyncio.Condition()
        self._queues: list[socket.socket] = []
        self.port = 0
        for _ in range(queues):
            queue = socket.socket()
            queue.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            queue.bind(("127.0.0.1", self.port))
            queue.listen(2048)
            self.port = queue.getsockname()[1]
            self._queues.append(queue)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(runtime / "notify"))
        self._notify.setblocking(False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(
        self, *args: str, workers: int = 1, patch: str = "", wait: bool = True, **variables: str
    ) -> AbstractAsyncContextManager[Running]:
        """Run the service. `patch` is Python that it runs first."""
        fds = [queue.fileno() for queue in self._queues]
        variables |= {"FDS": " ".join(map(str, fds)), "NOTIFY_SOCKET": str(self._runtime / "notify")}
        program = ("-c", ACTIVATED.format(patch=patch))
        return serving(self._runtime, *args, workers=workers, wait=wait, program=program, fds=fds, **variables)

    async def heard(self, wanted: str) -> None:
        """Wait until the service has said this."""
        async with asyncio.timeout(LIMIT), self._news:
            await self._news.wait_for(lambda: wanted in self.notified)

    async def listen(self) -> None:
        while True:
            said = await asyncio.get_running_loop().sock_recv(self._notify, 4096)
            async with self._news:
                self.notified += said.decode().splitlines()
                self._news.notify_all()

    def close(self) -> None:
        for sock in (self._notify, *self._queues):
            sock.close()


@contextlib.asynccontextmanager
async def activation(runtime: Path, queues: int) -> AsyncIterator[Activation]:
    found = Activation(runtime, queues)
    listening = asyncio.create_task(found.listen())
    try:
        yield found
    finally:
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
        found.close()
