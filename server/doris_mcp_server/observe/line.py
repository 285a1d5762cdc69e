"""One log line: a JSON object in ASCII, with the secrets taken out and never longer than LONGEST.

`line` is one call into orjson for what is plain. What might hold a secret, is not ASCII, is too long or cannot be
serialised is taken apart value by value; that costs several times as much and is rare.
"""

import os
import re
import time
from collections.abc import Mapping
from typing import Any

import orjson

from doris_mcp_server.observe.redaction import TELLTALE, names_a_secret, redact

LONGEST = 32 << 10
"""Bytes of a line. journald splits at 48 KiB, and what it splits off could be made to look like a line of ours."""

_BASE = ("time", "level", "logger", "pid", "message")
_STRINGS = (8192, 1024, 128)  # characters a string may keep, tried until the line is short enough
_READ = 1 << 16  # characters of a string that are looked at
_DEPTH = 6
_NUMBERS = frozenset((int, float, bool, type(None)))
_SHORT, _REMEMBERED = 64, 4096  # characters; strings
_WIDE = re.compile(r"[^\x00-\x7e]")


def line(created: float, level: str, logger: str, message: str, fields: Mapping[str, object]) -> bytes:
    """The line, with its line feed. `created` in Unix seconds; `fields` become members beside the message.

    Never raises: what has no JSON is shown as str, what has no str as its type.
    """
    members = {"time": stamp(created), "level": level, "logger": logger, "pid": _pid, "message": message, **fields}
    if not _all_plain(message, fields):
        return _with_care(members)
    try:
        raw = orjson.dumps(members, None, orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # an integer beyond 64 bits
        return _with_care(members)
    return raw if len(raw) <= LONGEST else _with_care(members)


def _all_plain(message: str, fields: Mapping[str, object]) -> bool:
    # The same names, tools, outcomes and callers come again and again: looking one up is cheaper than searching it.
    plain = _plain
    if message not in plain and not _is_plain(message):
        return False
    for name, value in fields.items():
        if name not in _plain_names and not _is_plain_name(name):
            return False
        kind = type(value)
        if kind is str:
            if value not in plain and not _is_plain(value):  # type: ignore[arg-type]
                return False
        elif kind not in _NUMBERS:
            return False
    return True


def _is_plain(text: str) -> bool:
    """Whether `text` is ASCII in which `redact` finds nothing; short ones are remembered."""
    if not text.isascii() or len(text) > LONGEST:
        return False
    low = text.lower()
    if any(word in low for word in TELLTALE) and redact(text) != text:
        return False
    if len(text) <= _SHORT:
        _remember(text, _plain)
    return True


def _is_plain_name(name: str) -> bool:
    if names_a_secret(name) or not _is_plain(name):
        return False
    _remember(name, _plain_names)
    return True


def _remember(text: str, among: set[str]) -> None:
    if len(among) >= _REMEMBERED:
        among.clear()
    among.add(text)


def stamp(created: float) -> str:
    """Unix seconds as ISO 8601 in UTC, with milliseconds."""
    global _second
    seconds, ms = divmod(int(created * 1000), 1000)
    known = _second
    if known[0] != seconds:
        known = _second = (seconds, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)))
    return f"{known[1]}.{ms:03d}+00:00"


def _with_care(members: Mapping[str, object]) -> bytes:
    for longest in _STRINGS:
        try:
            raw = _in_ascii({_text(name, longest): _value(name, value, longest) for name, value in members.items()})
        except Exception:  # a container that another thread changes: a log call must not fail what it tells of
            break
        if len(raw) <= LONGEST:
            return raw
    return _in_ascii({name: _value(name, members[name], _STRINGS[-1]) for name in _BASE} | {"cut": True})


def _value(name: object, value: object, longest: int, depth: int = 0) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if names_a_secret(name):
        return "***"
    if type(value) is float or (type(value) is int and -(1 << 63) <= value < 1 << 64):
        return value
    if depth < _DEPTH and isinstance(value, dict):
        return {_text(key, longest): _value(key, inner, longest, depth + 1) for key, inner in value.items()}
    if depth < _DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [_value(None, inner, longest, depth + 1) for inner in value]
    return _text(value, longest)


def _text(value: object, longest: int) -> str:
    """`value` in words, without secrets; of a long text its begin and its end, where a traceback says most."""
    try:
        text = str(value)
    except Exception as error:  # whatever a foreign __str__ raises
        text = f"<{type(value).__name__}: {type(error).__name__}>"
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()  # lone surrogates
    # The begin before `redact`: a cut through the middle could part a secret from the word that betrays it.
    text = redact(text[:_READ])
    if len(text) > longest:
        half = longest // 2
        text = f"{text[:half]} [{len(text) - 2 * half} characters cut] {text[-half:]}"
    return text


def _in_ascii(members: Mapping[str, Any]) -> bytes:
    """All beyond ASCII escaped: U+0085, U+2028 and the bidirectional marks can forge a line in some reader."""
    raw = orjson.dumps(members, None, orjson.OPT_APPEND_NEWLINE)
    return raw if raw.isascii() else _WIDE.sub(_escaped, raw.decode()).encode()


def _escaped(match: re.Match[str]) -> str:
    units = match.group().encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _look_up_pid() -> None:
    global _pid
    _pid = os.getpid()


_pid = os.getpid()
_second = (-1, "")
_plain: set[str] = set()
_plain_names: set[str] = set()
os.register_at_fork(after_in_child=_look_up_pid)
