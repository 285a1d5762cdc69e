"""Secrets taken out of what is logged."""

import re

_NAME = r"(?: password | passwd | token | secret | authorization | (?:api|access|token|private)[_-]?key )"
_SECRET_NAME = re.compile(rf"(?aix) {_NAME} \Z")
_URL = re.compile(r"://\S+")
_SECRET = re.compile(
    rf"""(?aisx)
    ( {_NAME} \\*["']? \s* [=:] \s* (?:b(?=["']))? (?: bearer \s+ | basic \s+ )? | bearer \s+ )
    (?: \\*" (?: [^"\\] | \\. )*+ "? | \\*' (?: [^'\\] | \\. )*+ '? | [^\s"',;]+ )
    | (dmcp_) [\w-]{{8,}}"""
)
TELLTALE = ("token", "passw", "secret", "authorization", "key", "bearer", "dmcp_", "://")
"""One of these is, in lower case, in every text that `redact` changes: who looks for them first is done sooner."""


def redact(text: str) -> str:
    """`text` with `***` for bearer and issued tokens, values assigned to secret names and passwords in URLs."""
    if "://" in text and "@" in text:
        text = _URL.sub(_without_password, text)
    return _SECRET.sub(lambda m: f"{m.group(1) or m.group(2)}***", text)


def _without_password(match: re.Match[str]) -> str:
    # To the last @ of the word: a password may itself hold one.
    before, at, host = match.group().rpartition("@")
    user, colon, _ = before[3:].partition(":")
    return f"://{user}:***@{host}" if at and colon else match.group()


def names_a_secret(name: object) -> bool:
    """Whether a member of this name holds a secret, whatever its value looks like."""
    return isinstance(name, str) and _SECRET_NAME.search(name) is not None
