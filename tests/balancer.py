"""The fleet's balancer on this machine: nginx as a process of the test's own, with the configuration of the role.

Only what the machine must keep for itself is changed in it: where it listens, and the paths it writes to.
"""

import asyncio
import contextlib
import getpass
import os
import re
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml

from .conftest import LIMIT
from .ports import free_port

ROOT = Path(__file__).parents[1]


@contextlib.asynccontextmanager
async def balancing(
    directory: Path, members: Sequence[int], *, in_turn: bool = False, **variables: Any
) -> AsyncIterator[int]:
    """The port of an nginx in front of `members`, which are ports of this machine. `variables` are the role's.

    `in_turn` asks the members strictly one after the other, so that no two requests of a client meet the same one.
    """
    port = free_port()
    config = directory / "nginx.conf"
    config.write_text(_rendered(directory, port, members, in_turn, variables), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *(_binary(), "-p", directory, "-e", directory / "error.log", "-c", config, "-g", "daemon off;"),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        await _listens(port, process)
        yield port
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(LIMIT):
            await process.communicate()


def _binary() -> str:
    found = shutil.which("nginx", path=f"/usr/sbin:{ROOT / '.cache/nginx/usr/sbin'}:{os.environ['PATH']}")
    assert found, "no nginx here: make deps-nginx"
    return found


def _rendered(directory: Path, port: int, members: Sequence[int], in_turn: bool, variables: dict[str, Any]) -> str:
    values = yaml.safe_load((ROOT / "roles/nginx/defaults/main.yml").read_text(encoding="utf-8"))
    values |= {
        "ansible_managed": "Rendered by a test",
        "__nginx_tls": False,
        "__nginx_leaving": directory / "leaving",
        "nginx_listen_port": f"127.0.0.1:{port}",
        "nginx_members": [{"name": f"member-{m}", "address": "127.0.0.1", "port": m} for m in members],
    }
    # As Ansible renders it.
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    template = environment.from_string((ROOT / "templates/nginx/nginx.conf.j2").read_text(encoding="utf-8"))
    text = template.render(values | variables)
    temporary = "".join(
        f"    {kind}_temp_path {directory}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    for line, instead in (
        (r"^user .*;$", f"user {getpass.getuser()};"),
        (r"^pid .*;$", f"pid {directory}/nginx.pid;"),
        (r"^error_log .*;$", f"error_log {directory}/error.log warn;"),
        (r"^( *access_log) \S+ (json;)$", rf"\1 {directory}/access.log \2"),
        (r"^worker_rlimit_nofile .*;$", ""),
        (r"^    worker_connections .*;$", "    worker_connections 512;"),
        (r"^http \{$", f"http {{\n{temporary}"),
        (r"^( *)least_conn;$", "" if in_turn else r"\1least_conn;"),
    ):
        text, found = re.subn(line, instead, text, flags=re.MULTILINE)
        assert found == 1, f"{line} stands {found} times in the rendered nginx.conf"
    return text


async def _listens(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(LIMIT):
        while True:
            if process.returncode is not None:
                assert process.stderr is not None
                raise AssertionError(f"nginx ended: {(await process.stderr.read()).decode()}")
            with contextlib.suppress(ConnectionRefusedError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await writer.wait_closed()
                return
            await asyncio.sleep(0.02)
