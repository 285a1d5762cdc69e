"""The configuration centre: settings of the whole fleet, in numbered versions that nobody changes any more.

A version lies in the store under its number. To write the next one is to find its place empty, so of two writers one
wins, and the other is told. Versions are sealed under DORIS_MCP_TOKEN_KEY: who can only write to the store, or to the
copy on a host's disk, can set nothing. `steward` writes them, `follower` brings them into a running worker.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Final

from doris_mcp_server.errors import SettingsUnreadable
from doris_mcp_server.keys.vault import decrypt, encrypt
from doris_mcp_server.state import Store

FAMILY: Final = "config:v1"
KEPT: Final = 200  # versions
_FORMAT: Final = "1"


@dataclass(frozen=True, slots=True)
class Version:
    """All that is set at one time. `values`: main names of variables to their text; `at`: Unix time, seconds."""

    number: int = 0
    author: str = ""
    comment: str = ""
    at: float = 0.0
    values: Mapping[str, str] = field(default_factory=dict)


NOTHING: Final = Version()
"""What is set before there is a version."""


class Found(dict[int, str]):
    """The versions of a store, still sealed, by number, the oldest first."""

    @property
    def newest(self) -> int:
        """Its number; 0 where there is none."""
        return max(self, default=0)


class Centre:
    """The versions in a store. What is awaited may raise StoreUnavailable."""

    def __init__(self, store: Store, token_key: str) -> None:
        self._store = store
        self._token_key = token_key

    async def found(self) -> Found:
        """All versions that there are, KEPT of them at most."""
        return Found(sorted((int(id), text) for id, text in (await self._store.find(FAMILY)).items() if id.isdigit()))

    async def text(self, number: int) -> str | None:
        """One of them, sealed; None where it is not there."""
        return await self._store.get(place(number))

    async def newest(self) -> Version:
        """What is set now. Raises: SettingsUnreadable."""
        found = await self.found()
        return unseal(found[found.newest], self._token_key, found.newest) if found else NOTHING

    async def get(self, number: int) -> Version | None:
        """One version, None where it is not kept. Raises: SettingsUnreadable."""
        if number == 0:
            return NOTHING
        text = await self.text(number)
        return None if text is None else unseal(text, self._token_key, number)

    async def history(self) -> list[Version]:
        """All that are kept, the oldest first; in the place of one that cannot be read one that says so."""
        return [self._read(number, text) for number, text in (await self.found()).items()]

    def _read(self, number: int, text: str) -> Version:
        try:
            return unseal(text, self._token_key, number)
        except SettingsUnreadable as error:
            return Version(number, comment=f"cannot be read: {error.message}")

    async def write(self, version: Version) -> bool:
        """Make this the newest one, on every replica; False, and nothing written, where its number is taken.

        The oldest goes when there are too many.
        """
        if not await self._store.swap(place(version.number), seal(version, self._token_key), None, durable=True):
            return False
        await self._store.take(place(version.number - KEPT))
        return True

    async def put_back(self, number: int, text: str) -> bool:
        """Give a store a version that it lost; False where it has another one by that number."""
        return await self._store.swap(place(number), text, None)


def place(number: int) -> str:
    """Where the store has a version."""
    return f"{FAMILY}/{number:08}"


def seal(version: Version, token_key: str) -> str:
    """A version as text for the store: the version of its format, then what only this fleet can make and read."""
    return f"{_FORMAT}.{encrypt(json.dumps(asdict(version)).encode(), token_key, FAMILY)}"


def unseal(text: str, token_key: str, number: int | None = None) -> Version:
    """What `seal` made, and of that number. Raises: SettingsUnreadable for anything else."""
    form, _, rest = text.partition(".")
    if form != _FORMAT:
        raise SettingsUnreadable(
            f"the settings of the fleet have format {form:.12}, this release reads {_FORMAT}",
            hint="deploy the release that wrote them, or a newer one",
        )
    try:
        version = Version(**json.loads(decrypt(rest, token_key, FAMILY)))
    except (ValueError, TypeError):
        version = None
    if version is None or number not in (None, version.number):
        raise SettingsUnreadable(
            "the settings of the fleet were not sealed under this DORIS_MCP_TOKEN_KEY",
            hint="give every host the same key; after a change of it: `doris-mcp-server config set --anew ...`",
        )
    return version


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """The names that are set differently, sorted."""
    return sorted(name for name in {**before, **after} if before.get(name) != after.get(name))
