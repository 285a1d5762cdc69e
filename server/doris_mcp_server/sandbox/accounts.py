"""Who may log in, with which password, and what they may read: an account and its grants.

A file of accounts is a JSON list: {"user": "ann", "password_file": "/etc/…", "grants": ["internal.ssb.*"]}.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from doris_mcp_server.errors import ConfigError

EVERYTHING = ("*",)
MAX_CONNECTIONS = 1024
_KEYS = frozenset(["user", "password", "password_file", "grants", "max_user_connections"])
_FIX = 'an entry is {"user": "ann", "password_file": "FILE", "grants": ["internal.ssb.*"]}'


@dataclass(frozen=True, slots=True)
class Account:
    """A user. `grants`: "*", "catalog.database.*" or "catalog.database.table", a view's for what it reads as well.

    `max_connections` is Doris' user property max_user_connections: 100 there, more here, for benchmarks.
    """

    name: str
    password: str = field(repr=False)
    grants: tuple[str, ...] = EVERYTHING
    max_connections: int = MAX_CONNECTIONS

    def admits(self, scramble: bytes, nonce: bytes) -> bool:
        """mysql_native_password: SHA1(password) XOR SHA1(nonce + SHA1(SHA1(password)))."""
        wanted = b""
        if self.password:
            once = hashlib.sha1(self.password.encode()).digest()
            mask = hashlib.sha1(nonce + hashlib.sha1(once).digest()).digest()
            wanted = bytes(a ^ b for a, b in zip(once, mask, strict=True))
        return hmac.compare_digest(scramble, wanted)

    @property
    def is_admin(self) -> bool:
        """Whether it may do all that this engine can."""
        return "*" in self.grants

    def may_read(self, path: tuple[str, str, str]) -> bool:
        """Whether a grant covers the table (catalog, database, name)."""
        return any(grant in ("*", f"{path[0]}.{path[1]}.*", ".".join(path)) for grant in self.grants)


def load(file: Path) -> tuple[Account, ...]:
    """The accounts of a file. Raises ConfigError, which names the file and the entry, and no password."""
    entries = _parse(file)
    accounts: dict[str, Account] = {}
    for number, entry in enumerate(entries, 1):
        account = _account(_Entry(file, number), entry)
        if account.name in accounts:
            _Entry(file, number).wrong(f"user {account.name!r} is there twice")
        accounts[account.name] = account
    return tuple(accounts.values())


def read_password(file: Path) -> str:
    """The password in a file, without the line end. Raises OSError, ValueError (not UTF-8)."""
    return file.read_text(encoding="utf-8").rstrip("\r\n")


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where something is wrong."""

    file: Path
    number: int

    def wrong(self, what: str) -> NoReturn:
        raise ConfigError(f"--accounts {self.file}, entry {self.number}: {what}", hint=_FIX)


def _parse(file: Path) -> list[Any]:
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except OSError as e:
        raise ConfigError(f"--accounts {file}: {e.strerror}", hint="give a file this user can read") from None
    except ValueError as e:
        # The text around the place may hold a password, so only the place is told.
        place = f"line {e.lineno}, column {e.colno}" if isinstance(e, json.JSONDecodeError) else "it is not UTF-8"
        raise ConfigError(f"--accounts {file}: not JSON: {place}", hint=f"a JSON list; {_FIX}") from None
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"--accounts {file}: not a list of accounts", hint=f"a JSON list; {_FIX}")
    return entries


def _account(at: _Entry, entry: Any) -> Account:
    if not isinstance(entry, dict):
        at.wrong("not an object")
    if unknown := sorted(entry.keys() - _KEYS):
        at.wrong(f"unknown key {unknown[0]!r}; known are {', '.join(sorted(_KEYS))}")
    name, grants = entry.get("user"), entry.get("grants")
    if not isinstance(name, str) or not name:
        at.wrong("user is missing or not a text")
    if not isinstance(grants, list) or not all(isinstance(grant, str) for grant in grants):
        at.wrong("grants is missing or not a list of texts")
    for grant in grants:
        parts = grant.split(".")
        if grant != "*" and (len(parts) != 3 or not all(parts) or "*" in "".join(parts[:2])):
            at.wrong(f'grant {grant!r} is none of "*", "catalog.database.*", "catalog.database.table"')
    limit = entry.get("max_user_connections", MAX_CONNECTIONS)
    if type(limit) is not int or not 1 <= limit <= 10_000:
        at.wrong("max_user_connections is not a number from 1 to 10000")
    return Account(name, _password(at, entry), tuple(grants), limit)


def _password(at: _Entry, entry: Mapping[str, Any]) -> str:
    given = [key for key in ("password", "password_file") if key in entry]
    if len(given) != 1 or not isinstance(entry[given[0]], str):
        at.wrong("give either password or password_file, as a text")
    if given == ["password"]:
        return str(entry["password"])
    try:
        return read_password(Path(entry["password_file"]))
    except OSError as e:
        at.wrong(f"password_file {entry['password_file']}: {e.strerror}")
    except ValueError:
        at.wrong(f"password_file {entry['password_file']}: it is not UTF-8")
