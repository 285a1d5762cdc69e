"""`doris-mcp-server token …`: what an operator does with the bearer tokens of the shared store."""

import argparse
import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from doris_mcp_server.auth import ALL_SCOPES, issue, keyed_hash
from doris_mcp_server.auth.signed import sign
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import ConfigError, InvalidArgument
from doris_mcp_server.keys.ring import ISSUER, unwrap
from doris_mcp_server.state import Store, TokenRecord, open_store

SIGNED_FOR = 3600.0  # seconds a signed token lives when nobody says it


async def run(args: argparse.Namespace, settings: Settings) -> int:
    """Issue, list or revoke; prints what happened. Exit code 0, or 1 when there was nothing to revoke."""
    if not settings.redis_url:
        raise ConfigError(
            "issued tokens live in Redis, and REDIS_URL is not set",
            hint="pass --env-file /etc/doris-mcp/doris-mcp.env, or use one static token: DORIS_MCP_TOKEN",
        )
    if not settings.token_key:
        raise ConfigError("DORIS_MCP_TOKEN_KEY is not set", hint="use the key of the fleet (DORIS_MCP_TOKEN_KEY_FILE)")
    store = open_store(settings)
    try:
        match args.action:
            case "issue":
                return await _issue(args, settings, store)
            case "list":
                return await _list(args, store)
            case _:
                return await _revoke(args, store)
    finally:
        await store.close()


async def _issue(args: argparse.Namespace, settings: Settings, store: Store) -> int:
    scopes = tuple(args.scopes.split(",")) if args.scopes else ALL_SCOPES
    if unknown := [scope for scope in scopes if scope not in ALL_SCOPES]:
        raise InvalidArgument(f"unknown scope {unknown[0]!r}", hint=f"scopes are {', '.join(ALL_SCOPES)}")
    if args.jwt:
        token, record = await _signed(args, settings, store, scopes)
    else:
        token, record = issue(args.name, scopes, args.ttl)
        await store.put_token(keyed_hash(settings.token_key, token), record)
    if args.json:
        print(json.dumps({**_shown(record), "token": token}))
    else:
        print(f"{token}\n  id {record.id}, for {record.name}; it is not shown again")
    return 0


async def _signed(
    args: argparse.Namespace, settings: Settings, store: Store, scopes: tuple[str, ...]
) -> tuple[str, TokenRecord]:
    """A signed token. Nobody keeps it: it is good until it expires, and so not for longer than its key."""
    if not settings.public_url:
        raise ConfigError(
            "a signed token is for one address, and DORIS_MCP_PUBLIC_URL is not set", hint="set it on all hosts"
        )
    ttl = SIGNED_FOR if args.ttl is None else args.ttl
    if ttl > settings.session_max_seconds:
        raise InvalidArgument(
            f"a signed token lives {settings.session_max_seconds} seconds at most (DORIS_MCP_SESSION_MAX_SECONDS)",
            hint="a token without --jwt can live longer, and can be revoked",
        )
    text = await store.read_keys()
    key = unwrap(text, settings.token_key).current(ISSUER, time.time()) if text is not None else None
    if key is None:
        raise ConfigError("the fleet has no key yet that signs tokens", hint="make one: `keys rotate`")
    _, record = issue(args.name, scopes, ttl)
    token = sign(settings.public_url, key, subject=record.principal, scopes=scopes, ttl=ttl, id=record.id)
    return token, replace(record, audience=settings.public_url)


async def _list(args: argparse.Namespace, store: Store) -> int:
    records = [_shown(record) for record in await store.list_tokens()]
    if args.json:
        print(json.dumps(records))
    else:
        for r in records:
            print(f"{r['id']}  {r['name']:20}  {','.join(r['scopes'])}  created {r['created']}  expires {r['expires']}")
    return 0


async def _revoke(args: argparse.Namespace, store: Store) -> int:
    gone = await store.revoke_token(args.id)
    if args.json:
        print(json.dumps({"id": args.id, "revoked": gone}))
    else:
        print(f"{args.id} revoked" if gone else f"there is no token {args.id}")
    return 0 if gone else 1


def _shown(record: TokenRecord) -> dict[str, Any]:
    def when(moment: float | None) -> str | None:
        return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")

    return record.as_dict() | {"created": when(record.created), "expires": when(record.expires)}
