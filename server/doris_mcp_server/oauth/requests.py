"""The authorization request: who wants to have what, and where the answer goes. Read from a query, carried in a form.

No host remembers it: the login page carries it sealed, bound to the browser it was shown to, for ten minutes.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from doris_mcp_server.auth import ALL_SCOPES, canonical
from doris_mcp_server.keys import KeyRing
from doris_mcp_server.oauth.clients import Client
from doris_mcp_server.oauth.messages import Refused

GOOD_FOR: Final = 600.0  # seconds from the page to the login
LONGEST_STATE: Final = 2048  # characters
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_STATE = re.compile(rf"[\x20-\x7e]{{0,{LONGEST_STATE}}}")


@dataclass(frozen=True, slots=True)
class Target:
    """Where the answer goes. `redirect_uri` is one that the client may use."""

    client: str
    name: str
    published: bool
    redirect_uri: str
    state: str

    def url(self, issuer: str, **answer: str) -> str:
        """The redirect that brings the client its answer, with `state` and `iss` (RFC 9207)."""
        members = answer | ({"state": self.state} if self.state else {}) | {"iss": issuer}
        return f"{self.redirect_uri}{'&' if '?' in self.redirect_uri else '?'}{urlencode(members)}"

    @property
    def label(self) -> str:
        """What operators see of the client."""
        return self.client if self.published else self.name


@dataclass(frozen=True, slots=True)
class Request(Target):
    """A request that may be shown to the user. `challenge` is PKCE's, S256; `scopes` are those asked for."""

    challenge: str
    scopes: tuple[str, ...]
    until: float  # Unix time, seconds


def target(asked: Mapping[str, str], client: Client) -> Target:
    """Where an answer to this request may go. Raises: Refused where nowhere: then nothing is sent there."""
    uri = asked.get("redirect_uri", "")
    if not client.may_redirect(uri):
        raise Refused("invalid_request", "the redirect_uri is none of those the client registered")
    state = asked.get("state", "")
    if not _STATE.fullmatch(state):
        raise Refused("invalid_request", f"state must be at most {LONGEST_STATE} printable ASCII characters")
    return Target(client.id, client.name, client.published, uri, state)


def read(asked: Mapping[str, str], at: Target, resource: str) -> Request:
    """The request for `resource`, our own. Raises: Refused with what the client is told."""
    if asked.get("response_type") != "code":
        raise Refused("unsupported_response_type", "response_type must be code")
    if asked.get("response_mode", "query") != "query":
        raise Refused("invalid_request", "response_mode can only be query")
    if asked.get("code_challenge_method") != "S256":
        raise Refused("invalid_request", "PKCE is required: code_challenge_method must be S256")
    challenge = asked.get("code_challenge", "")
    if not _CHALLENGE.fullmatch(challenge):
        raise Refused("invalid_request", "PKCE is required: code_challenge must be a SHA-256 in base64url")
    check_resource(asked.get("resource", ""), resource)
    return Request(**asdict(at), challenge=challenge, scopes=_scopes(asked), until=time.time() + GOOD_FOR)


def check_resource(asked: str, resource: str) -> None:
    """Raises: Refused where tokens are wanted for anything but us (RFC 8707)."""
    if canonical(asked) != canonical(resource):
        raise Refused("invalid_target", f"resource must be {resource}")


def _scopes(asked: Mapping[str, str]) -> tuple[str, ...]:
    """Those of ours that are asked for (RFC 6749 section 3.3 lets us leave out others); without any, all of them."""
    if "scope" not in asked:
        return ALL_SCOPES
    wanted = asked["scope"].split(" ")
    if not (known := tuple(scope for scope in ALL_SCOPES if scope in wanted)):
        raise Refused("invalid_scope", f"scopes are {' '.join(ALL_SCOPES)}")
    return known


def seal(request: Request, ring: KeyRing, browser: str) -> str:
    """The request as a field of the form that is shown to `browser`."""
    return ring.seal(orjson.dumps(request), browser.encode())


def unseal(text: str, ring: KeyRing, browser: str) -> Request | None:
    """What was sealed for the same browser and is not too old; None for anything else."""
    try:
        opened = ring.open(text, browser.encode())
    except UnicodeEncodeError:  # not ASCII
        return None
    if opened is None:
        return None
    members: dict[str, Any] = orjson.loads(opened)
    if members.keys() != {each.name for each in fields(Request)}:
        return None  # of another release
    request = Request(**members | {"scopes": tuple(members["scopes"])})
    return request if time.time() < request.until else None
