"""Where the server listens: sockets that systemd holds, else one per worker, bound here.

Those of systemd keep their queues over a restart. One per worker (SO_REUSEPORT), because a shared accept queue does
not spread connections evenly.
"""

import logging
import os
import socket

from doris_mcp_server.config import Settings
from doris_mcp_server.errors import ConfigError
from doris_mcp_server.observe import event


def listening_sockets(settings: Settings) -> list[socket.socket]:
    """Sockets from systemd when it passed any, else one per worker on host and port.

    Raises: ConfigError when the address is in use or not ours.
    """
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        count = int(os.environ["LISTEN_FDS"])
        return [socket.socket(fileno=3 + index) for index in range(count)]
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    port = settings.port
    try:
        # SO_REUSEPORT would let a second server join an address in use without a word: probe without it first.
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.host, port))
            probe.listen(1)
        sockets = []
        for _ in range(settings.worker_count):
            sock = socket.socket(family)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind((settings.host, port))
            sock.listen(2048)
            port = sock.getsockname()[1]
            sockets.append(sock)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {settings.host}:{port}: {error.strerror}",
            hint=f"see who holds it with: ss -ltnp 'sport = :{port}'; or choose another --port",
        ) from None
    return sockets


def shared_out(sockets: list[socket.socket], workers: int) -> list[list[socket.socket]]:
    """The sockets each of so many workers serves: every worker has one, and no socket is left unserved.

    systemd hands over as many as its socket unit says, which need not be as many as there are workers: WORKERS was
    changed and the socket unit not restarted yet, or it was written with one line for all.
    """
    if len(sockets) != workers:
        event(
            "sockets and workers differ in number",
            level=logging.WARNING,
            sockets=len(sockets),
            workers=workers,
            hint="one ListenStream= a worker spreads connections evenly; restart the socket unit after a change",
        )
    return [sockets[slot::workers] or [sockets[slot % len(sockets)]] for slot in range(workers)]
