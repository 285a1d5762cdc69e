"""One frontend by its HTTP address, and what its answers mean: status and JSON envelope as data or as an error.

Doris answers nearly everything with status 200 and {"code", "msg", "data", "count"}; the codes are those of
RestApiStatusCode.java, where 403 is "bad request" and not "forbidden".
"""

from typing import Any, Final, NamedTuple

import orjson

from doris_mcp_server.errors import DorisRefusedLogin, DorisUnavailable, QueryFailed

LONGEST_WORDS: Final = 500  # characters of a frontend's own words in a message
_NO_FRONTEND: Final = "Is that the HTTP port of a Doris frontend (http_port in fe.conf, 8030 by default)?"
_DENIED: Final = "The Doris account may not see that; ask for something else."
_LOGIN: Final = "The Doris account or its password is wrong, or it may not log in over HTTP."


class Absent(QueryFailed):
    """The frontend has no such page."""


class Frontend(NamedTuple):
    """Host and HTTP port; as text, the words for it in a message."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"Doris' HTTP port at {self.host}:{self.port}"

    def body(self, status: int, body: bytes) -> bytes:
        """The body of an answer with a good status. Raises DorisRefusedLogin, DorisUnavailable, Absent, QueryFailed."""
        if 200 <= status < 300:
            return body
        if status == 403:
            raise QueryFailed(f"{self} denies access", hint=_DENIED)
        raise self._fault(status, f"HTTP status {status}")

    def data(self, body: bytes) -> Any:
        """What the JSON envelope carries. Raises as `body` does, by the envelope's code."""
        try:
            envelope = orjson.loads(body)
            code, data = int(envelope["code"]), envelope.get("data")
        except (ValueError, TypeError, KeyError, AttributeError):
            raise QueryFailed(f"{self} answered with something that is not Doris'", hint=_NO_FRONTEND) from None
        if code == 0:
            return data
        words = data if isinstance(data, str) else str(envelope.get("msg"))
        raise self._fault(code, words[:LONGEST_WORDS])

    def _fault(self, code: int, words: str) -> DorisRefusedLogin | DorisUnavailable | QueryFailed:
        match code:
            case 401:
                return DorisRefusedLogin(f"{self} refused the login: {words}", hint=_LOGIN)
            case 404:
                return Absent(f"{self} does not have that: {words}", hint=_NO_FRONTEND)
            case 503:
                return DorisUnavailable(f"{self} is not ready: {words}", hint="Try again in a moment.")
        return QueryFailed(f"{self} answered: {words}", hint=_DENIED if "access den" in words.lower() else None)
