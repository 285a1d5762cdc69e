"""The programs that ask for tokens. None has a secret (they run at their users'), and none is kept in the store.

A client registers (RFC 7591) and gets a `client_id` that is its own registration, sealed: a flood of registrations
stores nothing, and every host knows every client. Or it publishes a document about itself (`documents`).
"""

import re
import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import orjson

from doris_mcp_server.keys import KeyRing
from doris_mcp_server.oauth.messages import Refused

LONGEST_ID: Final = 2048  # characters; it goes into URLs
_MOST: Final = 8  # redirect URIs of a client
_NAME: Final = 100  # characters
_SEALED: Final = 1400  # bytes of a registration
_PREFIX: Final = "c."

# RFC 3986's characters, without a fragment, a user or an IPv6 address: what a browser could read in another way.
_REST = r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?"
_HTTPS = re.compile(rf"https://[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{{1,5}})?{_REST}")
_LOOPBACK = re.compile(rf"(http://(?:127\.0\.0\.1|\[::1\]|localhost))(?::[0-9]{{1,5}})?({_REST})")
_OURS: Final = frozenset({"code", "state", "iss", "error", "error_description", "error_uri"})


@dataclass(frozen=True, slots=True)
class Client:
    """A client, as it describes itself. `published`: its id is the address of a document, so its host is sure."""

    id: str
    name: str
    redirect_uris: tuple[str, ...]
    published: bool = False

    @property
    def label(self) -> str:
        """What operators see of it."""
        return self.id if self.published else self.name

    def may_redirect(self, uri: str) -> bool:
        """Whether an answer may go there: to the letter, but for the port of a loopback address (RFC 8252 7.3)."""
        if uri in self.redirect_uris:
            return True
        asked = _LOOPBACK.fullmatch(uri)
        known = (_LOOPBACK.fullmatch(each) for each in self.redirect_uris)
        return asked is not None and any(each is not None and each.groups() == asked.groups() for each in known)


def is_loopback(uri: str) -> bool:
    """Whether a redirect URI leads to the user's own machine."""
    return _LOOPBACK.fullmatch(uri) is not None


def described(document: Any) -> tuple[str, tuple[str, ...]]:
    """Name and redirect URIs in the metadata of a client (RFC 7591 section 2).

    Raises: Refused with `invalid_redirect_uri` or `invalid_client_metadata`.
    """
    if not isinstance(document, dict):
        raise Refused("invalid_client_metadata", "the metadata must be a JSON object")
    uris = document.get("redirect_uris")
    if not isinstance(uris, list) or not 1 <= len(uris) <= _MOST:
        raise Refused("invalid_redirect_uri", f"redirect_uris must be a list of 1 to {_MOST}")
    for uri in uris:
        _check_redirect(uri)
    name = document.get("client_name", urlsplit(uris[0]).hostname)
    if not isinstance(name, str) or not 0 < len(name) <= _NAME or not name.isprintable() or not name.strip():
        raise Refused("invalid_client_metadata", f"client_name must have 1 to {_NAME} printable characters")
    if document.get("token_endpoint_auth_method", "none") not in _AUTH_METHODS:
        raise Refused("invalid_client_metadata", "token_endpoint_auth_method can only be none")
    for member, ours in (("grant_types", "authorization_code"), ("response_types", "code")):
        wanted = document.get(member, [ours])
        if not isinstance(wanted, list) or ours not in wanted:
            raise Refused("invalid_client_metadata", f"{member} must contain {ours}")
    return name.strip(), tuple(uris)


# Some clients ask for a secret because RFC 7591 makes that the default; they take the answer `none`.
_AUTH_METHODS: Final = ("none", "client_secret_post", "client_secret_basic")


def _check_redirect(uri: Any) -> None:
    if not isinstance(uri, str) or not (_HTTPS.fullmatch(uri) or _LOOPBACK.fullmatch(uri)):
        words = "a redirect URI must be https, or http on 127.0.0.1, [::1] or localhost, without user or fragment"
        raise Refused("invalid_redirect_uri", words)
    if not _OURS.isdisjoint(name for name, _ in parse_qsl(urlsplit(uri).query, keep_blank_values=True)):
        raise Refused("invalid_redirect_uri", "a redirect URI may not have parameters that the answer has")


class Registrations:
    """Clients that registered. `ring` must be one whose keys live as long as refresh tokens do."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring.derive("oauth-client:v1")

    def register(self, body: bytes) -> dict[str, Any]:
        """The client's information (RFC 7591 section 3.2.1). Raises: Refused."""
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise Refused("invalid_client_metadata", "the body must be JSON") from None
        name, uris = described(document)
        sealed = orjson.dumps([name, uris])
        if len(sealed) > _SEALED:
            raise Refused("invalid_client_metadata", f"name and redirect URIs are longer than {_SEALED} bytes")
        return {
            "client_id": _PREFIX + self._ring.seal(sealed),
            "client_id_issued_at": int(time.time()),
            "client_name": name,
            "redirect_uris": uris,
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        }

    def find(self, client_id: str) -> Client | None:
        """The client that got this id from us."""
        if not client_id.startswith(_PREFIX) or len(client_id) > LONGEST_ID or not client_id.isascii():
            return None
        opened = self._ring.open(client_id.removeprefix(_PREFIX))
        if opened is None:
            return None
        name, uris = orjson.loads(opened)
        return Client(client_id, name, tuple(uris))
