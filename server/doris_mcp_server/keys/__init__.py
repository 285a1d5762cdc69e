"""The fleet's keys: what one host signs, every host can check. Session ids, cursors and request states are made here.

A ring rotates with overlap: a new key in second place, then in front, then the old one is dropped; `rotation` does that
under a running worker. Signed, not encrypted: what is sealed can be read by whoever holds the text, but not changed or
made.
"""

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence

from doris_mcp_server.config import Settings

_ID_SIZE = 4  # bytes; names the key, so that a text of an unknown key costs no MAC
SIGNATURE_SIZE = _ID_SIZE + 32  # bytes
_SHORTEST = 16  # bytes a key must have

# What is computed under a key directly. `auth` hashes bearer tokens, which are ASCII, under DORIS_MCP_TOKEN_KEY: the
# first byte keeps these apart from any token, whatever key an operator uses twice.
_ROOT, _NAME, _MAC, _DERIVE, _WRAP = b"\xffroot", b"\xffname", b"\xffmac", b"\xffderive:", b"\xffwrap"
_PLAIN, _SEALED = b"\x00", b"\x01"


class KeyRing:
    """Keys of one purpose: the first signs, all of them verify."""

    __slots__ = ("_derived", "_keys", "_macs", "_name")

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Raises: ValueError without a key, or with one below 16 bytes."""
        self._derived: list[tuple[bytes, KeyRing]] = []
        self.replace(keys)

    def replace(self, keys: Sequence[bytes]) -> None:
        """Use these keys from now on, here and in all rings derived from this one.

        Raises: ValueError without a key, or with one below 16 bytes.
        """
        if not keys or any(len(key) < _SHORTEST for key in keys):
            raise ValueError(f"a key ring needs keys of at least {_SHORTEST} bytes")
        self._keys = tuple(keys)
        self._name = _name(keys[0])
        self._macs = {_name(key): _hmac(key, _MAC) for key in keys}
        for purpose, ring in self._derived:
            ring.replace([_hmac(key, purpose) for key in keys])

    def derive(self, purpose: str) -> "KeyRing":
        """A ring for one purpose: what it signs, no ring of another purpose accepts."""
        label = _DERIVE + purpose.encode()
        ring = KeyRing([_hmac(key, label) for key in self._keys])
        self._derived.append((label, ring))
        return ring

    def sign(self, message: bytes) -> bytes:
        """The signature of `message`: SIGNATURE_SIZE bytes, the key's name and an HMAC-SHA256."""
        return self._sign(_PLAIN + message)

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether a key of this ring made `signature` for `message`."""
        return self._verify(_PLAIN + message, signature)

    def seal(self, data: bytes, bound: bytes = b"") -> str:
        """`data` as URL-safe text that only this fleet can have made, and that opens only with the same `bound`.

        `bound` is not in the text: bind what must match, the caller's name for one.
        """
        return _text(self._sign(_framed(data, bound)) + data)

    def open(self, text: str, bound: bytes = b"") -> bytes | None:
        """What was sealed, or None for anything `seal` of this ring did not give, to the last character."""
        try:
            raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError:
            return None
        # Base64 decoding skips foreign characters and ignores spare bits: one content must have one text only.
        if _text(raw) != text:
            return None
        signature, data = raw[:SIGNATURE_SIZE], raw[SIGNATURE_SIZE:]
        return data if self._verify(_framed(data, bound), signature) else None

    def _sign(self, message: bytes) -> bytes:
        return self._name + _hmac(self._macs[self._name], message)

    def _verify(self, message: bytes, signature: bytes) -> bool:
        mac = self._macs.get(signature[:_ID_SIZE])
        return mac is not None and hmac.compare_digest(_hmac(mac, message), signature[_ID_SIZE:])


def configured_keys(settings: Settings) -> list[bytes]:
    """The keys of the settings: DORIS_MCP_KEYS, else derived from DORIS_MCP_TOKEN_KEY, else new and random.

    A random one is known to this process only.
    """
    if settings.keys:
        return [bytes.fromhex(key) for key in settings.keys]
    return [derived_key(settings.token_key) if settings.token_key else secrets.token_bytes(32)]


def derived_key(token_key: str) -> bytes:
    """The key (32 bytes) of a fleet that has no others, made from DORIS_MCP_TOKEN_KEY (hexadecimal)."""
    return _hmac(bytes.fromhex(token_key), _ROOT)


def key_id(key: bytes) -> str:
    """What names a key to people: 8 hexadecimal digits that tell nothing of it."""
    return _name(key).hex()


def wrapping_key(token_key: str) -> bytes:
    """The key (32 bytes) under which the store keeps other keys, made from DORIS_MCP_TOKEN_KEY (hexadecimal)."""
    return _hmac(bytes.fromhex(token_key), _WRAP)


def _name(key: bytes) -> bytes:
    return _hmac(key, _NAME)[:_ID_SIZE]


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _framed(data: bytes, bound: bytes) -> bytes:
    # The length in front, so that no byte can move from one part to the other.
    return b"".join((_SEALED, len(bound).to_bytes(4, "big"), bound, data))


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
