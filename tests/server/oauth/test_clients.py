"""Clients: what they may register, that nothing is kept of it, and where an answer may go."""

from typing import Any

import orjson
import pytest

from doris_mcp_server.oauth.clients import Client, is_loopback

from .conftest import Server


async def test_a_client_registers_and_is_known_to_every_host_without_a_store() -> None:
    one, other = Server(), Server()
    registered = await one.register(client_name="Émile's client")
    assert registered["status"] == 201
    assert registered["token_endpoint_auth_method"] == "none"
    assert "client_secret" not in registered
    page = await other.show(registered["client_id"])
    assert page.status == 200
    assert "Émile&#x27;s client" in page.body.decode()


async def test_a_flood_of_registrations_leaves_nothing_and_is_slowed_down(server: Server) -> None:
    statuses = [(await server.register())["status"] for _ in range(40)]
    assert statuses[:30] == [201] * 30
    assert statuses[-1] == 429
    assert server.store._db.execute("SELECT count(*) FROM texts").fetchone() == (0,)
    server.address = "192.0.2.8"
    assert (await server.register())["status"] == 201


@pytest.mark.parametrize(
    "uri",
    [
        "http://example.com/callback",
        "http://localhost.evil.example/callback",
        "http://127.0.0.1.evil.example/",
        "http://127.0.0.1@evil.example/",
        "http://localhost:1@evil.example/",
        "https://user@example.com/",
        "https://example.com/#fragment",
        "https://example.com\\@evil.example/",
        "https://example.com/ a",
        "https://example.com/\r\nx: y",
        "https://",
        "https:/example.com",
        "//example.com/callback",
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "cursor://callback",
        "https://exämple.com/",
        "https://[::1]/",
        "https://example.com/?code=mine",
        "https://example.com/?a=1&iss=other",
        "https://example.com;script-src *",
        "",
        7,
        None,
    ],
)
async def test_only_plain_https_and_loopback_can_be_redirected_to(server: Server, uri: Any) -> None:
    refused = await server.register(redirect_uris=["https://good.example/cb", uri])
    assert (refused["status"], refused["error"]) == (400, "invalid_redirect_uri")


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ({"redirect_uris": []}, "invalid_redirect_uri"),
        ({"redirect_uris": "https://example.com/"}, "invalid_redirect_uri"),
        ({"redirect_uris": [f"https://example.com/{n}" for n in range(9)]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://example.com/" + "a" * 1400]}, "invalid_client_metadata"),
        ({"client_name": ""}, "invalid_client_metadata"),
        ({"client_name": "   "}, "invalid_client_metadata"),
        ({"client_name": "a" * 101}, "invalid_client_metadata"),
        ({"client_name": "evil\u202eliam"}, "invalid_client_metadata"),
        ({"client_name": "\x1b[2J"}, "invalid_client_metadata"),
        ({"client_name": ["x"]}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": "private_key_jwt"}, "invalid_client_metadata"),
        ({"grant_types": ["implicit"]}, "invalid_client_metadata"),
        ({"response_types": ["token"]}, "invalid_client_metadata"),
    ],
)
async def test_bad_metadata_is_refused(server: Server, metadata: dict[str, Any], error: str) -> None:
    refused = await server.register(**metadata)
    assert (refused["status"], refused["error"]) == (400, error)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 5000])
async def test_what_is_no_json_object_is_refused(server: Server, body: bytes) -> None:
    reply = await server.ask("POST", "/oauth/register", body=body)
    assert reply.status == 400
    assert orjson.loads(reply.body)["error"] == "invalid_client_metadata"


async def test_a_client_id_that_was_changed_or_made_up_is_nobodys(server: Server) -> None:
    client = await server.client()
    for forged in (client[:-1], client + "A", client.replace("c.", "d.", 1), "c.", "", "x" * 10_000, "c.é"):
        reply = await server.show(forged)
        assert reply.status == 400
        assert b"location" not in dict(reply.headers)


@pytest.mark.parametrize(
    ("registered", "asked", "allowed"),
    [
        ("http://127.0.0.1/callback", "http://127.0.0.1:51234/callback", True),
        ("http://127.0.0.1:3000/callback", "http://127.0.0.1:51234/callback", True),
        ("http://localhost/callback", "http://localhost:51234/callback", True),
        ("http://[::1]/callback", "http://[::1]:51234/callback", True),
        ("http://127.0.0.1/callback", "http://localhost:51234/callback", False),
        ("http://127.0.0.1/callback", "http://127.0.0.1:51234/other", False),
        ("http://127.0.0.1/callback", "http://127.0.0.1:51234/callback?more=1", False),
        ("http://127.0.0.1/callback", "https://127.0.0.1:51234/callback", False),
        ("http://127.0.0.1/callback", "http://127.0.0.1:51234/callback/../x", False),
        ("http://127.0.0.1/callback", "http://127.0.0.1:512345678/callback", False),
        ("http://127.0.0.1/callback", "http://127.0.0.1.evil.example/callback", False),
        ("https://example.com/cb", "https://example.com/cb", True),
        ("https://example.com/cb", "https://example.com:8443/cb", False),
        ("https://example.com/cb", "https://example.com/cb/", False),
        ("https://example.com/cb", "https://EXAMPLE.com/cb", False),
        ("https://example.com/cb", "https://example.com/cb?x=1", False),
        ("https://example.com/cb", "", False),
    ],
)
def test_a_redirect_is_what_was_registered_but_for_the_port_of_a_loopback(
    registered: str, asked: str, allowed: bool
) -> None:
    assert Client("id", "name", (registered,)).may_redirect(asked) is allowed


def test_loopback_is_told_from_what_looks_like_it() -> None:
    assert is_loopback("http://localhost:1/x") and is_loopback("http://[::1]/") and is_loopback("http://127.0.0.1")
    assert not is_loopback("https://localhost.example/") and not is_loopback("http://127.0.0.1.example/")
