"""What an ordinary MCP request looks like on the wire, in both eras, as typed structs.

Decoding is the check: a body that does not fit is not ordinary and goes to the SDK, which words the rejection. So
these are never more lenient than the SDK's own models (mcp_types, schema eras 2025-11-25 and 2026-07-28); what
changes how a request must be handled (`requestState`, `task`, icons to look at) is declared as Never.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

MODERN: Final = "2026-07-28"
HANDSHAKE: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Versions reached through `initialize`, oldest first."""

# Whole numbers beyond 64 bits cannot be sent back exactly by every JSON library.
RequestId = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | str
ProgressToken = RequestId
Object = dict[str, Any]
# Present in a request, it makes the request unusual: nothing decodes to this.
Never = Literal["\0"] | UnsetType


class Implementation(Struct):
    name: str
    version: str
    title: str | None = None
    description: str | None = None
    websiteUrl: str | None = None
    icons: Never = UNSET


class Elicitation(Struct):
    form: Object | None = None
    url: Object | None = None


class Sampling(Struct):
    context: Object | None = None
    tools: Object | None = None


class Capabilities(Struct):
    """Of a 2026-07-28 client."""

    elicitation: Elicitation | None = None
    sampling: Sampling | None = None
    roots: Object | None = None
    experimental: dict[str, Object] | None = None
    extensions: dict[str, Object] | None = None


class Roots(Struct):
    listChanged: bool | None = None


class HandshakeCapabilities(Struct):
    """Of a client that initializes."""

    elicitation: Elicitation | None = None
    sampling: Sampling | None = None
    roots: Roots | None = None
    experimental: dict[str, Object] | None = None
    extensions: dict[str, Object] | None = None
    tasks: Never = UNSET


class ModernMeta(Struct):
    version: str = field(name="io.modelcontextprotocol/protocolVersion")
    capabilities: Capabilities = field(name="io.modelcontextprotocol/clientCapabilities")
    client: Implementation | None = field(name="io.modelcontextprotocol/clientInfo", default=None)
    log_level: Never = field(name="io.modelcontextprotocol/logLevel", default=UNSET)
    progress: ProgressToken | None = field(name="progressToken", default=None)


class HandshakeMeta(Struct):
    progress: ProgressToken | None = field(name="progressToken", default=None)


class ModernParams(Struct):
    meta: ModernMeta = field(name="_meta")
    cursor: Never = UNSET


class ModernCallParams(Struct):
    name: str
    meta: ModernMeta = field(name="_meta")
    arguments: Object | None = None
    task: Never = UNSET
    requestState: Never = UNSET
    inputResponses: Never = UNSET


class HandshakeParams(Struct):
    meta: HandshakeMeta | None = field(name="_meta", default=None)
    cursor: Never = UNSET


class HandshakeCallParams(Struct):
    name: str
    arguments: Object | None = None
    meta: HandshakeMeta | None = field(name="_meta", default=None)
    task: Never = UNSET


class InitializeParams(Struct):
    protocolVersion: str
    capabilities: HandshakeCapabilities
    clientInfo: Implementation
    meta: HandshakeMeta | None = field(name="_meta", default=None)


class CancelledParams(Struct):
    requestId: RequestId
    reason: str | None = None


class Envelope(Struct):
    jsonrpc: Literal["2.0"]
    id: RequestId


class Call(Envelope, tag_field="method", tag="tools/call"):
    params: ModernCallParams


class ListTools(Envelope, tag_field="method", tag="tools/list"):
    params: ModernParams


class Discover(Envelope, tag_field="method", tag="server/discover"):
    params: ModernParams


class ListPrompts(Envelope, tag_field="method", tag="prompts/list"):
    params: ModernParams


class ListResources(Envelope, tag_field="method", tag="resources/list"):
    params: ModernParams


class ListTemplates(Envelope, tag_field="method", tag="resources/templates/list"):
    params: ModernParams


class HandshakeCall(Envelope, tag_field="method", tag="tools/call"):
    params: HandshakeCallParams


class HandshakeListTools(Envelope, tag_field="method", tag="tools/list"):
    params: HandshakeParams | None = None


class HandshakeListPrompts(Envelope, tag_field="method", tag="prompts/list"):
    params: HandshakeParams | None = None


class HandshakeListResources(Envelope, tag_field="method", tag="resources/list"):
    params: HandshakeParams | None = None


class HandshakeListTemplates(Envelope, tag_field="method", tag="resources/templates/list"):
    params: HandshakeParams | None = None


class Ping(Envelope, tag_field="method", tag="ping"):
    params: HandshakeParams | None = None


class Initialize(Envelope, tag_field="method", tag="initialize"):
    params: InitializeParams


class Initialized(Struct, tag_field="method", tag="notifications/initialized"):
    jsonrpc: Literal["2.0"]
    params: Object | None = None
    id: Never = UNSET


class Cancelled(Struct, tag_field="method", tag="notifications/cancelled"):
    jsonrpc: Literal["2.0"]
    params: CancelledParams
    id: Never = UNSET


# Lists this server does not have. Clients ask for them all the same, to see.
Absent = ListPrompts | ListResources | ListTemplates
HandshakeAbsent = HandshakeListPrompts | HandshakeListResources | HandshakeListTemplates
ModernRequest = Call | ListTools | Discover | Absent
HandshakeRequest = HandshakeCall | HandshakeListTools | Ping | Initialize | Initialized | Cancelled | HandshakeAbsent

_modern: msgspec.json.Decoder[ModernRequest] = msgspec.json.Decoder(ModernRequest)
_handshake: msgspec.json.Decoder[HandshakeRequest] = msgspec.json.Decoder(HandshakeRequest)


def decode_modern(body: bytes) -> ModernRequest | None:
    """An ordinary request of 2026-07-28, or None."""
    try:
        return _modern.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def decode_handshake(body: bytes) -> HandshakeRequest | None:
    """An ordinary request or notification of the handshake era, or None."""
    try:
        return _handshake.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
