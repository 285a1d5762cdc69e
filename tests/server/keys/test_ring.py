"""The fleet's key ring: what state a key is in when, and that nobody reads or makes one without the token key."""

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doris_mcp_server.errors import InvalidArgument, KeysUnreadable
from doris_mcp_server.keys import key_id
from doris_mcp_server.keys.ring import MOST, SEAL, Key, Ring, unwrap, wrap

TOKEN_KEY = "ab" * 32
NOW, DELAY, OVERLAP = 1000.0, 90.0, 500.0
FIRST = b"f" * 32


def begun() -> Ring:
    return Ring().followed(SEAL, NOW, delay=DELAY, overlap=OVERLAP, secret=FIRST)


def rotated(ring: Ring | None = None, now: float = NOW) -> Ring:
    return (ring or begun()).followed(SEAL, now, delay=DELAY, overlap=OVERLAP)


def states(ring: Ring, now: float) -> list[str]:
    return [ring.state(key, now) for key in ring.keys]


def test_the_first_key_is_used_at_once_and_has_no_end() -> None:
    ring = begun()
    assert (ring.revision, states(ring, NOW)) == (1, ["current"])
    assert ring.keys[0] == Key(key_id(FIRST), SEAL, NOW, NOW, None, FIRST)
    assert states(ring, NOW + 1e9) == ["current"]


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (NOW, ["current", "next"]),
        (NOW + DELAY - 0.001, ["current", "next"]),
        (NOW + DELAY, ["previous", "current"]),
        (NOW + DELAY + OVERLAP - 0.001, ["previous", "current"]),
        (NOW + DELAY + OVERLAP, ["gone", "current"]),
    ],
)
def test_a_key_moves_on_by_the_clock_alone(moment: float, expected: list[str]) -> None:
    ring = rotated()
    assert states(ring, moment) == expected
    sealing = ring.keys[expected.index("current")]
    assert ring.current(SEAL, moment) is sealing
    assert ring.good(SEAL, moment)[0] is sealing
    assert {key.id for key in ring.good(SEAL, moment)} == {
        key.id for key, state in zip(ring.keys, expected, strict=True) if state != "gone"
    }


def test_one_rotation_at_a_time() -> None:
    ring = rotated()
    with pytest.raises(InvalidArgument, match=ring.keys[1].id):
        rotated(ring, NOW + DELAY - 0.001)
    again = rotated(ring, NOW + DELAY)
    assert states(again, NOW + DELAY) == ["previous", "current", "next"]
    assert again.keys[0].until == NOW + DELAY + OVERLAP  # a second rotation does not prolong what the first ended
    assert again.revision == 3


def test_keys_that_are_gone_leave_the_ring_with_the_next_change() -> None:
    late = NOW + DELAY + OVERLAP
    ring = rotated(rotated(), late)
    assert states(ring, late) == ["current", "next"]
    assert FIRST not in [key.secret for key in ring.keys]


def test_only_a_previous_key_can_be_dropped() -> None:
    ring, later = rotated(), NOW + DELAY
    for id, words in ((ring.keys[0].id, "current"), (ring.keys[1].id, "next"), ("00000000", "no key")):
        with pytest.raises(InvalidArgument, match=words):
            ring.without(id, NOW)
    left = ring.without(ring.keys[0].id, later)
    assert (left.revision, states(left, later)) == (3, ["current"])


def test_openers_seal_nothing_and_end() -> None:
    ring = begun().with_openers(SEAL, [FIRST, b"o" * 32], NOW, OVERLAP)
    assert states(ring, NOW) == ["current", "previous"]
    assert states(ring, NOW + OVERLAP) == ["current", "gone"]


def test_a_key_comes_back_once() -> None:
    ring = rotated()
    again = ring.followed(SEAL, NOW + DELAY, delay=DELAY, overlap=OVERLAP, secret=FIRST)
    assert [key.id for key in again.keys].count(key_id(FIRST)) == 1
    assert again.current(SEAL, NOW + 2 * DELAY) == again.keys[-1]


def test_a_ring_has_an_end() -> None:
    ring, now = begun(), NOW
    for _ in range(MOST - 1):
        now += DELAY
        ring = ring.followed(SEAL, now, delay=DELAY, overlap=1e9)
    with pytest.raises(InvalidArgument, match=f"{MOST} keys"):
        rotated(ring, now + DELAY)


def test_purposes_have_nothing_to_do_with_each_other() -> None:
    ring = rotated().followed("other", NOW, delay=DELAY, overlap=OVERLAP)
    assert ring.coming("other", NOW) is None
    assert ring.current("other", NOW) is ring.keys[-1]
    assert ring.keys[-1] not in ring.good(SEAL, NOW)


def test_what_was_wrapped_unwraps_and_shows_no_key() -> None:
    ring = rotated()
    text = wrap(ring, TOKEN_KEY)
    assert unwrap(text, TOKEN_KEY) == ring
    assert wrap(ring, TOKEN_KEY) != text
    for shown in (text, repr(ring), str(urlsafe_b64decode(text[2:]))):
        assert FIRST.decode() not in shown
        assert FIRST.hex() not in shown


def test_another_token_key_is_refused_with_the_fix() -> None:
    with pytest.raises(KeysUnreadable, match="DORIS_MCP_TOKEN_KEY") as caught:
        unwrap(wrap(begun(), TOKEN_KEY), "cd" * 32)
    assert "--anew" in (caught.value.hint or "")


def test_a_newer_format_is_refused_by_its_number() -> None:
    text = wrap(begun(), TOKEN_KEY)
    with pytest.raises(KeysUnreadable, match="format 2") as caught:
        unwrap("2" + text[1:], TOKEN_KEY)
    assert "release" in (caught.value.hint or "")


@given(st.data())
def test_a_changed_ring_is_none(data: st.DataObject) -> None:
    text = wrap(begun(), TOKEN_KEY)
    raw = urlsafe_b64decode(text[2:])
    place = data.draw(st.integers(0, len(raw) - 1))
    other = bytes([raw[place] ^ data.draw(st.integers(1, 255))])
    for changed in (raw[:place] + other + raw[place + 1 :], raw[:place], raw + other):
        with pytest.raises(KeysUnreadable):
            unwrap("1." + urlsafe_b64encode(changed).decode(), TOKEN_KEY)


@given(st.text())
def test_what_is_no_ring_is_refused(text: str) -> None:
    for tried in (text, "1." + text):
        with pytest.raises(KeysUnreadable):
            unwrap(tried, TOKEN_KEY)
