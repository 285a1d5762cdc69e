"""`doris-mcp-server token …`: what an operator does with the bearer tokens of the store."""

import argparse
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from doris_mcp_server.auth import ALL_SCOPES, RESERVED
from doris_mcp_server.auth.opaque import Token, Tokens, Use, new_id
from doris_mcp_server.auth.signed import sign
from doris_mcp_server.clusters import Account, Bound
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import ConfigError, InvalidArgument
from doris_mcp_server.keys.ring import ISSUER, PLACE, unwrap
from doris_mcp_server.oauth.grants import Grant, Grants
from doris_mcp_server.shared import Shared, opened

SIGNED_FOR = 3600.0  # seconds a signed token lives when nobody says it


async def run(args: argparse.Namespace, settings: Settings) -> int:
    """Do what was asked and print what happened. Exit code 0, or 1 when there was no such token."""
    async with opened(settings, "issued tokens", sealed=True) as shared:
        tokens = Tokens(shared.store, shared.bus, settings.token_key)
        grants = Grants(shared.store, tokens, settings.token_key, settings.public_url)
        match args.action:
            case "issue":
                return await _issue(args, settings, shared, tokens)
            case "list":
                return await _list(args, tokens, grants)
            case "show":
                return await _show(args, tokens, grants)
            case "rotate":
                return await _rotate(args, tokens)
            case _:
                return await _revoke(args, tokens, grants)


async def _issue(args: argparse.Namespace, settings: Settings, shared: Shared, tokens: Tokens) -> int:
    scopes = tuple(args.scopes.split(",")) if args.scopes else ALL_SCOPES
    if unknown := [scope for scope in scopes if scope not in ALL_SCOPES]:
        raise InvalidArgument(f"unknown scope {unknown[0]!r}", hint=f"scopes are {', '.join(ALL_SCOPES)}")
    if args.name in RESERVED:
        raise InvalidArgument(f"the name {args.name!r} is the server's own", hint="choose another --name")
    if args.name.rpartition("@")[2] in {cluster.name for cluster in settings.doris} and "@" in args.name:
        raise InvalidArgument(
            f"{args.name!r} is how a caller is named who logs in with a Doris account", hint="choose another --name"
        )
    bound = _bound(args, settings)
    if args.jwt:
        if bound is not None:
            raise InvalidArgument(
                "a signed token can be read by its holder, and holds no account", hint="leave --jwt out"
            )
        token, record = await _signed(args, settings, shared, scopes)
        await tokens.keep(record)
    else:
        token, record = await tokens.issue(args.name, scopes, args.ttl, bound=bound)
    return _hand_over(args, tokens, token, record)


def _hand_over(args: argparse.Namespace, tokens: Tokens, token: str, record: Token) -> int:
    if args.json:
        print(json.dumps({**_shown(tokens, record), "token": token}))
    else:
        print(f"{token}\n  id {record.id}, for {record.name}; it is not shown again")
    return 0


