"""What `doris-mcp-server config` shows: for scripts as JSON, for people in words. Never a secret."""

import contextlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from doris_mcp_server import ctl
from doris_mcp_server.centre import Centre, Version, changes
from doris_mcp_server.config import ENVIRONMENT, Settings, given, unknown
from doris_mcp_server.errors import ServerError
from doris_mcp_server.overrides import HOT, OWN, is_hot
from doris_mcp_server.registry import Member, members
from doris_mcp_server.state import Store

Shown = dict[str, Any]


def as_json(version: Version) -> Shown:
    return {
        "version": version.number,
        "author": version.author,
        "comment": version.comment,
        "at": datetime.fromtimestamp(version.at, UTC).isoformat(timespec="seconds") if version.number else None,
        "values": dict(version.values),
    }


def differences(before: Version, after: Version) -> Shown:
    """What is set differently: null where it is not set."""
    names = changes(before.values, after.values)
    return {
        "from": before.number,
        "to": after.number,
        "changes": {name: [before.values.get(name), after.values.get(name)] for name in names},
    }


def settings_and_sources(environ: Mapping[str, str], newest: Version, name: str | None) -> Shown:
    """Every setting, or one, with its value here and its source. Raises ConfigError for an unknown setting name."""
    if name is not None and name not in ENVIRONMENT:
        raise unknown(name)
    values, source = given(None, environ)
    shown = []
    for main in dict.fromkeys(variable.name for variable in ENVIRONMENT.values()):
        field, secret, _ = ENVIRONMENT[main]
        if name is not None and ENVIRONMENT[name].field != field:
            continue
        text, came_from = _default(field), "default"
        if field in values:
            text, came_from = values[field], source[field]
        if main in newest.values:
            text, came_from = newest.values[main], f"version {newest.number}"
        if secret:
            text = "(set)" if field in values else ""
        shown.append({"name": main, "value": text, "source": came_from, "reach": _reach(field, secret)})
    return {"version": newest.number, "settings": shown}


def _default(field: str) -> str:
    default = Settings.model_fields[field].get_default(call_default_factory=True)
    return ",".join(map(str, default)) if isinstance(default, tuple) else "" if default is None else str(default)


def _reach(field: str, secret: bool) -> str:
    if secret:
        return "secret"
    return "hot" if field in HOT else "host" if field in OWN else "restart"


async def hosts(settings: Settings, centre: Centre, store: Store) -> Shown:
    """The newest version, and how far each host is: what is in force there, and what waits for a restart.

    Hosts are those that say in the store that they serve, and this one.
    """
    newest = await centre.newest()
    found = _in_force(await members(store))
    with contextlib.suppress(ServerError):  # no server runs here
        status = await ctl.ask(settings.ctl_socket or ctl.DEFAULT_SOCKET, {"do": "status"})
        if (here := status.get("settings")) is not None:
            found[status["node"]] = here["version"], here["started"]
    shown = []
    for node, (version, started) in sorted(found.items()):
        began = newest if started == newest.number else await centre.get(started)
        pending = None if began is None else [n for n in changes(began.values, newest.values) if not is_hot(n)]
        shown.append({"node": node, "version": version, "started": started, "needs_restart": pending})
    return {**as_json(newest), "hosts": shown}


def _in_force(workers: list[Member]) -> dict[str, tuple[int, int]]:
    """By host: the lowest version in force on a worker, and the lowest one began with. Some say nothing of it."""
    found: dict[str, tuple[int, int]] = {}
    for worker in workers:
        version, started = worker.settings, worker.settings_started
        if version is not None and started is not None:
            before = found.get(worker.node, (version, started))
            found[worker.node] = min(before[0], version), min(before[1], started)
    return found


# -- in words ------------------------------------------------------------------------------------------------


def in_words(action: str, shown: Shown) -> str:
    return _WORDS[action](shown)


def _settings(shown: Shown) -> str:
    width = max(len(each["name"]) for each in shown["settings"])
    return "\n".join(
        f"{each['name']:{width}}  {each['value'] or '-'}  ({each['source']}; {_REACHES[each['reach']]})"
        for each in shown["settings"]
    )


def _differences(shown: Shown) -> str:
    lines = []
    for name, (before, after) in shown["changes"].items():
        lines += [f"- {name}={before}"] if before is not None else []
        lines += [f"+ {name}={after}"] if after is not None else []
    return "\n".join(lines) or f"versions {shown['from']} and {shown['to']} set the same"


def _history(shown: Shown) -> str:
    lines = []
    before: Shown = {"values": {}}
    for each in shown["versions"]:
        lines.append(f"{_version(each)}  {', '.join(changes(before['values'], each['values'])) or '-'}")
        before = each
    return "\n".join(reversed(lines)) or "nothing was ever set here"


def _version(shown: Shown) -> str:
    return f"{shown['version']}  {shown['at']}  {shown['author']}: {shown['comment']}"


def _written(shown: Shown) -> str:
    if not shown["changes"]:
        return f"that is what version {shown['version']} sets already: nothing was changed"
    lines = [_version(shown) if shown["written"] else "not written (--dry-run)", _differences(shown)]
    if shown["needs_restart"]:
        lines.append(f"needs a restart (`ctl reload` or the play rolling_restart): {', '.join(shown['needs_restart'])}")
    return "\n".join(lines)


def _heard(shown: Shown) -> str:
    return f"{_version(shown)}\n{_differences(shown)}" if shown["version"] else "nothing was ever set here"


def _hosts(shown: Shown) -> str:
    lines = [_version(shown) if shown["version"] else "nothing was ever set here"]
    for host in shown["hosts"]:
        pending = host["needs_restart"]
        waits = f"began with version {host['started']}, which is not kept" if pending is None else ", ".join(pending)
        lines.append(f"{host['node']}: version {host['version']}" + (f", needs a restart: {waits}" if waits else ""))
    return "\n".join(lines)


_REACHES: Final = {
    "hot": "takes effect at once",
    "restart": "needs a restart",
    "host": "each host's own",
    "secret": "secret, each host's own",
}
_WORDS: Final[dict[str, Callable[[Shown], str]]] = {
    "get": _settings,
    "diff": _differences,
    "history": _history,
    "set": _written,
    "watch": _heard,
    "status": _hosts,
}
