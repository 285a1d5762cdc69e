"""What the fleet shares, opened for one command of an operator: the store, and a way to tell the servers of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from doris_mcp_server import ctl
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import ConfigError, ServerError
from doris_mcp_server.state import Store, open_store, state_directory
from doris_mcp_server.state.bus import Bus


class Shared(NamedTuple):
    store: Store
    bus: Bus


@contextlib.asynccontextmanager
async def opened(settings: Settings, what: str) -> AsyncIterator[Shared]:
    """The store of the fleet, or of this lone host. `what` is what the command looks for there, in the plural.

    Raises: ConfigError where the settings name neither, or no key.
    """
    if not settings.redis_url and not state_directory(settings):
        raise ConfigError(
            f"{what} live in the store, and the settings name none: neither REDIS_URL nor DORIS_MCP_STATE_DIR",
            hint="pass --env-file /etc/doris-mcp/doris-mcp.env",
        )
    if not settings.token_key:
        raise ConfigError("DORIS_MCP_TOKEN_KEY is not set", hint="use the key of the fleet (DORIS_MCP_TOKEN_KEY_FILE)")
    bus = Bus()
    store = open_store(settings, bus)
    try:
        if settings.redis_url:
            yield Shared(store, bus)
        else:
            async with _telling(bus, settings.ctl_socket or ctl.DEFAULT_SOCKET):
                yield Shared(store, bus)
    finally:
        await store.close()


@contextlib.asynccontextmanager
async def _telling(bus: Bus, path: str) -> AsyncIterator[None]:
    """Carry what is published to the workers of this host. Where no server runs there is nobody to tell."""
    telling: list[asyncio.Task[dict[str, Any]]] = []

    def carry(topic: str, data: dict[str, Any]) -> None:
        telling.append(asyncio.create_task(ctl.ask(path, {"do": "tell", "topic": topic, "data": data})))

    bus.carriers.append(carry)
    yield
    for answer in await asyncio.gather(*telling, return_exceptions=True):
        if isinstance(answer, BaseException) and not isinstance(answer, ServerError):
            raise answer
