"""The fleet's keys: what one host signs, every host can check. Session ids, cursors and request states are made here.

A ring rotates with overlap: roll a new key out in second place, then move it to the front, then drop the old one.
Signed, not encrypted: what is sealed can be read by whoever holds the text, but not changed or made.
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
_ROOT, _NAME, _MAC, _DERIVE = b"\xffroot", b"\xffname", b"\xffmac", b"\xffderive:"
_PLAIN, _SEALED = b"\x00", b"\x01"


class KeyRing:
    """Keys of one purpose: the first signs, all of them verify."""

    __slots__ = ("_keys", "_macs", "_name")

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Raises: ValueError without a key, or with one below 16 bytes."""
        if not keys or any(len(key) < _SHORTEST for key in keys):
            raise ValueError(f"a key ring needs keys of at least {_SHORTEST} bytes")
        self._keys = tuple(keys)
        self._name = _hmac(keys[0], _NAME)[:_ID_SIZE]
        self._macs = {_hmac(key, _NAME)[:_ID_SIZE]: _hmac(key, _MAC) for key in keys}

    @classmethod
    def of(cls, settings: Settings) -> "KeyRing":
        """The ring of the settings: DORIS_MCP_KEYS, else derived from DORIS_MCP_TOKEN_KEY, else new and random.

        A random ring is known to this process only.
        """
        if settings.keys:
            return cls([bytes.fromhex(key) for key in settings.keys])
        if settings.token_key:
            return cls([_hmac(bytes.fromhex(settings.token_key), _ROOT)])
        return cls([secrets.token_bytes(32)])

    def derive(self, purpose: str) -> "KeyRing":
        """A ring for one purpose: what it signs, no ring of another purpose accepts."""
        return KeyRing([_hmac(key, _DERIVE + purpose.encode()) for key in self._keys])

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


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _framed(data: bytes, bound: bytes) -> bytes:
    # The length in front, so that no byte can move from one part to the other.
    return b"".join((_SEALED, len(bound).to_bytes(4, "big"), bound, data))


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
