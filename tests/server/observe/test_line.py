"""A log line: the members it always had, one line whatever is in it, and no secret in it."""

import dataclasses
import datetime
import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doris_mcp_server.observe.line import LONGEST, _is_plain, line, stamp
from doris_mcp_server.observe.redaction import TELLTALE, redact

NOON = 1_767_268_800.1234
CANARY = "hunter2-canary-0123456789"


def members(message: str = "said", **fields: object) -> dict[str, Any]:
    """What a reader finds in the line, which must be exactly one, in ASCII and not too long."""
    raw = line(NOON, "INFO", "doris_mcp", message, fields)
    assert raw.isascii() and len(raw) <= LONGEST
    assert raw.endswith(b"}\n") and len(raw.decode().splitlines()) == 1
    assert not any(code < 0x20 for code in raw[:-1])
    found: dict[str, Any] = json.loads(raw)
    return found


def test_the_members_of_a_line() -> None:
    assert members("tool call", tool="list_tables", ms=1.25, rows=3, ok=True, reason=None) == {
        "time": datetime.datetime.fromtimestamp(NOON, datetime.UTC).isoformat(timespec="milliseconds"),
        "level": "INFO",
        "logger": "doris_mcp",
        "pid": os.getpid(),
        "message": "tool call",
        "tool": "list_tables",
        "ms": 1.25,
        "rows": 3,
        "ok": True,
        "reason": None,
    }


@given(st.floats(0, 4e9))
def test_the_time_is_iso_8601_in_utc_with_milliseconds(created: float) -> None:
    shown = datetime.datetime.fromisoformat(stamp(created))
    assert shown.utcoffset() == datetime.timedelta(0)
    assert abs(shown.timestamp() - created) < 0.0011
    assert len(stamp(created)) == len("2026-01-01T12:00:00.123+00:00")


@pytest.mark.parametrize(
    "attempt",
    [
        'x\n{"level":"INFO","message":"forged"}',
        "x\r\n\x1b[2K{}",
        'x","message":"forged',
        "x\\",
        'x\\"\n',
        "x\x00\x7f\x85\x9b\u2028\u2029\u202e\ufeff\U000e0041😀 中文",
        "x\x0b\x0c\x1c\x1d\x1e\x1f",
    ],
)
@pytest.mark.parametrize("with_care", [False, True])
def test_nothing_forges_a_line_or_a_member(attempt: str, with_care: bool) -> None:
    more = {"list": [1]} if with_care else {}
    assert members(attempt, **more)["message"] == attempt
    assert members(principal=attempt, **more)["principal"] == attempt
    seen = members(**{attempt: attempt}, **more)
    assert seen[attempt] == attempt and seen["message"] == "said"


@given(st.text(), st.text(), st.text())
def test_any_text_is_one_line_and_read_as_it_was_written(message: str, name: str, value: str) -> None:
    seen = members("m" + message, **{"n" + name: value})
    if not any(word in text.lower() for text in (message, name, value) for word in TELLTALE):
        assert seen["message"] == "m" + message
        assert seen["n" + name] == value


@dataclasses.dataclass
class Login:
    user: str
    password: str = dataclasses.field(repr=False)


class Odd:
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Known:
    def __str__(self) -> str:
        return "known as"


def test_what_has_no_json_is_shown_as_its_str() -> None:
    circle: list[Any] = []
    circle.append(circle)
    seen = members(
        thing=Known(),
        login=Login("root", CANARY),
        odd=Odd(),
        when=datetime.date(2026, 1, 1),
        raw=b"\xff",
        kinds={Known},
        pair=(1, Known()),
        circle=circle,
        map={1: Known(), None: 2.5},
        huge=1 << 64,
        nan=float("nan"),
        half="\ud800",
        error=ValueError("what is wrong"),
    )
    assert seen["thing"] == "known as"
    assert seen["login"] == "Login(user='root')"
    assert seen["odd"] == "<Odd: RuntimeError>"
    assert seen["when"] == "2026-01-01"
    assert seen["raw"] == "b'\\xff'"
    assert seen["pair"] == [1, "known as"]
    assert seen["map"] == {"1": "known as", "None": 2.5}
    assert seen["huge"] == str(1 << 64)
    assert seen["nan"] is None
    assert seen["half"] == "\\ud800"
    assert seen["error"] == "what is wrong"
    assert members(huge=-(1 << 70))["huge"] == str(-(1 << 70))


