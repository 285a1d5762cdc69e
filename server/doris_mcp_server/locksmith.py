"""`doris-mcp-server keys …`: what an operator does with the keys that all hosts share."""

import argparse
import json
import time
from datetime import UTC, datetime
from typing import Any

from doris_mcp_server.config import Settings
from doris_mcp_server.errors import InvalidArgument, KeysUnreadable, ServerError
from doris_mcp_server.keys import configured_keys, derived_key, key_id
from doris_mcp_server.keys.ring import ISSUER, PLACE, SEAL, Ring, unwrap, wrap
from doris_mcp_server.keys.rotation import POLL
from doris_mcp_server.sessions import SKEW
from doris_mcp_server.shared import Shared, opened
from doris_mcp_server.state.bus import KEYS_WRITTEN

READ_WITHIN = 30.0  # seconds all workers have to read a new key: many looks, and a failover between them
DELAY = READ_WITHIN + SKEW  # a host whose clock is ahead uses the key so much earlier
SHORTEST_DELAY = 2 * POLL
UNDER_WAY = 3  # exit code


async def run(args: argparse.Namespace, settings: Settings) -> int:
    """List, rotate, adopt or retire; prints the ring as it is then. Exit code 0, or 3 while a rotation is under way."""
    async with opened(settings, "shared keys") as shared:
        text = await shared.store.get(PLACE)
        before = _read(text, settings.token_key, anew=args.action == "rotate" and args.anew)
        now = time.time()
        coming = before.coming(SEAL, now)
        refused = coming is not None and args.action in ("rotate", "adopt")
        after = before if refused else _changed(args, settings, before, now)
        if after is not before:
            await _write(shared, wrap(after, settings.token_key), text)
    shown = {"ring": after.revision, "changed": after is not before, "keys": _shown(after, now)}
    if args.json:
        print(json.dumps(shown))
    else:
        _tell(shown)
        if refused and coming:
            print(f"nothing was changed: key {coming.id} takes over at {_when(coming.used)}")
    return UNDER_WAY if refused else 0


def _read(text: str | None, token_key: str, *, anew: bool) -> Ring:
    """The store's ring; `anew`: an empty one in the place of one that cannot be read."""
    try:
        return Ring() if text is None else unwrap(text, token_key)
    except KeysUnreadable:
        if anew:
            return Ring()
        raise


def _changed(args: argparse.Namespace, settings: Settings, ring: Ring, now: float) -> Ring:
    """The ring after what `args` asks for; the same one when it has that already."""
    match args.action:
        case "rotate":
            return _rotated(ring, settings, now, *_times(args, settings))
        case "adopt":
            return _adopted(ring, settings, now, *_times(args, settings))
        case "retire":
            return ring.without(args.id, now)
        case _:
            return ring


def _times(args: argparse.Namespace, settings: Settings) -> tuple[float, float]:
    """Seconds until a new key takes over, and how long the one before opens after that."""
    delay = DELAY if args.delay is None else args.delay
    if delay < SHORTEST_DELAY:
        raise InvalidArgument(
            f"a key takes over {SHORTEST_DELAY:g} seconds after it is published, or later",
            hint="before, some worker would not know it",
        )
    # No session lives longer, so none ends by the default; where clocks differ, the slowest still has it.
    return delay, settings.session_max_seconds + SKEW if args.overlap is None else args.overlap


def _rotated(ring: Ring, settings: Settings, now: float, delay: float, overlap: float) -> Ring:
    if settings.keys:
        raise InvalidArgument(
            "DORIS_MCP_KEYS is set, and its first key seals: one of the store would not be used",
            hint="`keys adopt` puts these keys into the store; then leave DORIS_MCP_KEYS out everywhere, then rotate",
        )
    ring = _begun(ring, settings, now).followed(SEAL, now, delay=delay, overlap=overlap)
    return ring.followed(ISSUER, now, delay=delay, overlap=overlap)


def _adopted(ring: Ring, settings: Settings, now: float, delay: float, overlap: float) -> Ring:
    if not settings.keys:
        raise InvalidArgument("DORIS_MCP_KEYS is not set", hint="set it to the keys that the store shall have")
    first, *others = configured_keys(settings)
    current = ring.current(SEAL, now)
    if current is not None and current.id == key_id(first):
        return ring
    begun = _begun(ring, settings, now).with_openers(SEAL, others, now, overlap)
    return begun.followed(SEAL, now, delay=delay, overlap=overlap, secret=first)


def _begun(ring: Ring, settings: Settings, now: float) -> Ring:
    """The ring; where there was none, one with the key that workers without DORIS_MCP_KEYS use until there is one."""
    if ring.keys:
        return ring
    return ring.followed(SEAL, now, delay=0, overlap=0, secret=derived_key(settings.token_key))


async def _write(shared: Shared, text: str, instead_of: str | None) -> None:
    if not await shared.store.swap(PLACE, text, instead_of, durable=True):
        raise ServerError("somebody else changed the keys at the same moment", hint="see `keys list`, then try again")
    shared.bus.publish(KEYS_WRITTEN, {})


def _tell(shown: dict[str, Any]) -> None:
    if not shown["keys"]:
        print("no keys in the store: DORIS_MCP_KEYS is used, or a key made from DORIS_MCP_TOKEN_KEY")
    for key in shown["keys"]:
        until = f", opens until {key['until']}" if key["until"] else ""
        print(f"{key['id']}  {key['purpose']}  {key['state']:8}  created {key['created']}, used {key['used']}{until}")


def _shown(ring: Ring, now: float) -> list[dict[str, Any]]:
    """The keys for people and scripts, never what is secret in them."""
    return [
        {
            "id": key.id,
            "purpose": key.purpose,
            "state": ring.state(key, now),
            "created": _when(key.created),
            "used": _when(key.used) if key.used else None,
            "until": _when(key.until) if key.until is not None else None,
        }
        for key in ring.keys
    ]


def _when(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
