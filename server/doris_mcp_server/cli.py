"""The command line: what was asked → settings → the part that does it. Errors are one line with the fix."""

import argparse
import asyncio
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doris_mcp_server import RELEASE, __version__, ctl
from doris_mcp_server.errors import ConfigError, ServerError

if TYPE_CHECKING:
    from doris_mcp_server.config import Settings

# Each command imports what it needs: `ctl`, asked for each second by a roll, needs next to nothing.

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(text: str) -> float:
    """`90`, `90s`, `15m`, `12h` or `90d` as seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration; write 90s, 15m, 12h or 90d")
    return float(match[1]) * _UNITS[match[2]]


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="doris-mcp-server",
        description="Serve Apache Doris to AI agents over MCP. Without a command: serve.",
    )
    top.add_argument("--version", action="version", version=f"doris-mcp-server {__version__} (release {RELEASE})")
    _serve_arguments(top)
    commands = top.add_subparsers(dest="command", metavar="COMMAND")

    serve = commands.add_parser("serve", help="serve MCP over stdio or HTTP (the default)")
    _serve_arguments(serve)

    check = commands.add_parser("check-config", help="check the settings as serve would, and say what is wrong")
    _serve_arguments(check)
    check.add_argument("--env-file", help="read variables from this systemd EnvironmentFile too")

    sandbox = commands.add_parser("sandbox", help="a Doris-compatible demo engine (DuckDB), for trying and testing")
    _sandbox_arguments(sandbox)

    control = commands.add_parser("ctl", help="drain, undrain, look at or reload the server on this host")
    control.add_argument("--socket", default=os.environ.get("DORIS_MCP_CTL_SOCKET") or ctl.DEFAULT_SOCKET)
    verbs = control.add_subparsers(dest="verb", required=True)
    drain = verbs.add_parser("drain", help="let no request in until the lease ends, or undrain")
    drain.add_argument("--for", dest="seconds", type=duration, default=120.0, metavar="120s", help="lease (1s to 1h)")
    drain.add_argument("--wait", type=duration, metavar="30s", help="wait until nothing is in flight; exit 3 if not")
    verbs.add_parser("undrain", help="serve again")
    verbs.add_parser("reload", help="replace each worker, the new one first")
    for verb in (*verbs.choices.values(), verbs.add_parser("status", help="what this host is doing")):
        verb.add_argument("--json", action="store_true", help="for scripts")

    token = commands.add_parser("token", help="issue, list, show, rotate and revoke bearer tokens")
    actions = token.add_subparsers(dest="action", required=True)
    issue = actions.add_parser("issue", help="make a token; it is shown once")
    issue.add_argument("--name", required=True, help="whose token this is")
    issue.add_argument("--scopes", help="comma list; default: all")
    issue.add_argument("--ttl", type=duration, metavar="90d", help="until it expires; default: never, with --jwt 1h")
    issue.add_argument("--jwt", action="store_true", help="a signed token, which no store is asked about")
    issue.add_argument("--doris-user", help="bind it to this Doris account")
    issue.add_argument("--doris-password-file", metavar="FILE", help="file with the account's password; default: none")
    issue.add_argument("--doris-database", help="the account's database when a caller names none")
    issue.add_argument("--cluster", help="where the account is; default: the default cluster")
    actions.add_parser("list", help="all tokens that are valid, and when they were used last")
    actions.add_parser("show", help="one token").add_argument("id")
    renew = actions.add_parser("rotate", help="make a new token for the same holder; the old one ends after a while")
    renew.add_argument("id")
    renew.add_argument(
        "--overlap", type=duration, default=3600.0, metavar="1h", help="how long the old one is good (1h)"
    )
    actions.add_parser("revoke", help="end a token, everywhere and for good").add_argument("id")
    keys = commands.add_parser("keys", help="list and rotate the keys that all hosts share")
    deeds = keys.add_subparsers(dest="action", required=True)
    deeds.add_parser("list", help="all keys: next, current, previous, gone")
    rotate = deeds.add_parser("rotate", help="publish a new key, which takes over a while later")
    rotate.add_argument("--anew", action="store_true", help="even if the store's keys cannot be read: forget those")
    adopt = deeds.add_parser("adopt", help="the same with the keys of DORIS_MCP_KEYS")
    for deed in (rotate, adopt):
        deed.add_argument("--delay", type=duration, metavar="90s", help="until it takes over (90s)")
        deed.add_argument(
            "--overlap", type=duration, metavar="24h", help="how long the one before opens (the longest session)"
        )
    deeds.add_parser("retire", help="drop a previous key: what it sealed opens no more").add_argument("id")
    for action in (*actions.choices.values(), *deeds.choices.values()):
        action.add_argument("--json", action="store_true", help="for scripts")
        action.add_argument("--env-file", help="the service's environment: /etc/doris-mcp/doris-mcp.env")

    smoke = commands.add_parser("smoke", help="prove one host with a real MCP query")
    smoke.add_argument("--url", required=True, help="http://127.0.0.1:3000/mcp")
    smoke.add_argument("--token-file", help="file with the bearer token")
    smoke.add_argument("--timeout", type=duration, default=15.0, metavar="15s")
    smoke.add_argument("--queries", type=int, default=0, help="how many more, to say how quick the host is (0)")
    smoke.add_argument("--json", action="store_true", help="for scripts")

    commands.add_parser("guard", help="what the SQL guard says to statements on stdin, JSON lines in and out")

    version = commands.add_parser("version", help="version and release")
    version.add_argument("--json", action="store_true", help="for scripts")
    return top


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
    # SUPPRESS: the same flags stand before and after `serve`; a default of the inner must not undo the outer.
    none: Any = argparse.SUPPRESS
    parser.add_argument("--transport", choices=("http", "stdio"), default=none, help="default: stdio")
    parser.add_argument("--host", default=none, help="address to listen on (SERVER_HOST, default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=none, help="port to listen on (SERVER_PORT, default 3000)")
    parser.add_argument("--workers", type=int, default=none, help="worker processes; 0: one a CPU (WORKERS)")
    parser.add_argument("--sandbox", action="store_true", default=none, help="start the demo engine and serve that")


def _sandbox_arguments(parser: argparse.ArgumentParser) -> None:
    from doris_mcp_server import sandbox

    sandbox.add_arguments(parser)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Exit code: 0 done, 1 failed, 2 wrong usage or settings, 3 still in flight."""
    args = parser().parse_args(argv)
    try:
        return _COMMANDS[args.command or "serve"](args)
    except ConfigError as error:
        return _complain(error, 2)
    except ServerError as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        return 130


