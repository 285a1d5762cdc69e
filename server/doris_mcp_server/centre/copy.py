"""The last version a host knew, on its disk, sealed as in the store: a start needs no store."""

import asyncio
import contextlib
import logging
import os
from pathlib import Path

from doris_mcp_server.centre import Centre, Version, unseal
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import SettingsUnreadable, StoreUnavailable
from doris_mcp_server.observe import event
from doris_mcp_server.state import open_store, state_directory

NAME = "config"
FRESHEN_LIMIT = 1.0  # seconds the store has to say what is newer, before a worker starts with what its host knows


class Copy:
    """In the folder of the host's state. Where there is none, nothing is kept."""

    def __init__(self, settings: Settings) -> None:
        directory = state_directory(settings)
        self._file = Path(directory) / NAME if directory else None
        self._token_key = settings.token_key

    def read(self) -> tuple[Version, str] | None:
        """The version and its text; None where there is none of this fleet's."""
        if self._file is None:
            return None
        try:
            text = self._file.read_text(encoding="ascii")
            return unseal(text, self._token_key), text
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            self._ignored(str(error))
        except SettingsUnreadable as error:
            self._ignored(error.message)
        return None

    def keep(self, text: str) -> None:
        """Put it in the place of the one before, at once."""
        if self._file is None:
            return
        fresh = self._file.with_name(f"{NAME}.{os.getpid()}")  # each worker keeps it
        try:
            fresh.write_text(text, encoding="ascii")
            fresh.replace(self._file)
        except OSError as error:
            event("settings not kept on this host", level=logging.WARNING, reason=error.strerror)

    def _ignored(self, reason: str) -> None:
        event("copy of the settings ignored", level=logging.ERROR, file=str(self._file), reason=reason)


async def freshen(settings: Settings) -> None:
    """Bring this host's copy up to date, if the store answers at once: a worker takes its cold settings from there."""
    if not settings.token_key:
        return
    copy, store = Copy(settings), open_store(settings)
    try:
        with contextlib.suppress(StoreUnavailable, SettingsUnreadable, TimeoutError):
            async with asyncio.timeout(FRESHEN_LIMIT):
                found = await Centre(store, settings.token_key).found()
            newest = found[found.newest] if found else None
            known = copy.read()
            if newest is not None and (known is None or unseal(newest, settings.token_key).number >= known[0].number):
                copy.keep(newest)
    finally:
        await store.close()
