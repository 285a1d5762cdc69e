"""The command line: what was asked → settings → the part that does it. Errors are one line with the fix."""

import argparse
import asyncio
import importlib
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
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


def _doris_version(text: str) -> tuple[int, int, int]:
    """`3.0` or `3.0.4` as three numbers."""
    match = re.fullmatch(r"(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no version of Doris; write 3.0 or 3.0.4")
    return int(match[1]), int(match[2]), int(match[3] or 0)


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
    check.add_argument(
        "--ask-doris", action="store_true", help="ask Doris, too, whether the accounts may do more than read"
    )

    sandbox = commands.add_parser("sandbox", help="a Doris-compatible demo engine (DuckDB), for trying and testing")
    _sandbox_arguments(sandbox)

    control = commands.add_parser("ctl", help="drain, undrain, look at or reload the server on this host")
    control.add_argument("--socket", default=os.environ.get("DORIS_MCP_CTL_SOCKET") or ctl.DEFAULT_SOCKET)
    verbs = control.add_subparsers(dest="verb", required=True)
    drain = verbs.add_parser("drain", help="let no request in until the lease ends, or undrain")
    drain.add_argument("--for", dest="seconds", type=duration, default=120.0, metavar="120s", help="lease (1s to 1h)")
    drain.add_argument("--wait", type=duration, metavar="30s", help="wait until nothing is in flight; exit 3 if not")
    undrain = verbs.add_parser("undrain", help="serve again")
    for verb in (drain, undrain):
        verb.add_argument(
            "--by",
            default=os.environ.get("DORIS_MCP_CTL_BY") or ctl.person(os.environ),
            metavar="NAME",
            help="who does it: the person at the keyboard; play:… leaves alone what a person drained",
        )
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
    session = commands.add_parser("session", help="list and end the sessions of clients")
    sittings = session.add_subparsers(dest="action", required=True)
    listing = sittings.add_parser("list", help="sessions in use, once they are five seconds old")
    listing.add_argument("--principal", help="of this caller only")
    ending = sittings.add_parser("end", help="end one, or all of a caller, on every host")
    which = ending.add_mutually_exclusive_group(required=True)
    which.add_argument("id", nargs="?", help="as `session list` shows it")
    which.add_argument("--principal", help="all of this caller")
    fleet = commands.add_parser("fleet", help="who serves, on all hosts")
    for action in (*actions.choices.values(), *deeds.choices.values(), *sittings.choices.values(), fleet):
        action.add_argument("--json", action="store_true", help="for scripts")
        action.add_argument("--env-file", help="the service's environment: /etc/doris-mcp/doris-mcp.env")

    _config_arguments(commands.add_parser("config", help="the settings of a running fleet: look, change, take back"))

    smoke = commands.add_parser("smoke", help="prove one host with a real MCP query")
    smoke.add_argument("--url", required=True, help="http://127.0.0.1:3000/mcp")
    smoke.add_argument("--token-file", help="file with the bearer token")
    smoke.add_argument("--timeout", type=duration, default=15.0, metavar="15s")
    smoke.add_argument("--queries", type=int, default=0, help="how many more, to say how quick the host is (0)")
    smoke.add_argument("--json", action="store_true", help="for scripts")

    judging = commands.add_parser("guard", help="what the SQL guard says to statements on stdin, JSON lines in and out")
    judging.add_argument(
        "--doris", metavar="VERSION", type=_doris_version, help="the version of Doris, such as 3.0; left out: strictest"
    )
    judging.add_argument("--policy", action="store_true", help="print which functions and tables it refuses, and stop")

    version = commands.add_parser("version", help="version and release")
    version.add_argument("--json", action="store_true", help="for scripts")
    return top


