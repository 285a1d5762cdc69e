"""Key rings: what is signed or sealed, who accepts it, and that nothing changed or made elsewhere is accepted."""

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doris_mcp_server.auth.opaque import keyed_hash
from doris_mcp_server.config import Settings
from doris_mcp_server.keys import SIGNATURE_SIZE, KeyRing, configured_keys, derived_key, wrapping_key

OLD, NEW = b"o" * 32, b"n" * 32
RING = KeyRing([NEW, OLD])
URL_SAFE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def content(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def text_of(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


@given(st.binary(max_size=300), st.binary(max_size=40))
def test_what_is_signed_or_sealed_is_accepted_by_another_host_with_the_same_keys(data: bytes, bound: bytes) -> None:
    other_host = KeyRing([NEW, OLD])
    signature = RING.sign(data)
    assert len(signature) == SIGNATURE_SIZE
    assert other_host.verify(data, signature)
    text = RING.seal(data, bound)
    assert set(text) <= set(URL_SAFE)
    assert other_host.open(text, bound) == data


def test_keys_rotate_with_an_overlap() -> None:
    before, during, after = KeyRing([OLD]), KeyRing([NEW, OLD]), KeyRing([NEW])
    old_text, new_text = before.seal(b"x"), during.seal(b"x")
    assert during.open(old_text) == b"x"
    assert after.open(old_text) is None
    assert before.open(new_text) is None
    assert after.open(new_text) == b"x"
    # The first step of a rotation: the new key is known everywhere before anybody signs with it.
    assert KeyRing([OLD, NEW]).open(new_text) == b"x"
    assert before.open(KeyRing([OLD, NEW]).seal(b"x")) == b"x"
    assert during.verify(b"x", before.sign(b"x"))
    assert not after.verify(b"x", before.sign(b"x"))


@given(st.binary(max_size=60), st.data())
def test_a_changed_seal_does_not_open(payload: bytes, data: st.DataObject) -> None:
    text = RING.seal(payload)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters().filter(lambda c: c != text[place]))
    assert RING.open(text[:place] + other + text[place + 1 :]) is None
    assert RING.open(text[:place]) is None
    assert RING.open(text[place + 1 :]) is None
    assert RING.open(text[:place] + other + text[place:]) is None
    assert RING.open(text + other) is None


@given(st.text())
def test_what_nobody_sealed_does_not_open(text: str) -> None:
    assert RING.open(text) is None


@given(st.binary(max_size=120), st.binary(max_size=120))
def test_a_signature_is_for_one_message(message: bytes, signature: bytes) -> None:
    assert not RING.verify(message, signature)
    assert not RING.verify(message + b"\0", RING.sign(message))
    assert not RING.verify(message, RING.sign(message)[:-1])
    assert not RING.verify(message, RING.sign(message) + b"\0")


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40))
def test_a_seal_opens_only_for_what_it_is_bound_to(data: bytes, bound: bytes, other: bytes) -> None:
    text = RING.seal(data, bound)
    assert RING.open(text, other) == (data if other == bound else None)


@given(st.binary(min_size=1, max_size=40), st.binary(max_size=40))
def test_no_byte_moves_between_a_seal_and_what_it_is_bound_to(data: bytes, bound: bytes) -> None:
    raw = content(RING.seal(data, bound))
    signature = raw[:SIGNATURE_SIZE]
    assert RING.open(text_of(signature + data[1:]), bound + data[:1]) is None
    assert RING.open(text_of(signature + bound + data)) == (data if not bound else None)


@given(st.binary(max_size=40))
def test_a_seal_is_no_signature(data: bytes) -> None:
    signature = content(RING.seal(data))[:SIGNATURE_SIZE]
    assert not RING.verify(data, signature)
    assert not RING.verify(b"\0\0\0\0" + data, signature)
    assert RING.open(text_of(RING.sign(data) + data)) is None


@pytest.mark.parametrize(
    "text", ["", "A", "=", "====", "é" * 40, "\ud800", "A" * 10_240, "\x00" * 64, " " + RING.seal(b"x")], ids=repr
)
def test_odd_texts_are_refused(text: str) -> None:
    assert RING.open(text) is None


def test_every_purpose_has_keys_of_its_own() -> None:
    cursor, session = RING.derive("cursor"), RING.derive("session")
    assert cursor.open(session.seal(b"x")) is None
    assert RING.open(session.seal(b"x")) is None
    assert KeyRing([NEW]).derive("cursor").open(cursor.seal(b"x")) == b"x"
    assert KeyRing([OLD]).derive("cursor").open(cursor.seal(b"x")) is None
    # Whoever may have things signed learns no key by it.
    assert RING.sign(b"\xffderive:cursor")[4:] != RING.derive("cursor")._keys[0]


def test_the_keys_of_the_settings() -> None:
    both = Settings(keys=("aa" * 32, "bb" * 32), token_key="cc" * 32)
    assert configured_keys(both) == [b"\xaa" * 32, b"\xbb" * 32]
    derived = Settings(token_key="cc" * 32)
    assert configured_keys(derived) == configured_keys(derived) == [derived_key("cc" * 32)]
    assert configured_keys(Settings()) != configured_keys(Settings())


def test_the_key_of_tokens_is_not_the_key_of_seals_nor_of_stored_keys() -> None:
    # A token is ASCII: none has the hash that these keys are.
    made = {derived_key("cc" * 32), wrapping_key("cc" * 32), b"\xcc" * 32}
    assert len(made) == 3
    assert not {key.hex() for key in made} & {keyed_hash("cc" * 32, word) for word in ("root", "wrap")}


def test_a_ring_in_use_and_those_derived_from_it_get_other_keys() -> None:
    ring = KeyRing([OLD])
    session, other = ring.derive("session"), ring.derive("other")
    inner = session.derive("inner")
    texts = [each.seal(b"x") for each in (ring, session, inner)]
    ring.replace([NEW, OLD])
    assert [each.open(text) for each, text in zip((ring, session, inner), texts, strict=True)] == [b"x"] * 3
    assert KeyRing([NEW]).derive("session").open(session.seal(b"y")) == b"y"
    ring.replace([NEW])
    assert [each.open(text) for each, text in zip((ring, session, inner), texts, strict=True)] == [None] * 3
    assert other.open(KeyRing([NEW]).derive("other").seal(b"z")) == b"z"


@pytest.mark.parametrize("keys", [[], [b""], [NEW, b"short"]])
def test_a_ring_needs_real_keys_and_its_refusal_shows_none(keys: list[bytes]) -> None:
    with pytest.raises(ValueError, match="16 bytes") as caught:
        KeyRing(keys)
    assert "short'" not in str(caught.value)
    assert "nnnn" not in repr(RING)