def _complain(error: ServerError, code: int) -> int:
    print(f"doris-mcp-server: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"  fix: {error.hint}", file=sys.stderr)
    return code


def _flags(args: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(args, name) for name in ("transport", "host", "port", "workers") if hasattr(args, name)}


def _serve(args: argparse.Namespace) -> int:
    from doris_mcp_server.config import load
    from doris_mcp_server.observe import configure_logging

    settings = load(_flags(args))
    configure_logging(settings.log_level)
    if getattr(args, "sandbox", False):
        from doris_mcp_server.sandbox import beside

        with beside.beside() as (port, http_port):
            demo = {"doris_host": beside.HOST, "doris_port": port, "doris_user": beside.USER, "doris_password": ""}
            demo["fe_http_port"] = http_port
            return _run(settings.model_copy(update={**demo, "doris_database": beside.DATABASE, "clusters": ()}))
    return _run(settings)


def _run(settings: "Settings") -> int:
    if settings.transport == "stdio":
        from doris_mcp_server import stdio

        stdio.serve(settings)
    from doris_mcp_server import process

    return process.serve(settings)


def _check_config(args: argparse.Namespace) -> int:
    from doris_mcp_server.config import load

    settings = load(_flags(args), _environment(args))
    print(
        f"settings are good: {settings.transport} on {settings.host}:{settings.port}, {settings.worker_count} workers"
    )
    return 0


def _environment(args: argparse.Namespace) -> dict[str, str]:
    """This process' environment over the service's file, so that a command sees what the service sees.

    The service's credentials lie in the folder `credentials` beside that file.
    """
    if not args.env_file:
        return dict(os.environ)
    from doris_mcp_server.config import read_env_file

    beside = {"CREDENTIALS_DIRECTORY": str(Path(args.env_file).parent / "credentials")}
    return {**beside, **read_env_file(args.env_file), **os.environ}


def _sandbox(args: argparse.Namespace) -> int:
    from doris_mcp_server import sandbox

    return sandbox.run(args)


def _ctl(args: argparse.Namespace) -> int:
    request: dict[str, Any] = {"do": args.verb}
    if args.verb == "drain":
        request["for"] = args.seconds
    status = asyncio.run(ctl.ask(args.socket, request))
    if args.verb == "drain" and args.wait:
        status = asyncio.run(ctl.drained(args.socket, args.wait))
    print(json.dumps(status) if args.json else _in_words(status))
    return 3 if args.verb == "drain" and args.wait and status["inflight"] else 0


def _in_words(status: dict[str, Any]) -> str:
    able = bool(status["workers"]) and all(worker["ready"] for worker in status["workers"])
    lines = [
        f"{status['node']}: {status['state']}, {'ready' if able else 'not ready'}, "
        f"{status['inflight']} in flight, release {status['release']}"
    ]
    if keys := status["keys"]:
        lines.append(f"  key {keys['seals']} seals, ring {keys['ring']}")
    if status["drained_until"]:
        lines.append(f"  drained until {status['drained_until']}")
    lines += [f"  {reason}" for reason in status["reasons"]]
    return "\n".join(lines + [_worker_in_words(worker) for worker in (*status["workers"], *status["missing"])])


def _worker_in_words(worker: dict[str, Any]) -> str:
    line = "  no worker here just now"
    if "pid" in worker:
        line = (
            f"  worker {worker['pid']}: {worker['state']} for {worker['age_s']:.0f} s, "
            f"{worker['inflight']} in flight, {worker['streams']} streams, {worker['served']} served"
        )
    if worker.get("replaced"):
        line += f", replaced {worker['replaced']} times"
    if worker.get("crashes"):
        line += f", {worker['crashes']} crashes, last: {worker['last_exit']['reason']} at {worker['last_exit']['at']}"
    return line


def _token(args: argparse.Namespace) -> int:
    from doris_mcp_server import tokens
    from doris_mcp_server.config import load

    settings = load(environ=_environment(args), serving=False)
    return asyncio.run(tokens.run(args, settings))


def _keys(args: argparse.Namespace) -> int:
    from doris_mcp_server import locksmith
    from doris_mcp_server.config import load

    settings = load(environ=_environment(args), serving=False)
    return asyncio.run(locksmith.run(args, settings))


def _smoke(args: argparse.Namespace) -> int:
    from doris_mcp_server import smoke

    return asyncio.run(smoke.run(args.url, args.token_file, args.timeout, args.queries, args.json))


def _guard(args: argparse.Namespace) -> int:
    from doris_mcp_server import judge

    return judge.run(sys.stdin.buffer, sys.stdout)


def _version(args: argparse.Namespace) -> int:
    seen = {"version": __version__, "release": RELEASE}
    print(json.dumps(seen) if args.json else f"doris-mcp-server {__version__} (release {RELEASE})")
    return 0


_COMMANDS = {
    "serve": _serve,
    "check-config": _check_config,
    "sandbox": _sandbox,
    "ctl": _ctl,
    "token": _token,
    "keys": _keys,
    "smoke": _smoke,
    "guard": _guard,
    "version": _version,
}
