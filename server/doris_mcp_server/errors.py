"""Every error this server raises on purpose, as one tree.

    ServerError                what a caller may see: kind, message, hint, retryable
    ├── ConfigError            a setting is missing or wrong (names the variable and the fix)
    ├── StatementRefused       the guard will not send this statement to Doris
    ├── InvalidArgument        a tool argument is out of its bounds
    ├── Overloaded             a limit on concurrency or on a rate is reached; try again later
    ├── ShuttingDown           this worker ends and could not wait any longer; try again at once
    ├── DorisError             Doris, or the way to it, failed
    │   ├── DorisUnavailable   nobody answers, or not in time
    │   ├── DorisRefusedLogin  the account or its password is wrong
    │   ├── QueryTimeout       the statement ran longer than it may
    │   ├── QueryFailed        Doris answered with an error of its own
    │   └── AnswerTooLarge     a frontend's page is larger than it may be
    ├── StoreUnavailable       the shared store cannot be reached
    ├── IssuerUnavailable      the keys of an issuer of tokens cannot be had
    ├── KeysUnreadable         the store's key ring is not for this server: another token key, a newer format
    └── SettingsUnreadable     the same of what the configuration centre says

Raise narrow, catch narrow. `message` never carries a secret; a traceback never reaches a caller.
"""

import json
import math
from typing import Any, ClassVar, NamedTuple

# JSON-RPC's "Invalid Request", as the SDK answers everything that it turns away at the door. MCP 2026-07-28 (basic,
# error codes) closes -32000…-32019 to new uses and keeps -32020…-32099; -32001 is a time-out to both SDKs. Clients
# act on the HTTP status and the challenge; the code only has to be one that none of them mistakes for something else.
REFUSED = -32600
DRAINING = "this host is draining; try again"


class ServerError(Exception):
    """An error with a stable `kind`, words for a person and a hint what to do next."""

    kind: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def as_dict(self) -> dict[str, Any]:
        """The error as it appears in a tool result: kind, message, retryable and, where known, hint."""
        shown: dict[str, Any] = {"kind": self.kind, "message": self.message, "retryable": self.retryable}
        if self.hint:
            shown["hint"] = self.hint
        return shown


class ConfigError(ServerError):
    kind = "config"


class Place(NamedTuple):
    """Where in a text something stands: line and column, counted from 1, in characters."""

    line: int
    column: int


class StatementRefused(ServerError):
    """`at` is the place of what was refused, or None when it is the statement as a whole."""

    kind = "statement_refused"

    def __init__(self, message: str, *, hint: str | None = None, at: Place | None = None) -> None:
        super().__init__(message, hint=hint)
        self.at = at

    def as_dict(self) -> dict[str, Any]:
        return super().as_dict() | ({"at": self.at._asdict()} if self.at else {})


class InvalidArgument(ServerError):
    kind = "invalid_argument"


class Overloaded(ServerError):
    """`retry_after`: whole seconds until it may work."""

    kind = "overloaded"
    retryable = True

    def __init__(self, message: str, *, hint: str | None = None, retry_after: float = 1.0) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = max(math.ceil(retry_after), 1)

    def as_dict(self) -> dict[str, Any]:
        return super().as_dict() | {"retry_after_s": self.retry_after}


class ShuttingDown(ServerError):
    kind = "shutting_down"
    retryable = True


class DorisError(ServerError):
    kind = "doris"


class DorisUnavailable(DorisError):
    kind = "doris_unavailable"
    retryable = True


class DorisRefusedLogin(DorisError):
    kind = "doris_refused_login"


class QueryTimeout(DorisError):
    kind = "query_timeout"


class QueryFailed(DorisError):
    kind = "query_failed"


class AnswerTooLarge(DorisError):
    kind = "answer_too_large"


class StoreUnavailable(ServerError):
    kind = "store_unavailable"
    retryable = True


class IssuerUnavailable(ServerError):
    kind = "issuer_unavailable"
    retryable = True


class KeysUnreadable(ServerError):
    kind = "keys_unreadable"


class SettingsUnreadable(ServerError):
    kind = "settings_unreadable"


def error_body(message: str, request_id: str | int | None = None, code: int = REFUSED) -> bytes:
    """A JSON-RPC error: clients show its message, where of any other body they show only that there was one."""
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}}).encode()
