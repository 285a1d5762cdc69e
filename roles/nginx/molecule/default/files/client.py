"""Asks the balancer the way its clients do and says what came back, as one JSON object.

usage: client.py load COUNT     COUNT requests over four keep-alive connections, each checked against its answer
       client.py ask METHOD PATH
       client.py edge           the single questions of the edge
       client.py tls CA PORT    one request over TLS, and where plain HTTP leads
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HOST = "doris-mcp.example"
METADATA = "/.well-known/oauth-protected-resource"
PATHS = (
    *("/health", "/readyz", "/livez", METADATA, f"{METADATA}/mcp", "/.well-known/jwks.json"),
    *("/.well-known/oauth-authorization-server", "/oauth/authorize", "/oauth/token"),
    *(f"{METADATA}/admin", "/.well-known/openid-configuration", "/metrics", "/", "/mcp/../metrics", "/admin", "/oauth"),
)


def load(count: int) -> dict[str, object]:
    def one_connection(worker: int) -> tuple[list[str], dict[str, int], int]:
        connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=10)
        connection.connect()
        opened, sock = 1, connection.sock
        wrong: list[str] = []
        by: dict[str, int] = {}
        for n in range(count // 4):
            mark = f"{worker}-{n}"
            method = ("POST", "GET")[n % 4 == 3]
            connection.request(method, "/mcp", mark if method == "POST" else None, {"Host": HOST, "X-Mark": mark})
            response = connection.getresponse()
            text = response.read()
            if connection.sock is not sock:
                opened, sock = opened + 1, connection.sock
            seen = json.loads(text) if response.status == 200 else {}
            if seen.get("headers", {}).get("X-Mark") != mark or seen["body"] != (mark if method == "POST" else ""):
                wrong.append(f"{method} {mark}: {response.status} {text[:80]!r}")
            else:
                by[seen["name"]] = by.get(seen["name"], 0) + 1
        return wrong, by, opened

    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(one_connection, range(4)))
    by: dict[str, int] = {}
    for _, part, _ in parts:
        for name, number in part.items():
            by[name] = by.get(name, 0) + number
    wrong = [w for part in parts for w in part[0]]
    return {"asked": count // 4 * 4, "wrong": wrong, "by": by, "connections": sum(p[2] for p in parts)}


def ask(method: str, path: str, body: str | None = None, **headers: str) -> dict[str, object]:
    connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=15)
    connection.request(method, path, body, {"Host": HOST} | {k.replace("_", "-"): v for k, v in headers.items()})
    response = connection.getresponse()
    text = response.read().decode()
    try:
        content = json.loads(text)
    except ValueError:
        content = text
    return {"status": response.status, "headers": {k.lower(): v for k, v in response.headers.items()}, "body": content}


def raw(data: bytes) -> str:
    """The status line of whatever answers `data`."""
    with socket.create_connection(("127.0.0.1", 80), timeout=10) as sock:
        sock.sendall(data)
        return sock.recv(4096).split(b"\r\n")[0].decode()


def stream() -> dict[str, object]:
    """Both halves of a stream; the member sends the second only once the first has been seen here."""
    seen = Path("/run/stream-seen")
    seen.unlink(missing_ok=True)
    connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=5)
    connection.request("POST", "/mcp", "stream", {"Host": HOST})
    response = connection.getresponse()
    first = response.readline().decode().strip()
    seen.touch()
    return {"first": first, "rest": response.read().decode().strip()}


def edge() -> dict[str, object]:
    head = f"POST /mcp HTTP/1.1\r\nHost: {HOST}\r\n".encode()
    return {
        "paths": {p: ask("GET", p)["status"] for p in PATHS},
        "spoof": ask("POST", "/mcp", "x", X_Forwarded_For="203.0.113.9", X_Real_IP="203.0.113.9",
                     X_Forwarded_Proto="https", Forwarded="for=203.0.113.9", X_Request_ID="caller-0001"),
        "odd_request_id": ask("GET", "/livez", X_Request_ID="two words\t{}"),
        "smuggle": raw(head + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        "two_hosts": raw(b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        "big_header": raw(head + b"X-Big: " + b"a" * 200_000 + b"\r\n\r\n"),
        "big_body": raw(head + b"Content-Length: 9000000\r\n\r\n"),
        "stream": stream(),
    }  # fmt: skip


def tls(ca: str, port: int) -> dict[str, object]:
    context = ssl.create_default_context(cafile=ca)
    secure = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
    # The certificate is for the service's name, not for the loopback address we reach it at.
    plain_socket = socket.create_connection(("127.0.0.1", port), timeout=10)
    secure.sock = context.wrap_socket(plain_socket, server_hostname=HOST)
    version = secure.sock.version()
    secure.request("POST", "/mcp", "over tls", {"Host": HOST})
    answer = json.loads(secure.getresponse().read())
    plain = ask("POST", "/mcp?x=1", "over tls")
    return {"version": version, "proto": answer["headers"]["X-Forwarded-Proto"], "body": answer["body"],
            "plain": plain["status"], "location": plain["headers"].get("location")}  # fmt: skip


match sys.argv[1:]:
    case ["load", number]:
        print(json.dumps(load(int(number))))
    case ["edge"]:
        print(json.dumps(edge()))
    case ["ask", verb, path]:
        print(json.dumps(ask(verb, path)))
    case ["tls", ca, port]:
        print(json.dumps(tls(ca, int(port))))
