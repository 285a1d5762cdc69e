"""What outlives a request: one small protocol, kept in memory for one host or in Redis for a fleet."""

import time
from dataclasses import asdict, dataclass
from typing import Protocol

from doris_mcp_server.config import Settings


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """An issued bearer token. The token itself is not in here: the store knows only its keyed hash."""

    id: str
    name: str
    principal: str
    scopes: tuple[str, ...]
    created: float  # Unix time, seconds
    expires: float | None  # Unix time, seconds; None never

    def as_dict(self) -> dict[str, object]:
        return asdict(self) | {"scopes": list(self.scopes)}

    def expired(self) -> bool:
        return self.expires is not None and self.expires <= time.time()


class Store(Protocol):
    """Where tokens live. Every method may raise StoreUnavailable, within a few seconds, never later."""

    async def get_token(self, digest: str) -> TokenRecord | None:
        """The token with this keyed hash (hexadecimal), or None."""

    async def put_token(self, digest: str, record: TokenRecord) -> None:
        """Keep a new token; it is forgotten by itself when it expires."""

    async def list_tokens(self) -> list[TokenRecord]:
        """All tokens that have not expired, oldest first."""

    async def revoke_token(self, token_id: str) -> bool:
        """Forget a token; False when there is none with this id."""

    async def ping(self) -> None:
        """Return when the store answers."""

    async def close(self) -> None:
        """Give back connections. The store is of no use afterwards."""


def open_store(settings: Settings) -> Store:
    """The store the settings ask for. Connects to nothing yet."""
    if not settings.redis_url:
        from doris_mcp_server.state.memory import MemoryStore

        return MemoryStore()
    from doris_mcp_server.state.redis import RedisStore

    return RedisStore(settings)
