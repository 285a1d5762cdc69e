"""What keeps a worker's keys those of the fleet: it follows the ring in the store, and the clock.

Beside the requests: they use the `KeyRing` that is here, and never wait for the store. Where DORIS_MCP_KEYS is set, its
first key seals and the store's only open; without a ring in the store the keys of the settings do all.
"""

import asyncio
import contextlib
import logging
import os
from pathlib import Path
from time import time as wall
from typing import TYPE_CHECKING, Any

from doris_mcp_server.config import Settings
from doris_mcp_server.errors import IssuerUnavailable, KeysUnreadable, StoreUnavailable
from doris_mcp_server.keys import KeyRing, configured_keys, key_id
from doris_mcp_server.keys.ring import ISSUER, PLACE, SEAL, Key, Ring, unwrap, wrap
from doris_mcp_server.observe import event
from doris_mcp_server.state import Store
from doris_mcp_server.state.bus import KEYS_WRITTEN, LISTENING, Bell, Bus

if TYPE_CHECKING:
    from doris_mcp_server.observe import Instruments

POLL = 2.0  # seconds between looks at the store; a new ring is also told of
TURN = 0.5  # seconds between looks at the clock


class Rotation:
    """The keys of one worker. `keys` is the ring it uses, and whose keys this replaces."""

    def __init__(self, settings: Settings, store: Store, bus: Bus) -> None:
        """The last ring this host knew is taken from its file, so that a restart needs no store."""
        self._store = store
        self._news = Bell(bus, KEYS_WRITTEN, LISTENING)
        self._token_key = settings.token_key
        self._given = configured_keys(settings)
        self._given_first = bool(settings.keys)
        self._file = Path(settings.runtime_dir) / "keys" if settings.runtime_dir else None
        self._ring = Ring()
        self._text: str | None = None  # as the store has it, or had it last
        self._problem: KeysUnreadable | None = None
        self._asked = not self._token_key  # whether the store said what there is
        self._used = self._given
        self.keys = KeyRing(self._used)
        self._remember()

    async def start(self) -> None:
        """Read the ring once, if it is not known yet: a worker that serves without it would know no session.

        A store that is away is waited for as long as it takes to say so, a few seconds.
        """
        if self._token_key and not self._ring.keys:
            with contextlib.suppress(StoreUnavailable):
                await self.look()

    async def watch(self) -> None:
        """Follow the ring and the clock until cancelled."""
        if self._token_key:  # without it nothing in the store could be read
            await asyncio.gather(self._follow(), self._turn())

    async def check(self) -> None:
        """Raises: KeysUnreadable while there is a ring that this worker should use and cannot read.

        One that had a ring before goes on with it.
        """
        if self._problem is not None and not self._ring.keys:
            raise self._problem

    def issuer_keys(self) -> list[Key]:
        """The keys of our own issuer that are good at this moment, the one that signs first.

        Raises: IssuerUnavailable while nobody knows whether there are some.
        """
        if not (self._asked or self._ring.keys):
            raise IssuerUnavailable("the key ring has not been read yet", hint="is the store away?")
        return self._ring.good(ISSUER, wall())

    def status(self) -> dict[str, Any]:
        """For `ctl status`: the revision of the ring, 0 for none, and the key that seals."""
        return {"ring": self._ring.revision, "seals": key_id(self._used[0])}

    def show(self, to: "Instruments") -> None:
        """Bring the metrics up to date."""
        to.key_ring.set(self._ring.revision)
        now = wall()
        if current := self._ring.current(SEAL, now):
            to.key_age.set(now - current.used)

    async def look(self) -> None:
        """Take in what the store has; put the ring back into a store that lost it.

        Raises: StoreUnavailable.
        """
        text = await self._store.get(PLACE)
        if text == self._text:
            self._asked = True
            return
        try:
            found = Ring() if text is None else unwrap(text, self._token_key)
        except KeysUnreadable as error:
            if self._problem is None or self._problem.message != error.message:
                event("keys cannot be read", level=logging.ERROR, reason=error.message, hint=error.hint)
            self._problem = error
            return
        self._problem = None
        self._asked = True
        if found.revision >= self._ring.revision:
            self._take(found, text)
            self._keep()
        elif await self._store.swap(PLACE, wrap(self._ring, self._token_key), text):
            event("keys put back into the store", level=logging.WARNING, ring=self._ring.revision, had=found.revision)

    def turn(self) -> None:
        """Use the keys that are right at this moment."""
        good = [key.secret for key in self._ring.good(SEAL, wall())]
        used = self._given + good if self._given_first else good or self._given
        if used != self._used:
            self._used = used
            self.keys.replace(used)
            event("keys changed", **self.status(), opens=[key_id(key) for key in used])

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(StoreUnavailable):  # the check of the store says so
                await self.look()
            await self._news.wait(POLL)

    async def _turn(self) -> None:
        while True:
            self.turn()
            await asyncio.sleep(TURN)

    def _take(self, ring: Ring, text: str | None) -> None:
        self._ring, self._text = ring, text
        self.turn()

    def _remember(self) -> None:
        """Take in the ring from this host's file, if there is one for us."""
        if self._file is None or not self._token_key:
            return
        with contextlib.suppress(OSError, UnicodeDecodeError, KeysUnreadable):
            text = self._file.read_text(encoding="ascii")
            self._take(unwrap(text, self._token_key), text)

    def _keep(self) -> None:
        """Keep the ring on this host, sealed as in the store. Small, and where the runtime folder is: in memory."""
        if self._file is None or self._text is None:
            return
        fresh = self._file.with_name(f"{self._file.name}.{os.getpid()}")  # each worker keeps it
        try:
            fresh.write_text(self._text, encoding="ascii")
            fresh.replace(self._file)
        except OSError as error:
            event("keys not kept on this host", level=logging.WARNING, reason=error.strerror)
