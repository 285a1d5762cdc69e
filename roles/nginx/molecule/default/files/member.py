"""A server behind the balancer: says who it is and what reached it; answers 503 while /run/drain-<name> exists.

usage: member.py NAME PORT
"""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NAME, PORT = sys.argv[1], int(sys.argv[2])
DRAIN = Path(f"/run/drain-{NAME}")
DIE = Path("/run/die-on-delete")


class Member(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        draining = DRAIN.exists()
        if self.command == "DELETE" and DIE.exists():
            # The connection breaks after the work began: was it done?
            with Path("/run/deletes").open("a") as log:
                log.write(f"{NAME}\n")
            self.close_connection = True
            return
        if self.path == "/mcp" and body == "stream":
            self.stream()
            return
        seen = {"name": NAME, "body": body, "method": self.command, "headers": dict(self.headers.items())}
        out = json.dumps({"error": "draining"} if draining else seen).encode()
        self.send_response(503 if draining else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(out)))
        self.send_header("x-served-by", NAME)
        if draining:
            self.send_header("Retry-After", "1")
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(out)

    def stream(self) -> None:
        """Two events, the second only when the client has acknowledged the first by /run/stream-seen."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.close_connection = True
        self.end_headers()
        self.wfile.write(b"data: first\n\n")
        deadline = time.monotonic() + 10
        while not Path("/run/stream-seen").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        self.wfile.write(b"data: second\n\n")

    do_GET = do_POST = do_DELETE = do_PUT = answer

    def log_message(self, *args: object) -> None:
        pass


ThreadingHTTPServer(("127.0.0.1", PORT), Member).serve_forever()
