"""`doris-mcp-server config …`: what an operator does with the settings of a running fleet.

Everything is checked before it is written, against the same model as the settings of a server. What is refused
changes nothing.
"""

import argparse
import asyncio
import getpass
import json
import os
import socket
import time
from collections.abc import Mapping

from doris_mcp_server import tools
from doris_mcp_server.centre import NOTHING, Centre, Version, changes
from doris_mcp_server.centre.follower import POLL
from doris_mcp_server.config import Settings, load
from doris_mcp_server.errors import ConfigError, ServerError, SettingsUnreadable
from doris_mcp_server.ledger import as_json, differences, hosts, in_words, settings_and_sources
from doris_mcp_server.overrides import is_hot, main_name, overridden
from doris_mcp_server.shared import Shared, opened
from doris_mcp_server.state.bus import LISTENING, SETTINGS_WRITTEN, Bell

WORDS_LIMIT = 500  # characters of a comment or an author


async def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Do what was asked and print what came of it. Exit code 0.

    Raises: ConfigError for what is invalid, ServerError when somebody else was first; nothing was changed then.
    """
    base = load(environ=environ, serving=False)
    async with opened(base, "the settings of the fleet", sealed=True) as shared:
        centre = Centre(shared.store, base.token_key)
        match args.action:
            case "set":
                return await _set(args, base, centre, shared)
            case "rollback":
                return await _roll_back(args, base, centre, shared)
            case "watch":
                return await _watch(args, centre, shared)
            case "get":
                shown = settings_and_sources(environ, await centre.newest(), args.name)
            case "diff":
                shown = differences(*await _two(args, centre))
            case "history":
                shown = {"versions": [as_json(version) for version in await centre.history()]}
            case _:
                shown = await hosts(base, centre, shared.store)
    print(json.dumps(shown) if args.json else in_words(args.action, shown))
    return 0


async def _set(args: argparse.Namespace, base: Settings, centre: Centre, shared: Shared) -> int:
    before = await _before(args, centre)
    values = dict(before.values)
    for name in args.unset:
        values.pop(name if name in values else main_name(name), None)
    for assignment in args.assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise ConfigError(
                f"{assignment!r} is not NAME=VALUE", hint="NAME= sets an empty value, --unset takes it back"
            )
        values[main_name(name)] = text
    return await _write(args, base, centre, shared, before, values)


async def _roll_back(args: argparse.Namespace, base: Settings, centre: Centre, shared: Shared) -> int:
    before = await _before(args, centre)
    return await _write(args, base, centre, shared, before, (await _kept(centre, args.number)).values)


async def _before(args: argparse.Namespace, centre: Centre) -> Version:
    """The version that is to be followed. Raises: ServerError where it is not the one `--if-version` asks for."""
    try:
        newest = await centre.newest()
    except SettingsUnreadable:
        if not getattr(args, "anew", False):
            raise
        newest = Version((await centre.found()).newest)
    if args.if_version is not None and newest.number != args.if_version:
        raise _overtaken(newest, args.if_version)
    return newest


async def _write(
    args: argparse.Namespace, base: Settings, centre: Centre, shared: Shared, before: Version, values: Mapping[str, str]
) -> int:
    tools.check_disabled(overridden(base, values).disabled_tools)
    changed = changes(before.values, values)
    written = bool(changed) and not args.dry_run
    version = before
    if changed:
        author = args.author or f"{os.environ.get('SUDO_USER') or getpass.getuser()}@{socket.gethostname()}"
        words = author[:WORDS_LIMIT], args.comment[:WORDS_LIMIT]
        version = Version(before.number + 1, *words, time.time(), dict(sorted(values.items())))
    if written:
        if not await centre.write(version):
            raise _overtaken(await centre.newest(), before.number)
        shared.bus.publish(SETTINGS_WRITTEN, {"version": version.number})
    cold = [name for name in changed if not is_hot(name)]
    shown = {**as_json(version), **differences(before, version), "written": written, "needs_restart": cold}
    print(json.dumps(shown) if args.json else in_words("set", shown))
    return 0


def _overtaken(newest: Version, asked: int) -> ServerError:
    hint = f"see what changed with `config diff {asked} {newest.number}`, then try again"
    if newest.number < asked:
        return ServerError(f"there is no version {asked} yet, the newest is {newest.number}", hint=hint)
    words = f"{newest.author} wrote version {newest.number}: {newest.comment}"
    return ServerError(f"somebody else was first, and nothing was changed: {words}", hint=hint)


async def _two(args: argparse.Namespace, centre: Centre) -> tuple[Version, Version]:
    newest = await centre.newest()
    if args.first is None:
        return await _kept(centre, max(newest.number - 1, 0)), newest
    return await _kept(centre, args.first), newest if args.second is None else await _kept(centre, args.second)


async def _kept(centre: Centre, number: int) -> Version:
    version = await centre.get(number)
    if version is None:
        raise ConfigError(f"there is no version {number}", hint="`config history` shows those that are kept")
    return version


async def _watch(args: argparse.Namespace, centre: Centre, shared: Shared) -> int:
    """Print the newest version, and each that follows, until interrupted."""
    news = Bell(shared.bus, SETTINGS_WRITTEN, LISTENING)
    listening = asyncio.create_task(shared.store.watch())
    shown, before = -1, NOTHING
    try:
        while True:
            newest = await centre.newest()
            if newest.number != shown:
                before = before if shown >= 0 else await centre.get(max(newest.number - 1, 0)) or NOTHING
                told = {**as_json(newest), **differences(before, newest)}
                print(json.dumps(told) if args.json else in_words("watch", told), flush=True)
                shown, before = newest.number, newest
            await news.wait(POLL)
    finally:
        listening.cancel()
