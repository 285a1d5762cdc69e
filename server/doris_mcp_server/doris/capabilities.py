"""What a cluster is and offers: its version, what that version can do, and who is alive, as far as we may see it.

Detected in the background by a few statements and kept; a call only ever reads what was found last.
"""

import asyncio
import logging
import random
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from doris_mcp_server.doris import grants
from doris_mcp_server.doris.grants import NOT_ASKED, Grants
from doris_mcp_server.doris.rows import Rows
from doris_mcp_server.errors import QueryFailed, ServerError
from doris_mcp_server.observe import event

Version = tuple[int, int, int]
Query = Callable[[str], Awaitable[Rows]]
"""Runs one statement. Raises QueryFailed for Doris' own errors, another ServerError when Doris cannot be asked."""

INTERVAL: Final = 60.0  # seconds between looks at a cluster
JITTER: Final = 0.1  # of the interval, so that the workers of a fleet do not all look at once
CACHES: Final = ("sql_cache", "query_cache")
AUDIT_LOG: Final = "`internal`.`__internal_schema`.`audit_log`"
# Release notes of Doris: the first version that has it. What can be asked for is not in this table.
SINCE: Final[Mapping[str, Version]] = {
    "inverted_index": (2, 0, 0),
    "workload_groups": (2, 0, 0),
    "variant": (2, 1, 0),
    "arrow_flight": (2, 1, 0),
    "async_materialized_views": (2, 1, 0),
    "storage_compute_decoupling": (3, 0, 0),
}
_VERSION = re.compile(
    r"\b(?:doris|selectdb|velodb)(?: core)?(?: version)?[: -]*(?:doris-)?v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Nodes:
    """How many nodes of a kind are alive, of how many."""

    alive: int
    total: int


@dataclass(frozen=True, slots=True)
class Capabilities:
    """One look at a cluster. None and empty mean that it would not tell, or not this account.

    `text` is what it calls itself, `features` are names of SINCE and audit_log where the account may read that table,
    `caches` say which result caches it has and whether they are on by default, `grants` what the account we look with
    may do.
    """

    text: str
    version: Version | None
    flavour: Literal["coupled", "decoupled"] | None
    features: frozenset[str]
    caches: Mapping[str, bool]
    frontends: Nodes | None
    backends: Nodes | None
    grants: Grants = NOT_ASKED

    @property
    def release(self) -> str | None:
        """The version as text, such as 3.0.3."""
        return ".".join(map(str, self.version)) if self.version else None


def parse_version(text: str) -> Version | None:
    """(major, minor, patch) out of Doris' version comment; None if it is none, or a build of no release (0.0.0)."""
    found = _VERSION.search(text)
    if found is None:
        return None
    version = int(found[1]), int(found[2]), int(found[3] or 0)
    return version if any(version) else None


async def detect(query: Query) -> Capabilities:
    """Look at a cluster. What it refuses to answer stays unknown; ServerError only when it cannot be asked at all."""
    comment = await _ask(query, "SELECT @@version_comment")
    text = str(next(iter(comment[0].values()))) if comment else ""
    version = parse_version(text)
    frontends = await _ask(query, "SHOW FRONTENDS")
    backends = await _ask(query, "SHOW BACKENDS")
    caches = await _ask(query, "SHOW VARIABLES LIKE 'enable%cache'")
    audit = await _ask(query, f"SHOW COLUMNS FROM {AUDIT_LOG}")
    granted = await grants.ask(query)
    since = [name for name, first in SINCE.items() if version is not None and version >= first]
    return Capabilities(
        text=text,
        version=version,
        flavour=_flavour(text, version, backends),
        features=frozenset(since if not audit else (*since, "audit_log")),
        caches=_caches(caches or []),
        frontends=_nodes(frontends),
        backends=_nodes(backends),
        grants=granted,
    )


class Watched:
    """A cluster that is looked at while `run` runs; `current` is what was seen last, None before the first time."""

    def __init__(self, name: str, query: Query, *, interval: float = INTERVAL) -> None:
        self.name = name
        self.current: Capabilities | None = None
        self._query = query
        self._interval = interval
        self._again = asyncio.Event()

    def look_again(self) -> None:
        """Look at once instead of at the end of the interval: the cluster was away, and may come back as another."""
        self._again.set()

    async def run(self) -> None:
        """Look at once and again each interval, until cancelled. A look that fails leaves what was seen before."""
        while True:
            self._again.clear()
            await self._look()
            try:
                async with asyncio.timeout(self._interval * random.uniform(1 - JITTER, 1 + JITTER)):
                    await self._again.wait()
            except TimeoutError:
                continue

    async def _look(self) -> None:
        try:
            seen = await detect(self._query)
        except ServerError as error:
            event("cluster not looked at", cluster=self.name, reason=error.message)
            return
        except Exception as error:  # an answer of a form we do not know must not end the watch
            event("cluster not understood", level=logging.WARNING, cluster=self.name, reason=repr(error))
            return
        if self.current is None or self.current.text != seen.text:
            event("cluster seen", cluster=self.name, version=seen.text)
        if self.current is None or self.current.grants.told != seen.grants.told:
            self._tell(seen.grants, first=self.current is None)
        self.current = seen

    def _tell(self, seen: Grants, *, first: bool) -> None:
        """Log what our own account may do: once when it is too much or not known, and when it is so no more."""
        if seen.only_reads is None:
            event("doris_account_not_known", level=logging.WARNING, cluster=self.name, reason=seen.unknown)
        elif seen.too_much:
            event("doris_account_has_too_much", level=logging.WARNING, cluster=self.name, **seen.report())
        elif not first:
            event("doris_account_only_reads", cluster=self.name, account=seen.account)


async def _ask(query: Query, sql: str) -> list[dict[str, Any]] | None:
    try:
        return (await query(sql)).dicts()
    except QueryFailed:
        return None


def _caches(rows: list[dict[str, Any]]) -> dict[str, bool]:
    values = {str(row["variable_name"]): str(row.get("value")).lower() for row in rows}
    return {cache: values[f"enable_{cache}"] in ("true", "on", "1") for cache in CACHES if f"enable_{cache}" in values}


def _nodes(rows: list[dict[str, Any]] | None) -> Nodes | None:
    if rows is None:
        return None
    return Nodes(sum(str(row.get("alive")).lower() == "true" for row in rows), len(rows))


def _flavour(
    text: str, version: Version | None, backends: list[dict[str, Any]] | None
) -> Literal["coupled", "decoupled"] | None:
    """Frontends say "(Cloud Mode)" since 3.0; where that is lost, the backends' tags name a cloud cluster."""
    if "cloud mode" in text.lower() or any("cloud_" in str(row.get("tag")) for row in backends or ()):
        return "decoupled"
    return None if version is None else "coupled"
