"""What the authorization server is asked and answers, apart from how it came: requests, replies, and OAuth's errors."""

from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson

from doris_mcp_server.answers import Header, Scope

LARGEST: Final = 1 << 16  # bytes of a body
_FIELDS: Final = 40  # fields of a form
_FORM: Final = b"application/x-www-form-urlencoded"
_NO_STORE: Final[list[Header]] = [(b"cache-control", b"no-store"), (b"pragma", b"no-cache")]


@dataclass(frozen=True, slots=True)
class Ask:
    """A request. `address` is the client's, as `auth.addresses` finds it: limits go by it."""

    method: str
    path: str
    query: bytes
    headers: dict[bytes, bytes]
    body: bytes
    address: str

    @classmethod
    def of(cls, scope: Scope, headers: dict[bytes, bytes], body: bytes, address: str) -> "Ask":
        """An ASGI request."""
        return cls(scope["method"], scope["path"], scope["query_string"], headers, body, address)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and the headers beside what every answer has."""

    status: int
    body: bytes = b""
    kind: bytes = b"application/json"
    headers: list[Header] = field(default_factory=list)


class Refused(Exception):
    """What may not be: `error` is OAuth's word for it (RFC 6749 section 5.2), then words for a person.

    `after` is how many seconds to wait before trying again, 0: that would not help.
    """

    def __init__(self, error: str, words: str, *, status: int = 400, after: float = 0.0) -> None:
        super().__init__(words)
        self.error = error
        self.words = words
        self.status = status
        self.after = after

    @property
    def headers(self) -> list[Header]:
        """What goes with the status: when to come again, how to say who one is."""
        if self.status == 401:
            return [(b"www-authenticate", b'Basic realm="oauth"')]
        return [(b"retry-after", b"%d" % (int(self.after) + 1))] if self.after else []


def away(words: str) -> Refused:
    """Something behind us does not answer.

    Not a 503: that is the word of a draining host alone, and the balancer sends what gets it to the next one.
    """
    return Refused("temporarily_unavailable", words, status=502, after=5)


def answer(page: dict[str, Any], status: int = 200) -> Reply:
    """JSON that nobody may keep (RFC 6749 section 5.1)."""
    return Reply(status, orjson.dumps(page), headers=list(_NO_STORE))


def refusal(refused: Refused) -> Reply:
    """An error of OAuth as JSON."""
    page = {"error": refused.error, "error_description": refused.words}
    return Reply(refused.status, orjson.dumps(page), headers=[*_NO_STORE, *refused.headers])


def form(ask: Ask) -> dict[str, str]:
    """The fields of a posted form. Raises: Refused where it is none, or names one twice (RFC 6749 section 3.2)."""
    if ask.headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != _FORM:
        raise Refused("invalid_request", "the body must be application/x-www-form-urlencoded")
    return fields(ask.body)


def fields(data: bytes) -> dict[str, str]:
    """The fields of a query or a form; empty ones count as left out. Raises: Refused as `form`."""
    try:
        pairs = parse_qsl(data.decode("ascii"), max_num_fields=_FIELDS, errors="strict")
    except ValueError:  # not ASCII, not UTF-8, too many
        raise Refused("invalid_request", "the parameters cannot be read") from None
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refused("invalid_request", "a parameter is given twice")
    return found
