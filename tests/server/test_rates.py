"""DORIS_MCP_RATE_LIMITS, DORIS_MCP_CONCURRENCY_LIMITS and DORIS_MCP_TRUSTED_PROXIES, as people write them."""

import pytest

from doris_mcp_server.config import load
from doris_mcp_server.errors import ConfigError
from doris_mcp_server.rates import Cap, Rate, parse, parse_caps


def test_limits_are_read_as_they_are_written() -> None:
    text = " principal=600/m, principal:batch = 6000/m burst 500,tool:echo=60/h,address=20/s burst 9, failure=5/d"
    assert parse(text) == (
        Rate("principal", "", 600, 60, 600),
        Rate("principal", "batch", 6000, 60, 500),
        Rate("tool", "echo", 60, 3600, 60),
        Rate("address", "", 20, 1, 9),
        Rate("failure", "", 5, 86_400, 5),
    )
    assert [rate.per_second for rate in parse("tool=60/m, tool:x=3600/h")] == [1.0, 1.0]
    assert parse("") == ()
    assert parse("principal:idp:ann@example.com=1/s")[0].of == "idp:ann@example.com"


def test_caps_are_read_as_they_are_written() -> None:
    assert parse_caps(" principal=50, principal:batch = 200,tool:echo=1,address=100") == (
        Cap("principal", "", 50),
        Cap("principal", "batch", 200),
        Cap("tool", "echo", 1),
        Cap("address", "", 100),
    )
    assert load(environ={"DORIS_MCP_CONCURRENCY_LIMITS": ""}).concurrency_limits == ()


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        ("RATE", "principal", "write principal=600/m"),
        ("RATE", "principal=600", "periods are s, m, h and d"),
        ("RATE", "principal=600/min", "'principal=600/min' is no limit"),
        ("RATE", "principal=600/m burst", "is no limit"),
        ("RATE", "principal=6.5/m", "is no limit"),
        ("RATE", "user=600/m", "principal, tool, address, failure"),
        ("RATE", "principal=0/m", "must let something through"),
        ("RATE", "principal=5/m burst 0", "must let something through"),
        ("RATE", "principal=9999999999/s", "at most 1000000000"),
        ("RATE", "principal=5/m, principal=6/m", "principal is limited twice"),
        ("RATE", "tool:x=5/m, tool:x=6/m", "tool:x is limited twice"),
        ("CONCURRENCY", "principal", "write principal=50"),
        ("CONCURRENCY", "principal=50/m", "'principal=50/m' is no limit"),
        ("CONCURRENCY", "failure=5", "principal, tool, address"),
        ("CONCURRENCY", "principal=0", "must let something through"),
        ("CONCURRENCY", "principal=9999999999", "at most 1000000000"),
        ("CONCURRENCY", "tool:x=5, tool:x=6", "tool:x is limited twice"),
    ],
)
def test_a_limit_that_cannot_be_read_names_the_variable_and_the_fix(variable: str, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(environ={f"DORIS_MCP_{variable}_LIMITS": text})
    assert caught.value.message.startswith(f"DORIS_MCP_{variable}_LIMITS: ")
    assert words in caught.value.message


def test_proxies_are_addresses_or_networks() -> None:
    settings = load(environ={"DORIS_MCP_TRUSTED_PROXIES": "192.0.2.11, 2001:db8::/32,198.51.100.7/24"})
    assert settings.trusted_proxies == ("192.0.2.11", "2001:db8::/32", "198.51.100.7/24")
    with pytest.raises(ConfigError, match=r"DORIS_MCP_TRUSTED_PROXIES: .*'lb-1' is no address; write 192\.0\.2\.11"):
        load(environ={"DORIS_MCP_TRUSTED_PROXIES": "192.0.2.11,lb-1"})
