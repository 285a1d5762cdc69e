"""Ports for servers that cannot be told to take one of their own choice."""

import contextlib
import random
import socket


def free_port() -> int:
    """A port of loopback that nobody has, and that the kernel gives to no connection meanwhile."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
