"""What only the fleet may read, as text for the store: AES-GCM under a key made from DORIS_MCP_TOKEN_KEY."""

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from doris_mcp_server.keys import wrapping_key

_NONCE: Final = 12  # bytes; AES-GCM's own


def encrypt(plain: bytes, token_key: str, purpose: str) -> str:
    """As text that opens only with the same `purpose`, so that one secret cannot be put in the place of another."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # 9 MB that only a fleet needs; worker preloads it

    nonce = secrets.token_bytes(_NONCE)
    sealed = nonce + AESGCM(wrapping_key(token_key)).encrypt(nonce, plain, purpose.encode())
    return urlsafe_b64encode(sealed).decode()


def decrypt(text: str, token_key: str, purpose: str) -> bytes:
    """What `encrypt` was given. Raises: ValueError for anything it did not make with this key and purpose."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    sealed = urlsafe_b64decode(text)
    try:
        return AESGCM(wrapping_key(token_key)).decrypt(sealed[:_NONCE], sealed[_NONCE:], purpose.encode())
    except InvalidTag:
        raise ValueError("was not sealed under this key") from None