def _bound(args: argparse.Namespace, settings: Settings) -> Bound | None:
    """The Doris account that the token is to be bound to."""
    if not args.doris_user:
        if args.doris_password_file or args.doris_database or args.cluster:
            raise InvalidArgument("an account needs a user", hint="pass --doris-user, too")
        return None
    names = [cluster.name for cluster in settings.doris]
    if not names or (args.cluster and args.cluster not in names):
        raise InvalidArgument(
            f"there is no cluster {args.cluster!r}" if args.cluster else "the settings name no Doris",
            hint=f"clusters are {', '.join(names)}" if names else "set DORIS_HOST or DORIS_MCP_CLUSTERS",
        )
    password = ""
    if args.doris_password_file:
        try:
            password = Path(args.doris_password_file).read_text(encoding="utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidArgument(f"{args.doris_password_file} cannot be read: {error}") from None
    account = Account(user=args.doris_user, password=password, database=args.doris_database)
    return Bound(cluster=args.cluster or names[0], account=account)


async def _signed(
    args: argparse.Namespace, settings: Settings, shared: Shared, scopes: tuple[str, ...]
) -> tuple[str, Token]:
    """A signed token: no store is asked about it, so it is good for no longer than its key."""
    if not settings.public_url:
        raise ConfigError(
            "a signed token is for one address, and DORIS_MCP_PUBLIC_URL is not set", hint="set it on all hosts"
        )
    ttl = SIGNED_FOR if args.ttl is None else args.ttl
    if ttl > settings.session_max_seconds:
        raise InvalidArgument(
            f"a signed token lives {settings.session_max_seconds} seconds at most (DORIS_MCP_SESSION_MAX_SECONDS)",
            hint="a token without --jwt can live longer",
        )
    text = await shared.store.get(PLACE)
    now = time.time()
    key = unwrap(text, settings.token_key).current(ISSUER, now) if text is not None else None
    if key is None:
        raise ConfigError("the fleet has no key yet that signs tokens", hint="make one: `keys rotate`")
    record = Token(new_id(), args.name, args.name, scopes, now, now + ttl, settings.public_url)
    return sign(settings.public_url, key, subject=args.name, scopes=scopes, ttl=ttl, id=record.id), record


async def _list(args: argparse.Namespace, tokens: Tokens, grants: Grants) -> int:
    uses = await tokens.uses()
    records = [_shown(tokens, record, uses.get(record.id)) for record in await tokens.all()]
    records += [_granted(grant) for grant in await grants.all()]
    if args.json:
        print(json.dumps(records))
    for r in () if args.json else records:
        print(
            f"{r['id']}  {r['name']:20}  {','.join(r['scopes'])}  created {r['created']}"
            f"  expires {r['expires'] or 'never'}  last used {r['used'] or 'not yet'}"
            + (f"  {r['kind']} of {r['client']}" if r["client"] else "")
        )
    return 0


async def _show(args: argparse.Namespace, tokens: Tokens, grants: Grants) -> int:
    record = await tokens.good(args.id)
    grant = await grants.get(args.id)
    if grant is not None:
        shown = _granted(grant)
    elif record is not None:
        shown = _shown(tokens, record, (await tokens.uses()).get(record.id))
    else:
        return _missing(args, "shown")
    print(json.dumps(shown) if args.json else "\n".join(f"{name:10} {_words(value)}" for name, value in shown.items()))
    return 0


async def _rotate(args: argparse.Namespace, tokens: Tokens) -> int:
    record = await tokens.good(args.id)
    if record is not None and record.grant is not None:
        raise InvalidArgument(f"{args.id} belongs to {record.client}, which renews it by itself")
    rotated = await tokens.rotate(args.id, args.overlap)
    if rotated is None:
        return _missing(args, "rotated")
    return _hand_over(args, tokens, *rotated)


async def _revoke(args: argparse.Namespace, tokens: Tokens, grants: Grants) -> int:
    """A token of a login ends with all that the login gave: the client would get the next one by itself."""
    record = await tokens.get(args.id)
    grant = await grants.get(record.grant if record is not None and record.grant is not None else args.id)
    revoked = await tokens.revoke([args.id])
    if grant is not None:
        await grants.end(grant.id)
    elif not revoked:
        return _missing(args, "revoked")
    print(json.dumps({"id": args.id, "revoked": True}) if args.json else f"{args.id} revoked")
    return 0


def _missing(args: argparse.Namespace, deed: str) -> int:
    print(json.dumps({"id": args.id, deed: False}) if args.json else f"there is no token {args.id}")
    return 1


def _shown(tokens: Tokens, record: Token, use: Use | None = None) -> dict[str, Any]:
    """A token for people and scripts, never what is secret in it."""
    bound = tokens.bound(record)
    return {
        "id": record.id,
        "name": record.name,
        "principal": record.principal,
        "kind": "signed" if record.signed else "opaque",
        "scopes": list(record.scopes),
        "created": _when(record.created),
        "expires": _when(record.expires),
        "audience": record.audience,
        "client": record.client,
        "grant": record.grant,
        "account": None if bound is None else {"cluster": bound.cluster, "user": bound.account.user},
        "used": None if use is None else _when(use.at),
        "used_on": None if use is None else use.node,
    }


def _granted(grant: Grant) -> dict[str, Any]:
    """What a login gave a client, in the same words: it can get tokens until it is not used for a month."""
    return {
        "id": grant.id,
        "name": grant.principal,
        "principal": grant.principal,
        "kind": "login",
        "scopes": list(grant.scopes),
        "created": _when(grant.created),
        "expires": _when(grant.expires),
        "audience": None,
        "client": grant.label,
        "grant": grant.id,
        "account": {"cluster": grant.cluster, "user": grant.user},
        "used": _when(grant.refreshed),
        "used_on": None,
    }


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {text}" for name, text in value.items())
    return ", ".join(value) if isinstance(value, list) else "-" if value is None else str(value)


def _when(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
