"""The fleet's keys as the store keeps them: what each is for, and from when and until when it is used.

Nobody moves a key on: its state follows from its times and the clock, so a rotation needs one write, and goes on when
whoever began it is gone. `locksmith` changes a ring, `rotation` follows it. Moments are Unix times in seconds.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from dataclasses import replace as changed
from typing import Final, Literal

from doris_mcp_server.errors import InvalidArgument, KeysUnreadable
from doris_mcp_server.keys import key_id
from doris_mcp_server.keys.vault import decrypt, encrypt

SEAL: Final = "seal"
"""Purpose of the keys for sessions, cursors and request states."""
ISSUER: Final = "issuer"
"""Purpose of the keys that sign bearer tokens of our own; each is the seed of an Ed25519 pair."""
PLACE: Final = "keys/ring"
"""Where the store has the ring."""
MOST: Final = 16  # keys a ring may have: each is tried by name only, but who has more has forgotten some
_FORMAT: Final = "1"

State = Literal["next", "current", "previous", "gone"]


@dataclass(frozen=True, slots=True)
class Key:
    """A key of 32 bytes. It opens what it sealed from the moment it is published until `until`."""

    id: str
    purpose: str
    created: float
    used: float  # it seals from then on, until one that is used later does
    until: float | None  # it opens nothing any more; None while no other key is to follow it
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ring:
    """All keys of the fleet. `revision` grows with each change; 0 is the ring of a fleet that never had one."""

    revision: int = 0
    keys: tuple[Key, ...] = ()

    def current(self, purpose: str, now: float) -> Key | None:
        """The key that seals."""
        ripe = [key for key in self.keys if key.purpose == purpose and key.used <= now and not _gone(key, now)]
        return max(ripe, key=lambda key: key.used, default=None)

    def coming(self, purpose: str, now: float) -> Key | None:
        """The key that is published and not used yet."""
        return next((key for key in self.keys if key.purpose == purpose and key.used > now), None)

    def good(self, purpose: str, now: float) -> list[Key]:
        """The keys that open, the one that seals first."""
        current = self.current(purpose, now)
        others = [key for key in self.keys if key.purpose == purpose and key is not current and not _gone(key, now)]
        return [current, *others] if current else others

    def state(self, key: Key, now: float) -> State:
        if _gone(key, now):
            return "gone"
        if key.used > now:
            return "next"
        return "current" if key is self.current(key.purpose, now) else "previous"

    def followed(
        self, purpose: str, now: float, *, delay: float, overlap: float, secret: bytes | None = None
    ) -> "Ring":
        """With a key (`secret`, or a new one) that takes over `delay` seconds from now, which all workers need to read
        it; the one it follows opens for `overlap` seconds more. The first key of a ring takes over at once.

        Raises: InvalidArgument while another one is to take over, or with too many keys.
        """
        if coming := self.coming(purpose, now):
            raise InvalidArgument(f"key {coming.id} is to take over already", hint="wait until it has")
        secret = secret or secrets.token_bytes(32)
        before = self.current(purpose, now)
        used = now + delay if before else now
        new = Key(key_id(secret), purpose, now, used, None, secret)
        kept = [
            changed(key, until=used + overlap) if key is before else key
            for key in self.keys
            if key.id != new.id and not _gone(key, now)
        ]
        if len(kept) >= MOST:
            raise InvalidArgument(f"the ring has {len(kept)} keys", hint="retire some: `keys retire ID`")
        return Ring(self.revision + 1, (*kept, new))

    def with_openers(self, purpose: str, given: Sequence[bytes], now: float, overlap: float) -> "Ring":
        """With keys that open for `overlap` seconds and seal nothing."""
        added = [Key(key_id(secret), purpose, now, 0.0, now + overlap, secret) for secret in given]
        return Ring(self.revision, (*self.keys, *(key for key in added if key.id not in {k.id for k in self.keys})))

    def without(self, id: str, now: float) -> "Ring":
        """Without a previous key: what it sealed opens no more.

        Raises: InvalidArgument when there is no such key, or it is still needed.
        """
        found = next((key for key in self.keys if key.id == id), None)
        if found is None:
            raise InvalidArgument(f"there is no key {id}", hint="see `keys list`")
        if (state := self.state(found, now)) in ("current", "next"):
            raise InvalidArgument(f"key {id} is the {state} one", hint="rotate first, and wait until another one seals")
        return Ring(self.revision + 1, tuple(key for key in self.keys if key is not found))


def _gone(key: Key, now: float) -> bool:
    return key.until is not None and key.until <= now


def wrap(ring: Ring, token_key: str) -> str:
    """The ring as text for the store: the version of its format, then what only this fleet can read."""
    members = [
        {name: getattr(key, name) for name in ("id", "purpose", "created", "used", "until")}
        | {"secret": key.secret.hex()}
        for key in ring.keys
    ]
    plain = json.dumps({"revision": ring.revision, "keys": members}).encode()
    return f"{_FORMAT}.{encrypt(plain, token_key, _FORMAT)}"


def unwrap(text: str, token_key: str) -> Ring:
    """What `wrap` made. Raises: KeysUnreadable for anything else."""
    version, _, rest = text.partition(".")
    if version != _FORMAT:
        raise KeysUnreadable(
            f"the key ring in the store has format {version:.12}, this release reads {_FORMAT}",
            hint="deploy the release that wrote it, or a newer one",
        )
    try:
        data = json.loads(decrypt(rest, token_key, _FORMAT))
        keys = [Key(**{**member, "secret": bytes.fromhex(member["secret"])}) for member in data["keys"]]
        return Ring(data["revision"], tuple(keys))
    except (ValueError, TypeError, KeyError):
        raise KeysUnreadable(
            "the key ring in the store was not sealed under this DORIS_MCP_TOKEN_KEY",
            hint="give every host the same key; after a change of it: `doris-mcp-server keys rotate --anew`",
        ) from None
