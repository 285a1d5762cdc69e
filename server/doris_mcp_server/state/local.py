"""The store of a lone host: a file of SQLite that all its workers, and the command line, share.

It lies in DORIS_MCP_STATE_DIR and survives restarts; without that, where the server keeps what is gone when it ends.
Every operation is one short transaction on a thread of its own, so none of them blocks the event loop.
"""

import asyncio
import secrets
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import time as wall
from typing import TypeVar

from doris_mcp_server.errors import ConfigError, StoreUnavailable
from doris_mcp_server.state import MOST, Grown, counted

FILE = "store.sqlite3"
_BUSY = 2.0  # seconds another process may hold the file
_MAKING = 20.0  # seconds it may do so while this one opens it: who makes it waits for the disk a few times
_VERSION = 2  # of the tables, which only ever grow: a release finds what it knows in what a newer one made
# `auto_vacuum` gives back what a flood of texts took, once they have expired.
_SCHEMA = f"""
PRAGMA auto_vacuum = FULL;
PRAGMA journal_mode = WAL;
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS texts (
    family TEXT, id TEXT, text TEXT NOT NULL, until REAL NOT NULL, PRIMARY KEY (family, id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS texts_until ON texts (until);
CREATE TABLE IF NOT EXISTS members (
    name TEXT, id TEXT, until REAL NOT NULL, PRIMARY KEY (name, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, mark TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS buckets (
    name TEXT PRIMARY KEY, level REAL NOT NULL, at REAL NOT NULL, until REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seats (
    name TEXT, holder TEXT, number INTEGER NOT NULL, until REAL NOT NULL, PRIMARY KEY (name, holder)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS since (one INTEGER PRIMARY KEY CHECK (one = 1), at REAL NOT NULL);
PRAGMA user_version = {_VERSION};
"""
_FOREVER = 1e18  # seconds

T = TypeVar("T")


