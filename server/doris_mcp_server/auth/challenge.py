"""What a caller who may not pass is told: the challenge, the reason in words, and where it says how to get in.

Challenges after RFC 6750, metadata after RFC 9728, both as MCP 2026-07-28 wants them (basic/authorization).
Everything is built once per address of this server; asgi and protocol answer with it.
"""

import json
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from doris_mcp_server.auth import ALL_SCOPES
from doris_mcp_server.auth.signed import own_issuer
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import error_body

METADATA = "/.well-known/oauth-protected-resource"
METADATA_PATHS = (METADATA, METADATA + "/mcp")
"""Where clients look for the metadata of `/mcp`: RFC 9728 inserts the path, and without a path it is the server's."""

NAME = "Apache Doris (MCP)"
MAX_ADDRESSES = 64  # callers choose the port in their Host header, so there is no end to them


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer to one who may not pass: JSON, and the headers beside what every answer has."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Resource:
    """This server as an OAuth protected resource under one address (`url`, up to and with `/mcp`)."""

    def __init__(self, url: str, authorization_servers: Iterable[str] = ()) -> None:
        parts = urlsplit(url)
        self.url = url
        self.metadata_url = f"{parts.scheme}://{parts.netloc}{METADATA}{parts.path.removesuffix('/')}"
        servers = list(authorization_servers)
        self.metadata = json.dumps(
            {
                "resource": url,
                **({"authorization_servers": servers} if servers else {}),
                "scopes_supported": ALL_SCOPES,
                "bearer_methods_supported": ["header"],
                "resource_name": NAME,
            }
        ).encode()
        where = f'resource_metadata="{self.metadata_url}", scope="{" ".join(ALL_SCOPES)}"'
        # No error code for a caller who showed no token (RFC 6750 section 3.1): it may not know that it needs one.
        self.missing = _refusal(
            401, f"Bearer {where}", "Unauthorized: a bearer token is required, in one Authorization header"
        )
        self.invalid = _refusal(
            401, f'Bearer error="invalid_token", {where}', "Unauthorized: the bearer token is not valid"
        )

    def insufficient(self, scopes: Iterable[str], request_id: str | int | None = None) -> Refusal:
        """403 for an operation that needs `scopes`: all of them, so that one more authorization is enough."""
        needed = " ".join(sorted(scopes))
        challenge = f'Bearer error="insufficient_scope", scope="{needed}", resource_metadata="{self.metadata_url}"'
        return _refusal(403, challenge, f"Forbidden: this needs a token with the scope {needed}", request_id)


class Resources:
    """The resource a request was sent to: the public address of the settings, else the one the caller used."""

    def __init__(self, settings: Settings) -> None:
        # Ours first: that is the one many clients take.
        ours = (own_issuer(settings.public_url),) if settings.oauth else ()
        self._servers = (*ours, *settings.authorization_servers)
        self._public = Resource(settings.public_url, self._servers) if settings.public_url else None
        self._seen: dict[tuple[str, bytes], Resource] = {}

    def of(self, scope: MutableMapping[str, Any]) -> Resource:
        """For an ASGI scope whose Host has been found to be ours."""
        if self._public is not None:
            return self._public
        scheme, host = scope["scheme"], b""
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
            elif name == b"x-forwarded-proto" and value in (b"http", b"https"):
                scheme = value.decode()  # the balancer's; where there is none, a caller misleads but itself
        found = self._seen.get((scheme, host))
        if found is None:
            if len(self._seen) >= MAX_ADDRESSES:
                self._seen.clear()
            found = self._seen[scheme, host] = Resource(f"{scheme}://{host.decode('latin-1')}/mcp", self._servers)
        return found


def _refusal(status: int, challenge: str, message: str, request_id: str | int | None = None) -> Refusal:
    headers = [(b"www-authenticate", challenge.encode("latin-1", "replace"))]
    return Refusal(status, headers, error_body(message, request_id))