def _config_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="action", required=True)
    get = verbs.add_parser("get", help="each setting, its value on this host and where that comes from")
    get.add_argument("name", nargs="?", metavar="NAME")
    change = verbs.add_parser("set", help="write a version: running workers have it within a second")
    change.add_argument("assignments", nargs="*", metavar="NAME=VALUE")
    change.add_argument("--unset", action="append", default=[], metavar="NAME", help="what the hosts say counts again")
    change.add_argument("--anew", action="store_true", help="even if the newest version cannot be read: forget it")
    rollback = verbs.add_parser("rollback", help="write a version that sets what an older one did")
    rollback.add_argument("number", type=int, metavar="N", help="0: nothing")
    for writes in (change, rollback):
        writes.add_argument("--comment", required=True, help="why; it stays in the history")
        writes.add_argument("--author", help="default: you, at this host")
        writes.add_argument("--if-version", type=int, metavar="N", help="only if that is the newest")
        writes.add_argument("--dry-run", action="store_true", help="check it, say what would change, write nothing")
    diff = verbs.add_parser("diff", help="what the newest version changed; or between two")
    diff.add_argument("first", nargs="?", type=int, metavar="A")
    diff.add_argument("second", nargs="?", type=int, metavar="B", help="default: the newest")
    verbs.add_parser("history", help="all versions that are kept, the newest first")
    verbs.add_parser("watch", help="print each version as it comes")
    verbs.add_parser("status", help="how far the hosts are, and which need a restart")
    for verb in verbs.choices.values():
        verb.add_argument("--json", action="store_true", help="for scripts")
        verb.add_argument("--env-file", help="the service's environment: /etc/doris-mcp/doris-mcp.env")


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
    _check_tools(settings)
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
    _check_tools(settings)
    print(
        f"settings are good: {settings.transport} on {settings.host}:{settings.port}, {settings.worker_count} workers"
    )
    if args.ask_doris:
        from doris_mcp_server import accounts

        asyncio.run(accounts.tell(settings, sys.stdout, sys.stderr))
    return 0


def _check_tools(settings: "Settings") -> None:
    if settings.disabled_tools:  # else nobody waits for the tools to be imported
        from doris_mcp_server.tools import check_disabled

        check_disabled(settings.disabled_tools)


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
    if args.verb in ("drain", "undrain"):
        request["by"] = args.by
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
    if (settings := status["settings"]) and settings["version"]:
        lines.append(f"  settings {settings['version']}, began with {settings['started']}")
    if status["drained_until"]:
        # The server that answers may be older than this command, while a release is replaced.
        by = f" by {status['drained_by']}" if status.get("drained_by") else ""
        lines.append(f"  drained until {status['drained_until']}{by}")
    lines += [f"  {reason}" for reason in status["reasons"]]
    for cluster, account in status.get("accounts", {}).items():
        if account["problem"]:
            lines += [f"  {cluster}: {account['problem']}", *(f"    fix: {fix}" for fix in account["fixes"])]
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


def _on_the_store(module: str) -> Callable[[argparse.Namespace], int]:
    """A command that looks at, or changes, what the fleet shares: `run` of that module."""

    def command(args: argparse.Namespace) -> int:
        from doris_mcp_server.config import load

        settings = load(environ=_environment(args), serving=False)
        code: int = asyncio.run(importlib.import_module(f"doris_mcp_server.{module}").run(args, settings))
        return code

    return command


def _config(args: argparse.Namespace) -> int:
    from doris_mcp_server import steward

    return asyncio.run(steward.run(args, _environment(args)))


def _smoke(args: argparse.Namespace) -> int:
    from doris_mcp_server import smoke

    return asyncio.run(smoke.run(args.url, args.token_file, args.timeout, args.queries, args.json))


def _guard(args: argparse.Namespace) -> int:
    from doris_mcp_server import judge

    if args.policy:
        print(json.dumps(judge.policy(), indent=2))
        return 0
    try:
        return judge.run(sys.stdin.buffer, sys.stdout, args.doris)
    except BrokenPipeError:  # the reader of the answers has gone: head, for one
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _version(args: argparse.Namespace) -> int:
    seen = {"version": __version__, "release": RELEASE}
    print(json.dumps(seen) if args.json else f"doris-mcp-server {__version__} (release {RELEASE})")
    return 0


_COMMANDS = {
    "serve": _serve,
    "check-config": _check_config,
    "sandbox": _sandbox,
    "ctl": _ctl,
    "token": _on_the_store("tokens"),
    "keys": _on_the_store("locksmith"),
    "config": _config,
    "session": _on_the_store("usher"),
    "fleet": _on_the_store("fleet"),
    "smoke": _smoke,
    "guard": _guard,
    "version": _version,
}
