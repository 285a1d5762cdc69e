"""Whose address counts: nobody's word but that of a trusted proxy."""

from typing import Any

import pytest

from doris_mcp_server.auth import addresses as addresses_module
from doris_mcp_server.auth.addresses import Addresses

PROXIES = ("192.0.2.11", "198.51.100.0/24", "2001:db8:1::/48")


def found(peer: str | None, trusted: tuple[str, ...] = PROXIES, **headers: str) -> str:
    scope: dict[str, Any] = {"client": None if peer is None else (peer, 40000)}
    lines = {name.replace("_", "-").encode(): value.encode("latin-1") for name, value in headers.items()}
    return Addresses(trusted).of(scope, lines)


@pytest.mark.parametrize(
    ("peer", "headers", "address"),
    [
        ("203.0.113.9", {}, "203.0.113.9"),
        ("203.0.113.9", {"x_forwarded_for": "10.0.0.1", "x_real_ip": "10.0.0.1"}, "203.0.113.9"),
        ("192.0.2.11", {"x_forwarded_for": "203.0.113.9", "x_real_ip": "203.0.113.9"}, "203.0.113.9"),
        ("192.0.2.11", {"x_real_ip": "203.0.113.9"}, "203.0.113.9"),
        ("192.0.2.11", {"x_forwarded_for": "10.0.0.1, 203.0.113.9", "x_real_ip": "10.0.0.2"}, "203.0.113.9"),
        ("192.0.2.11", {"x_forwarded_for": "10.0.0.1,203.0.113.9 , 198.51.100.7"}, "203.0.113.9"),
        ("192.0.2.11", {"x_forwarded_for": "198.51.100.8, 198.51.100.7"}, "198.51.100.8"),
        ("192.0.2.11", {"x_forwarded_for": "unknown"}, "192.0.2.11"),
        ("192.0.2.11", {"x_forwarded_for": "10.0.0.1, junk\xff, 198.51.100.7"}, "198.51.100.7"),
        ("192.0.2.11", {"x_forwarded_for": ""}, "192.0.2.11"),
        ("192.0.2.11", {}, "192.0.2.11"),
        ("2001:db8:1::5", {"x_forwarded_for": "2001:db8:9:9:1:2:3:4"}, "2001:db8:9:9::/64"),
        ("2001:db8:9:9:ffff::1", {}, "2001:db8:9:9::/64"),
        ("::ffff:192.0.2.11", {"x_forwarded_for": "::ffff:203.0.113.9"}, "203.0.113.9"),
        (None, {"x_forwarded_for": "203.0.113.9"}, "local"),
    ],
)
def test_the_nearest_address_that_is_no_proxy_of_ours(peer: str | None, headers: dict[str, str], address: str) -> None:
    assert found(peer, **headers) == address


def test_without_proxies_only_the_connection_counts() -> None:
    assert found("192.0.2.11", (), x_forwarded_for="203.0.113.9") == "192.0.2.11"


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses_module, "KEPT", 10)
    addresses = Addresses(PROXIES)
    for n in range(100):
        lines = {b"x-forwarded-for": b"203.0.113.%d" % n}
        assert addresses.of({"client": ("192.0.2.11", 1)}, lines) == f"203.0.113.{n}"
        assert len(addresses._known) <= 10
