"""The embedded demo engine: a Doris-compatible endpoint (MySQL protocol on DuckDB) for trying and testing.

It stands beside the server, never inside it: the server reaches it as it reaches Doris. What it needs (duckdb,
mysql-mimic) comes with the `sandbox` extra and is imported when it runs, not before.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from doris_mcp_server.errors import ConfigError
from doris_mcp_server.observe import configure_logging, notify_systemd
from doris_mcp_server.sandbox.options import Options
from doris_mcp_server.sandbox.versions import LATEST, VERSIONS

if TYPE_CHECKING:
    from doris_mcp_server.sandbox.endpoint import Sandbox

DEFAULT_ROWS = 60_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the `sandbox` command; `run` takes what they parse to."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=9030, help="port to listen on (9030); 0 takes a free one")
    parser.add_argument(
        "--http-port", type=int, metavar="N", help="serve a frontend's HTTP pages as well; 0: a free port"
    )
    parser.add_argument("--user", default="root", help="the user who may do everything (root)")
    parser.add_argument(
        "--password-file", type=Path, metavar="FILE", help="file with the password; without it, empty (loopback only)"
    )
    parser.add_argument(
        "--accounts", type=Path, metavar="FILE", help='more users: [{"user": …, "password_file": …, "grants": […]}]'
    )
    parser.add_argument(
        "--doris-version", choices=VERSIONS, default=LATEST.name, help=f"line of Doris to look like ({LATEST.name})"
    )
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain (PEM): offer TLS")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its key (PEM)")
    parser.add_argument("--require-tls", action="store_true", help="refuse logins without TLS")
    parser.add_argument("--rows", type=int, default=DEFAULT_ROWS, help=f"rows of the fact table ({DEFAULT_ROWS})")
    parser.add_argument(
        "--ready-fd", type=int, metavar="N", help='write {"port": N, "http_port": N} to this descriptor when ready'
    )
    parser.add_argument("--exit-with-parent", action="store_true", help="end when stdin is closed")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT. Exit code: 0 stopped, 1 the port cannot be had. Raises ConfigError."""
    require_extra()
    if not 1 <= args.rows <= 50_000_000:
        raise ConfigError(f"--rows {args.rows} is out of bounds", hint="give 1 to 50000000")
    password = _password(args.password_file)
    options = Options(args.doris_version, args.accounts, args.tls_cert, args.tls_key, args.require_tls, args.http_port)
    configure_logging(os.environ.get("LOG_LEVEL", "INFO").upper())

    import uvloop

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(args, password, options))
    except OSError as e:
        ports = f"{args.port}" if args.http_port is None else f"{args.port} and {args.http_port}"
        words = f"cannot listen on {args.host}:{ports}: {e.strerror or e}"
        print(f"doris-mcp-server: {words}; stop what listens there or give another --port", file=sys.stderr)
        return 1
    return 0


async def start(
    host: str, port: int, user: str, password: str, rows: int, *, options: Options | None = None
) -> "Sandbox":
    """Start a demo engine in this process; `.port` and `.http_port` tell where, `await .close()` ends it.

    Raises ConfigError without the `sandbox` extra, for an empty password off loopback and for a bad file, OSError
    for a taken port.
    """
    require_extra()
    from doris_mcp_server.sandbox import accounts, endpoint, login, tls

    given = options or Options()
    admitted = {user: accounts.Account(user, password)}
    for account in accounts.load(given.accounts) if given.accounts else ():
        if account.name == user:
            raise ConfigError(f"--accounts {given.accounts}: {user} is the user of --user", hint="name another one")
        admitted[account.name] = account
    context = tls.context(given.tls_cert, given.tls_key) if given.tls_cert and given.tls_key else None
    door = login.Door(admitted, context, given.require_tls)
    return await endpoint.start(host, port, rows, VERSIONS[given.version], door, given.http_port)


def require_extra() -> None:
    """Raise ConfigError when what the demo engine needs is not installed."""
    try:
        import duckdb  # noqa: F401
        import mysql_mimic  # noqa: F401
    except ImportError as e:
        raise ConfigError(
            f"the demo engine is not installed ({e.name} is missing)",
            hint="pip install 'doris-mcp-server[sandbox]'",
        ) from None


def _password(file: Path | None) -> str:
    from doris_mcp_server.sandbox.accounts import read_password

    if file is None:
        return ""
    try:
        return read_password(file)
    except (OSError, ValueError) as e:
        reason = e.strerror if isinstance(e, OSError) else "it is not UTF-8"
        raise ConfigError(f"--password-file {file}: {reason}", hint="give a file this user can read") from None


async def _serve(args: argparse.Namespace, password: str, options: Options) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if args.exit_with_parent:
        loop.add_reader(sys.stdin.fileno(), _at_end, stop)
    sandbox = await start(args.host, args.port, args.user, password, args.rows, options=options)
    try:
        if args.ready_fd is not None:
            with os.fdopen(args.ready_fd, "w") as ready:
                ready.write(json.dumps({"port": sandbox.port, "http_port": sandbox.http_port}) + "\n")
        notify_systemd("READY=1")
        await stop.wait()
    finally:
        notify_systemd("STOPPING=1")
        await sandbox.close()


def _at_end(stop: asyncio.Event) -> None:
    """Called when stdin can be read: at its end, the parent is gone."""
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stop.set()