class LocalStore:
    def __init__(self, directory: str = "") -> None:
        """Raises: ConfigError where `directory` cannot be used. Empty: in memory, for this process only."""
        self.operations: Counter[tuple[str, str]] = Counter()
        self._db = _open(directory)
        (self.since,) = self._db.execute("SELECT at FROM since").fetchone()
        self._thread = ThreadPoolExecutor(1, "store")

    @counted
    async def get(self, name: str) -> str | None:
        return await self._read(lambda db: _text(db, *_split(name)))

    @counted
    async def find(self, family: str) -> dict[str, str]:
        query = "SELECT id, text FROM texts WHERE family = ? AND until > ? ORDER BY id LIMIT ?"
        return await self._read(lambda db: dict(db.execute(query, (family, wall(), MOST)).fetchall()))

    @counted
    async def put(
        self, name: str, text: str, ttl: float | None = None, *, unless: str | None = None, durable: bool = False
    ) -> bool:
        def write(db: sqlite3.Connection) -> bool:
            if unless is not None and _text(db, *_split(name)) == unless:
                return False
            _keep(db, name, text, ttl)
            return True

        return await self._write(write)

    @counted
    async def swap(
        self, name: str, text: str, instead_of: str | None, ttl: float | None = None, *, durable: bool = False
    ) -> bool:
        def write(db: sqlite3.Connection) -> bool:
            found = _text(db, *_split(name))
            if found != instead_of:
                return found == text
            _keep(db, name, text, ttl)
            return True

        return await self._write(write)

    @counted
    async def take(self, name: str, *, durable: bool = False) -> str | None:
        def remove(db: sqlite3.Connection) -> str | None:
            found = _text(db, *_split(name))
            db.execute("DELETE FROM texts WHERE family = ? AND id = ?", _split(name))
            return found

        return await self._write(remove)

    @counted
    async def grow(self, name: str, until: Mapping[str, float], *, durable: bool = False) -> None:
        add = (
            "INSERT INTO members VALUES (?, ?, ?) "
            "ON CONFLICT DO UPDATE SET until = excluded.until WHERE excluded.until > until"
        )

        def write(db: sqlite3.Connection) -> None:
            if db.executemany(add, [(name, id, end) for id, end in until.items()]).rowcount > 0:
                db.execute("INSERT OR REPLACE INTO marks VALUES (?, ?)", (name, secrets.token_hex(8)))
            db.execute("DELETE FROM members WHERE until <= ?", (wall(),))

        await self._write(write)

    @counted
    async def grown(self, name: str, mark: str | None) -> Grown | None:
        def read(db: sqlite3.Connection) -> Grown | None:
            row = db.execute("SELECT mark FROM marks WHERE name = ?", (name,)).fetchone()
            current = row[0] if row else ""
            if current == mark:
                return None
            query = "SELECT id, until FROM members WHERE name = ? AND until > ?"
            return Grown(current, dict(db.execute(query, (name, wall())).fetchall()))

        return await self._read(read)

    @counted
    async def spend(self, name: str, wanted: int, *, rate: float, burst: int) -> tuple[int, float]:
        def write(db: sqlite3.Connection) -> tuple[int, float]:
            now = wall()
            row = db.execute("SELECT level, at FROM buckets WHERE name = ?", (name,)).fetchone()
            level, at = row or (float(burst), now)
            level = min(float(burst), level + max(now - at, 0.0) * rate)
            given = min(wanted, int(level))
            db.execute(
                "INSERT OR REPLACE INTO buckets VALUES (?, ?, ?, ?)", (name, level - given, now, now + burst / rate)
            )
            db.execute("DELETE FROM buckets WHERE until <= ?", (now,))
            return given, 0.0 if given else (1 - level) / rate

        return await self._write(write)

    @counted
    async def hold(self, name: str, holder: str, wanted: int, *, most: int, ttl: float) -> tuple[int, int]:
        def write(db: sqlite3.Connection) -> tuple[int, int]:
            now = wall()
            db.execute("DELETE FROM seats WHERE until <= ? OR (name = ? AND holder = ?)", (now, name, holder))
            query = "SELECT coalesce(sum(number), 0) FROM seats WHERE name = ?"
            (others,) = db.execute(query, (name,)).fetchone()
            free = max(most - int(others), 0)
            has = min(wanted, free)
            if has:
                db.execute("INSERT INTO seats VALUES (?, ?, ?, ?)", (name, holder, has, now + ttl))
            return has, free - has

        return await self._write(write)

    @counted
    async def ping(self) -> None:
        await self._read(lambda db: db.execute("SELECT 1").fetchone())

    async def watch(self) -> None:
        """The workers of one host hear each other over the bus, and their store never moves."""

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._db.close)
        self._thread.shutdown()

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._run("BEGIN", work)

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._run("BEGIN IMMEDIATE", work)

    async def _run(self, begin: str, work: Callable[[sqlite3.Connection], T]) -> T:
        def transaction() -> T:
            with self._db:
                self._db.execute(begin)
                return work(self._db)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, transaction)
        except sqlite3.Error as error:
            raise StoreUnavailable(
                f"this host's state cannot be read or written: {error}",
                hint="look at DORIS_MCP_STATE_DIR: its disk, its owner",
            ) from None


def prepare(directory: str) -> None:
    """Make the file, before several processes that start at once would. Raises: ConfigError."""
    _open(directory).close()


def _open(directory: str) -> sqlite3.Connection:
    path = Path(directory, FILE) if directory else None
    try:
        if path is not None:
            path.touch(0o600)
        db = sqlite3.connect(path or ":memory:", timeout=_MAKING, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA synchronous = NORMAL")
        if db.execute("PRAGMA user_version").fetchone()[0] < _VERSION:
            db.executescript(_SCHEMA)
            db.execute("INSERT OR IGNORE INTO since VALUES (1, ?)", (wall(),))
            db.execute("COMMIT")
        db.execute(f"PRAGMA busy_timeout = {_BUSY * 1000:.0f}")
        return db
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(
            f"the state of this host cannot be kept in {path}: {error}",
            hint="give this user a directory it may write to, in DORIS_MCP_STATE_DIR",
        ) from None


def _split(name: str) -> tuple[str, str]:
    family, _, id = name.partition("/")
    return family, id


def _text(db: sqlite3.Connection, family: str, id: str) -> str | None:
    query = "SELECT text FROM texts WHERE family = ? AND id = ? AND until > ?"
    row = db.execute(query, (family, id, wall())).fetchone()
    return row[0] if row else None


def _keep(db: sqlite3.Connection, name: str, text: str, ttl: float | None) -> None:
    now = wall()
    until = _FOREVER if ttl is None else now + ttl
    db.execute("INSERT OR REPLACE INTO texts VALUES (?, ?, ?, ?)", (*_split(name), text, until))
    db.execute("DELETE FROM texts WHERE until <= ?", (now,))
