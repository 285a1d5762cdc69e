"""What outlives a request: one small protocol, kept in memory for one host or in Redis for a fleet."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal, Protocol

from doris_mcp_server.config import Settings
from doris_mcp_server.state.bus import Bus

SessionState = Literal["live", "ended"]


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """An issued bearer token. The token itself is not in here: the store knows only its keyed hash."""

    id: str
    name: str
    principal: str
    scopes: tuple[str, ...]
    created: float  # Unix time, seconds
    expires: float | None  # Unix time, seconds; None never
    audience: str | None = None  # the only resource (URL of a server) it is good for; None any of this fleet

    def as_dict(self) -> dict[str, object]:
        return asdict(self) | {"scopes": list(self.scopes)}

    def expired(self) -> bool:
        return self.expires is not None and self.expires <= time.time()


class Store(Protocol):
    """Where tokens, keys and the ends of sessions live. What is awaited may raise StoreUnavailable, within seconds."""

    async def get_token(self, digest: str) -> TokenRecord | None:
        """The token with this keyed hash (hexadecimal), or None."""

    async def put_token(self, digest: str, record: TokenRecord) -> None:
        """Keep a new token; it is forgotten by itself when it expires."""

    async def list_tokens(self) -> list[TokenRecord]:
        """All tokens that have not expired, oldest first."""

    async def revoke_token(self, token_id: str) -> bool:
        """Forget a token; False when there is none with this id."""

    async def session(self, id: str) -> SessionState | None:
        """What is known of a session; None: no record, or none any more."""

    async def touch_session(self, id: str, ttl: float) -> None:
        """Keep a session live for `ttl` seconds from now, unless it was ended."""

    async def end_session(self, id: str, ttl: float) -> None:
        """End a session, and keep that for `ttl` seconds; no touch undoes it."""

    def watch_sessions(self, ended: Callable[[str], None]) -> None:
        """Call `ended` with the id of each session whose end this process hears of, its own ends included."""

    async def read_keys(self) -> str | None:
        """The key ring, as text that only `ring` can read; None when there is none."""

    async def write_keys(self, text: str, instead_of: str | None) -> bool:
        """Put a key ring in the place of the one that was read, and tell everybody; False when another one is there."""

    async def keys_written(self, within: float) -> None:
        """Return when this process hears of a new key ring, after `within` seconds at the latest. Raises nothing."""

    async def ping(self) -> None:
        """Return when the store answers."""

    async def close(self) -> None:
        """Give back connections. The store is of no use afterwards."""


def open_store(settings: Settings, bus: Bus | None = None) -> Store:
    """The store the settings ask for, telling the host's other workers over `bus`. Connects to nothing yet."""
    bus = bus or Bus()
    if not settings.redis_url:
        from doris_mcp_server.state.memory import MemoryStore

        return MemoryStore(bus, deaf_seconds=settings.session_idle_seconds)
    from doris_mcp_server.state.redis import RedisStore

    return RedisStore(settings, bus)