def test_a_long_line_is_cut_where_it_says_least() -> None:
    traceback = "Traceback: begin" + "\n  frame" * 20_000 + "\nValueError: end"
    short = traceback[: 1 << 15] + traceback[-100:]
    seen = members(exception=short)
    assert seen["exception"].startswith("Traceback: begin") and seen["exception"].endswith("ValueError: end")
    assert "characters cut" in seen["exception"]
    assert members(exception=traceback)["exception"].startswith("Traceback: begin")
    assert members("x" * 10**6)["message"].startswith("xxx")
    assert members(many=["x" * 5000] * 100)["many"][99].startswith("x")
    assert members(numbers=list(range(10**5)))["cut"] is True


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {CANARY}",
        f"authorization=Basic {CANARY}",
        f"(b'authorization', b'Bearer {CANARY}')",
        f"{{'authorization': b'Basic {CANARY}'}}",
        f"BEARER   {CANARY}",
        f"password={CANARY}",
        f"DORIS_PASSWORD='{CANARY} and more {CANARY}'",
        f'{{"password": "a\\"{CANARY}", "user": "root"}}',
        f'{{\\"password\\": \\"{CANARY}\\"}}',
        f"passwd : {CANARY}",
        f"MYSQL_TOKEN={CANARY}",
        f"token='{CANARY}'",
        f"client_secret={CANARY}&x=1",
        f"api_key: {CANARY}",
        f"X-Api-Key: {CANARY}",
        f"DORIS_MCP_TOKEN_KEY={CANARY}",
        f"redis://:{CANARY}@redis-1:6379/0",
        f"mysql://root:p@ss/{CANARY}@doris:9030/sales",
        f"no way to redis://user:{CANARY}@redis-1,redis://user:{CANARY}@redis-2",
        f"https://example.org/?token={CANARY}",
        f"no such token dmcp_{CANARY}",
        f"token='\\\n {CANARY}'",
    ],
)
def test_no_secret_gets_into_a_line(text: str) -> None:
    for fields in ({"reason": text}, {"deep": [{"er": (text,)}]}, {"error": ValueError(text)}, {text: 1}, {}):
        shown = json.dumps(members("said" if fields else text, **fields))
        assert CANARY not in shown and "hunter2" not in shown
        assert "***" in shown


@pytest.mark.parametrize("name", ["token", "DORIS_PASSWORD", "client_secret", "authorization", "apiKey", "token_key"])
def test_a_field_named_like_a_secret_is_one(name: str) -> None:
    assert members(kind=name)["kind"] == name  # as a value, the word alone is none
    for value in (CANARY, 1234567890, [CANARY], {"x": CANARY}, CANARY.encode()):
        assert members(**{name: value})[name] == "***"
        assert members(settings={name: value})["settings"] == {name: "***"}
    assert members(**{name: None})[name] is None


@pytest.mark.parametrize(
    "text",
    [
        "tool call",
        "token not verified: store away",
        "http://10.0.0.1:3000/mcp",
        "list_tokens",
        "see https://doris.apache.org/docs@4",
        "key 7 of 9",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert members(text, reason=text)["reason"] == text


_PIECES = st.sampled_from(
    [
        "token",
        "PassWord",
        "passwd",
        "secret",
        "bearer",
        "Authorization",
        "api-key",
        "access_key",
        "dmcp_abcdefgh",
        "://",
        *("=", ":", " ", '"', "'", "\\", "@", "b'", "Basic ", "x", "é", "ſ", "K", "\n"),
    ]
)


@given(st.lists(_PIECES, max_size=12).map("".join))
def test_the_quick_look_misses_nothing(text: str) -> None:
    if _is_plain(text):
        assert redact(text) == text


def test_redaction_takes_time_in_proportion_to_the_text() -> None:
    for unit in ("://a:", "token", "token:", 'password="', "password\\", "bearer ", "bearer", "token = \\", "a@://"):
        redact(unit * (60_000 // len(unit)))  # a pattern that backtracks would not come back
