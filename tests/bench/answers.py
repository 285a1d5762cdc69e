"""Reading an HTTP answer and judging it. Lean, because the client shares the machine with what it measures."""

import re
from dataclasses import dataclass

import orjson

from .calls import Call, failed

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Unreadable(Exception):
    """Bytes that are no HTTP answer."""


@dataclass(slots=True)
class Answer:
    """A whole HTTP answer. `closing`: the server wants no further request on this connection."""

    status: int
    head: bytes
    body: bytes
    closing: bool


def parse(data: bytes) -> Answer | None:
    """The one answer that `data` is, or None when it has not all come. Raises: Unreadable."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = data[:end]
    if not data.startswith(b"HTTP/1.1 ") or not data[9:12].isdigit():
        raise Unreadable("no HTTP/1.1 status line")
    if found := _LENGTH.search(head):
        rest = len(data) - end - 4 - int(found[1])
        if rest < 0:
            return None
        body = data[end + 4 :]
    elif b"chunked" in head.lower():
        whole = _unchunked(data, end + 4)
        if whole is None:
            return None
        body, rest = whole
    elif data[9:12] in (b"202", b"204"):
        body, rest = b"", len(data) - end - 4
    else:
        raise Unreadable("neither a length nor chunks")
    if rest:
        raise Unreadable("more bytes than one answer")
    return Answer(int(data[9:12]), head, body, b"onnection: close" in head)


def _unchunked(data: bytes, at: int) -> tuple[bytes, int] | None:
    """The body and how many bytes follow it, or None when the last chunk has not come."""
    parts: list[bytes] = []
    while True:
        line = data.find(b"\r\n", at)
        if line < 0:
            return None
        try:
            size = int(data[at:line], 16)
        except ValueError:
            raise Unreadable("no size of a chunk") from None
        at = line + 2 + size + 2
        if at > len(data):
            return None
        if not size:
            return b"".join(parts), len(data) - at
        parts.append(data[line + 2 : at - 2])


def message(answer: Answer) -> object:
    """The JSON-RPC message in an answer, plain or the last event of a stream. Raises: ValueError."""
    body = answer.body
    if body.startswith((b"event:", b"data:", b":", b"id:")):
        # Notifications may come before the one answer.
        body = next((line[5:] for line in reversed(body.splitlines()) if line.startswith(b"data:")), b"")
    found: object = orjson.loads(body)
    return found


def judge(answer: Answer, call: Call, number: str) -> str | None:
    """What is wrong with an answer to the request of that number; None when nothing is."""
    if answer.status != 200:
        return f"HTTP {answer.status}"
    try:
        found = message(answer)
    except ValueError:
        return "unreadable JSON"
    if not isinstance(found, dict) or found.get("jsonrpc") != "2.0":
        return "no JSON-RPC"
    if found.get("id") != int(number):
        return "wrong id"
    if "error" in found:
        error = found["error"]
        return f"JSON-RPC error {error.get('code') if isinstance(error, dict) else ''}"
    result = found.get("result")
    if not isinstance(result, dict):
        return "no result"
    if failed(result):
        return "isError"
    return None if call.right(result, number) else "wrong result"
