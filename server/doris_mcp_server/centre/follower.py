"""What keeps a worker's settings those of the fleet: it follows the versions in the store.

Beside the requests: they use what was applied here, and never wait for the store. A worker that starts takes the
last version from its host's disk. Where that has none, and the store has not answered yet, nobody knows what is set:
no tool is called until it has, for it may be that tables or columns are closed.
"""

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from doris_mcp_server.centre import NOTHING, Centre, Version, changes, seal, unseal
from doris_mcp_server.centre.copy import Copy
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import SettingsUnreadable, StoreUnavailable
from doris_mcp_server.observe import event
from doris_mcp_server.overrides import HOT, bearable, is_hot
from doris_mcp_server.state import Store
from doris_mcp_server.state.bus import LISTENING, SETTINGS_WRITTEN, Bell, Bus

if TYPE_CHECKING:
    from doris_mcp_server.observe import Instruments

LATER = "Try again in a moment."
POLL = 0.5  # seconds between looks at the store; a new version is also told of

Apply = Callable[[Settings], None]
"""Uses the hot ones of these settings from now on."""


class Follower:
    """The settings of one worker: `settings` are those in force, of which the cold ones stay as they were at the start.

    `base` are the host's own, without the centre.
    """

    def __init__(self, base: Settings, store: Store, bus: Bus) -> None:
        self._base = base
        self._centre = Centre(store, base.token_key)
        self._copy = Copy(base)
        self._news = Bell(bus, SETTINGS_WRITTEN, LISTENING)
        bus.subscribe(LISTENING, self._ask_anew)
        self._followed = bool(base.token_key)  # without it nothing in the store could be read
        self._apply: Apply | None = None
        self._outcomes: Counter[str] = Counter()
        self._problem: SettingsUnreadable | None = None
        self._asked = False  # whether the store said what there is
        self._newest = 0, ""  # in the store, readable or not: number and text
        self.known = not self._followed
        """Whether anybody has said what is set."""
        self.version, self._text = NOTHING, ""
        if self._followed and (kept := self._copy.read()):
            self.version, self._text = kept
            self.known = True
        self.started = self.version
        self.settings, self._refused = bearable(base, self.version.values)
        if self.version.number:
            self._tell({})

    def apply_to(self, apply: Apply) -> None:
        """Have `apply` called now, if what is set is known, and whenever that changes."""
        self._apply = apply
        if self.known:
            apply(self.settings)

    async def start(self) -> None:
        """Read what is set, if it is not known yet. A store that is away is waited for for a few seconds."""
        if not self.known:
            with contextlib.suppress(StoreUnavailable):
                await self.look()

    async def watch(self) -> None:
        """Follow the versions until cancelled."""
        while self._followed:
            with contextlib.suppress(StoreUnavailable):  # the check of the store says so
                await self.look()
            await self._news.wait(POLL)

    async def check(self) -> None:
        """Raises: SettingsUnreadable while there is a version that this worker cannot read, and it has none before."""
        if self._problem is not None and not self.known:
            raise self._problem

    def status(self) -> dict[str, Any]:
        """For `ctl status`: the version in force, the one its cold settings are of, what does not fit this host."""
        return {"version": self.version.number, "started": self.started.number, "refused": sorted(self._refused)}

    def unknown(self) -> StoreUnavailable:
        """Why no tool may be called yet."""
        reason = self._problem.message if self._problem else "the store has not answered yet"
        return StoreUnavailable(f"This server does not know the fleet's settings: {reason}", hint=LATER)

    def show(self, to: "Instruments") -> None:
        """Bring the metrics up to date."""
        to.config_version.set(self.version.number)
        while self._outcomes:
            outcome, count = self._outcomes.popitem()
            to.config_reloads.labels(outcome).inc(count)

    async def look(self) -> None:
        """Take in what the store has; put the last version back into a store that lost it.

        Raises: StoreUnavailable.
        """
        if self._asked and not await self._news_in_store():
            return
        found = await self._centre.found()
        number = found.newest
        self._newest = number, found.get(number, "")
        if number < self.version.number:
            await self._put_back(number)
        elif number and found[number] != self._text:
            self._read(number, found[number])
        elif not self.known:
            self._take(NOTHING, seal(NOTHING, self._base.token_key))
        self._asked = True

    def _ask_anew(self, _: object) -> None:
        """The store was out of hearing: it may have gone on by more versions than it keeps."""
        self._asked = False

    async def _news_in_store(self) -> bool:
        """Whether the store has another version than at the last look, or lost the newest."""
        number, text = self._newest
        if await self._centre.text(number + 1) is not None:
            return True
        return number > 0 and await self._centre.text(number) != text

    async def _put_back(self, had: int) -> None:
        number = self.version.number
        if await self._centre.put_back(number, self._text):
            self._newest = number, self._text
            event("settings put back into the store", level=logging.WARNING, version=number, had=had)

    def _read(self, number: int, text: str) -> None:
        try:
            self._take(unseal(text, self._base.token_key, number), text)
        except SettingsUnreadable as error:
            if self._problem is None or self._problem.message != error.message:
                event("settings cannot be read", level=logging.ERROR, reason=error.message, hint=error.hint)
                self._outcomes["unreadable"] += 1
            self._problem = error

    def _take(self, version: Version, text: str) -> None:
        before = self.version.values
        self.version, self._text, self._problem, self.known = version, text, None, True
        wanted, self._refused = bearable(self._base, version.values)
        self.settings = self.settings.model_copy(update={name: getattr(wanted, name) for name in HOT})
        if self._apply is not None:
            self._apply(self.settings)
        self._copy.keep(text)
        if changes(before, version.values) or self._refused:
            self._tell(before)

    def _tell(self, before: Mapping[str, str]) -> None:
        """One line for each version that is applied here."""
        names = changes(before, self.version.values)
        self._outcomes["partly" if self._refused else "applied"] += 1
        event(
            "settings applied",
            level=logging.ERROR if self._refused else logging.INFO,
            version=self.version.number,
            author=self.version.author,
            names=names,
            needs_restart=[name for name in names if not is_hot(name)] if self.version is not self.started else [],
            refused=self._refused,
        )
