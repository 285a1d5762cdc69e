"""Serves one app of apps.py as the server serves itself: uvicorn, uvloop, httptools, a SO_REUSEPORT socket per worker.

python -P host.py APP WORKERS; says on stderr where it listens, in the server's own words. Runs in the interpreter of
the app, so it may import nothing but uvicorn.
"""

import ctypes
import importlib
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import uvicorn

PR_SET_PDEATHSIG = 1


class Server(uvicorn.Server):
    """uvicorn, telling when it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        say("worker listens")


def say(message: str, **fields: Any) -> None:
    line = json.dumps({"message": message, **fields}) + "\n"
    os.write(2, line.encode())  # one write: the workers share this file


def listen(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(2048)
    return sock


def serve(name: str, sock: socket.socket) -> None:
    app = getattr(importlib.import_module("apps"), name)()
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=2048,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=2,
    )
    Server(config).run([sock])


def main(name: str, workers: int) -> None:
    first = listen(0)
    port = first.getsockname()[1]
    sockets = [first, *(listen(port) for _ in range(workers - 1))]
    say("listening", address=f"127.0.0.1:{port}")
    if workers == 1:
        serve(name, first)
        return
    children = []
    for sock in sockets:
        child = os.fork()
        if not child:
            # A host that is killed takes its workers along.
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            for other in sockets:
                if other is not sock:
                    other.close()
            serve(name, sock)
            os._exit(0)
        children.append(child)
    for sock in sockets:
        sock.close()

    def stop(*_: object) -> None:
        for child in children:
            os.kill(child, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parent))
    main(sys.argv[1], int(sys.argv[2]))
