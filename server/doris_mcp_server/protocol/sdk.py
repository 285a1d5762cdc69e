"""The official SDK's server with our tools on it: for every request that is not ordinary, and for stdio.

Imported when it is first needed: it costs half a second of CPU and 20 MB, and most workers never need it.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import mcp_types as types
import orjson
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.lowlevel.server import NotificationOptions
from mcp.server.models import InitializationOptions
from mcp.server.request_state import InvalidRequestState, RequestStateBoundary, RequestStateSecurity
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.subscriptions import ListenHandler, ServerEvent
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import event_from_wire, event_to_notification
from sse_starlette.sse import AppStatus

from doris_mcp_server.answers import ASGIApp
from doris_mcp_server.auth import LOCAL, Principal
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import Overloaded
from doris_mcp_server.keys import KeyRing
from doris_mcp_server.protocol.calls import PRINCIPAL, Calls, failure, may
from doris_mcp_server.protocol.lean import CACHE_MS, INSTRUCTIONS, SERVER
from doris_mcp_server.protocol.offer import Offer
from doris_mcp_server.protocol.streams import CHANGED
from doris_mcp_server.state.bus import Bus
from doris_mcp_server.tools import Tool

_CACHE = CacheHint(ttl_ms=CACHE_MS, scope="private")


class _Server(Server[Any]):
    """Tells clients of the handshake era what is true here: their event streams hear of changes."""

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        changes = NotificationOptions(prompts_changed=True, resources_changed=True, tools_changed=True)
        return super().create_initialization_options(
            notification_options or changes, experimental_capabilities, extensions
        )


class _Events:
    """The SDK's subscription bus on ours: what is published on any worker reaches the streams of all."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def publish(self, event: ServerEvent) -> None:
        note = event_to_notification(event, {}).model_dump(by_alias=True, mode="json", exclude_none=True)
        note["params"] = {k: v for k, v in (note.get("params") or {}).items() if k != "_meta"}
        self._bus.publish(CHANGED, {k: v for k, v in note.items() if v})

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        def hear(data: dict[str, Any]) -> None:
            if (event := event_from_wire(data["method"], data.get("params") or {})) is not None:
                listener(event)

        return self._bus.subscribe(CHANGED, hear)


class _Sealed:
    """`requestState` under the fleet's keys: what one worker gave out, any worker of any host takes back."""

    def __init__(self, keys: KeyRing) -> None:
        self._ring = keys.derive("request-state:v1")

    def seal(self, payload: bytes) -> str:
        return self._ring.seal(payload)

    def unseal(self, token: str) -> bytes:
        payload = self._ring.open(token)
        if payload is None:
            raise InvalidRequestState("seal")
        return payload


class SDK:
    """The SDK's server and, once `run` has begun, its HTTP side as an ASGI application."""

    def __init__(self, offer: Offer, calls: Calls, bus: Bus, keys: KeyRing, settings: Settings) -> None:
        self._offer = offer
        self._calls = calls
        self.events = _Events(bus)
        self.listen = ListenHandler(self.events)
        self.server = _Server(
            SERVER["name"],
            version=SERVER["version"],
            title=SERVER["title"],
            instructions=INSTRUCTIONS,
            cache_hints={"tools/list": _CACHE, "server/discover": _CACHE},
            # Without it the SDK runs the whole tools/list handler before every call.
            get_tool_input_schema=lambda name: offer.tools[name].input_schema if name in offer.tools else None,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_subscriptions_listen=self.listen,
        )
        security = RequestStateSecurity(codec=_Sealed(keys), bind_principal=lambda ctx: _caller(ctx).name)
        self.server.middleware.append(RequestStateBoundary(security, default_audience=SERVER["name"]))
        if settings.test_fixtures == "conformance":
            from doris_mcp_server import fixtures

            fixtures.install(self.server, self.events)
        self._manager = StreamableHTTPSessionManager(
            self.server,
            stateless=True,
            # No JSON-only mode: with it a client that goes away no longer cancels the handler.
            json_response=False,
            # asgi has checked Host and Origin before the token; None would also switch the check off, silently.
            security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
            max_request_body_size=settings.max_body_bytes,
        )
        self.asgi: ASGIApp = self._manager.handle_request
        # sse-starlette would cut answers half a second into an exit; the drain waits for them instead.
        AppStatus.disable_automatic_graceful_drain()  # type: ignore[no-untyped-call]

    async def run(self, started: asyncio.Event) -> None:
        """Be there for `asgi` until cancelled."""
        async with self._manager.run():
            started.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.get_running_loop().create_future()

    async def serve_stdio(self) -> None:
        """One client on stdin and stdout, until stdin ends."""
        async with stdio_server() as (reader, writer):
            await self.server.run(reader, writer, self.server.create_initialization_options())

    async def _list_tools(
        self, ctx: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        if params is not None and params.cursor is not None:
            raise MCPError(types.INVALID_PARAMS, "Unknown cursor: the list of tools has one page")
        principal = _caller(ctx)
        listing: types.ListToolsResult | None = self._offer.lists.get(principal.scopes)
        if listing is None:
            tools = [_as_mcp(tool) for tool in self._offer.tools.values() if may(principal, tool)]
            listing = self._offer.lists[principal.scopes] = types.ListToolsResult(tools=tools)
        return listing

    async def _call_tool(
        self, ctx: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        principal = _caller(ctx)
        tool = self._offer.tools.get(params.name)
        if tool is None or not may(principal, tool):
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name[:128]}")
        try:
            text, failed = await self._calls.run(tool, params.arguments or {}, principal)
        except Overloaded as error:  # no status can be chosen here any more
            text, failed = failure(error), True
        return types.CallToolResult(
            content=[types.TextContent(type="text", text=text.decode())],
            structured_content=None if failed else orjson.loads(text),
            is_error=failed,
        )


def _caller(ctx: ServerRequestContext[Any]) -> Principal:
    """The verified caller; on stdio there is no HTTP request and the caller is whoever started us."""
    if ctx.request is None:
        return LOCAL
    principal: Principal = ctx.request.scope[PRINCIPAL]
    return principal


def _as_mcp(tool: Tool) -> types.Tool:
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.input_schema,
        output_schema=tool.output_schema,
        annotations=types.ToolAnnotations.model_validate({"title": tool.title, **tool.annotations}),
    )
