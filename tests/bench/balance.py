"""How evenly nginx' kept-alive connections load the workers: what each of them served."""

import getpass
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ..ports import free_port
from .calls import ECHO, LIST, Target
from .databases import listens, running
from .load import connected
from .systems import TOKEN, Running, System, started

LIMIT = 30.0  # seconds until the workers have told what they served
# As templates/nginx has it where it matters here: kept-alive connections, the least busy member, one zone for all
# processes of nginx.
_CONF = """
daemon off;
user {user};
pid {folder}/nginx.pid;
error_log stderr warn;
worker_processes auto;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    upstream doris_mcp {{
        zone doris_mcp 128k;
        least_conn;
        server 127.0.0.1:{member};
        keepalive 32;
        keepalive_requests 64;
        keepalive_timeout 60s;
    }}
    server {{
        listen 127.0.0.1:{port};
        location = /mcp {{
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_buffering off;
            proxy_pass http://doris_mcp;
        }}
    }}
}}
"""


def balance(system: System, nginx: Path, folder: Path, *, workers: int, clients: int, requests: int) -> dict[str, Any]:
    """One run through a fresh server and a fresh nginx: what each worker served, the busiest over the mean."""
    with started(system, workers, folder / "server") as server:
        port = free_port()
        conf = folder / "nginx.conf"
        values = {"user": getpass.getuser(), "folder": folder, "member": server.target.port, "port": port}
        conf.write_text(_CONF.format(**values), encoding="utf-8")
        before = _served(server)
        with running([str(nginx), "-p", str(folder), "-c", str(conf)], folder / "nginx.log") as process:
            listens(port, process)
            target = Target(port, TOKEN, system.paths)
            call = system.call(ECHO.name) or LIST
            with connected(target, call, "modern", clients) as load:
                outcome = load.run(requests=requests)
        after = _served(server, sum(before.values()) + requests)
    served = sorted((count - before.get(pid, 0) for pid, count in after.items()), reverse=True)
    return {
        "workers": workers,
        "clients": clients,
        "requests": requests,
        "served": served,
        "busiest_over_mean": round(max(served) / (sum(served) / len(served)), 3) if sum(served) else 0,
        "errors": outcome.errors.total(),
    }


def _served(server: Running, total: int = 0) -> dict[int, int]:
    """Requests each worker let in, by its pid, once they are `total` in all: the workers tell once a second."""
    command = [sys.executable, "-m", "doris_mcp_server", "ctl", "--socket", str(server.folder / "ctl.sock")]
    until = time.monotonic() + LIMIT
    while True:
        told = subprocess.run([*command, "status", "--json"], capture_output=True, check=True).stdout
        found = {worker["pid"]: worker["served"] for worker in json.loads(told)["workers"]}
        if sum(found.values()) >= total or time.monotonic() > until:
            return found
        time.sleep(0.2)  # until the next look
