"""Where a request comes from: the address of the connection, or what a balancer says, where that one is ours.

Whoever connects can write any header: only the word of a trusted proxy counts.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from doris_mcp_server.answers import Scope

KEPT = 10_000  # answers remembered; beyond that they are all made again
SITE = 64  # bits of an IPv6 address that count: the rest is a subscriber's own to choose

Network = IPv4Network | IPv6Network


class Addresses:
    """Tells clients apart. `trusted` are addresses or networks of proxies, IPv4 or IPv6."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        """Raises: ValueError where one is neither."""
        self._trusted = [ip_network(network, strict=False) for network in trusted]
        self._known: dict[tuple[str, bytes | None, bytes | None], str] = {}

    def of(self, scope: Scope, headers: dict[bytes, bytes]) -> str:
        """The client's address: of IPv6 its network, since whoever has one address there has them all."""
        client: tuple[str, int] | None = scope.get("client")
        key = (client[0] if client else "", headers.get(b"x-forwarded-for"), headers.get(b"x-real-ip"))
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= KEPT:
                self._known.clear()
            known = self._known[key] = self._find(*key)
        return known

    def _find(self, peer: str, forwarded: bytes | None, real: bytes | None) -> str:
        """`forwarded` was extended by one proxy after the other, so it is read from its end."""
        said = (forwarded or real or b"").decode("latin-1").split(",")
        found = peer
        while said and self._trusts(found):
            further = said.pop().strip()
            if _address(further) is None:
                break  # a proxy that does not know says so in words
            found = further
        return _site(found)

    def _trusts(self, text: str) -> bool:
        address = _address(text)
        return address is not None and any(address in network for network in self._trusted)


def _address(text: str) -> Any:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _site(text: str) -> str:
    address = _address(text)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, SITE), strict=False))
    return str(address or text or "local")  # without an address: a Unix socket
