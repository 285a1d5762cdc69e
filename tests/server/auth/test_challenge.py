"""What a caller who may not pass reads: challenges, metadata, and words that clients show."""

import json
import re
from typing import Any

import pytest
from mcp.client.auth.utils import (
    build_protected_resource_metadata_discovery_urls,
    extract_field_from_www_auth,
    extract_scope_from_www_auth,
)
from mcp.shared.auth import ProtectedResourceMetadata
from mcp_types.jsonrpc import JSONRPCError, jsonrpc_message_adapter

from doris_mcp_server.auth import ALL_SCOPES, challenge
from doris_mcp_server.auth.challenge import METADATA_PATHS, Refusal, Resource, Resources
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import error_body

OURS = Resource("https://mcp.example.com/mcp", ("https://login.example.com",))
WHERE = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp"


class Answer:
    """A refusal as the SDK's client sees it."""

    def __init__(self, refusal: Refusal) -> None:
        self.status_code = refusal.status
        self.headers = {name.decode().title(): value.decode() for name, value in refusal.headers}
        self.headers["WWW-Authenticate"] = self.headers.pop("Www-Authenticate")


def request(host: bytes = b"mcp.example.com", scheme: str = "http", **headers: str) -> dict[str, Any]:
    more = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "scheme": scheme, "headers": [(b"host", host), *more]}


def test_a_caller_without_a_token_is_told_where_to_go_and_what_to_ask_for() -> None:
    assert OURS.missing.status == 401
    assert dict(OURS.missing.headers)[b"www-authenticate"].decode() == (
        f'Bearer resource_metadata="{WHERE}", scope="catalog:read cluster:read query:execute"'
    )


def test_only_a_caller_who_showed_a_token_is_told_that_it_is_not_valid() -> None:
    assert OURS.invalid.status == 401
    assert dict(OURS.invalid.headers)[b"www-authenticate"].decode() == (
        f'Bearer error="invalid_token", resource_metadata="{WHERE}", scope="catalog:read cluster:read query:execute"'
    )


def test_a_missing_scope_is_named_with_all_the_others_the_operation_needs() -> None:
    refusal = OURS.insufficient({"query:execute", "catalog:read"}, request_id=7)
    assert refusal.status == 403
    assert dict(refusal.headers)[b"www-authenticate"].decode() == (
        f'Bearer error="insufficient_scope", scope="catalog:read query:execute", resource_metadata="{WHERE}"'
    )
    assert json.loads(refusal.body)["id"] == 7
    assert "catalog:read query:execute" in json.loads(refusal.body)["error"]["message"]


@pytest.mark.parametrize("refusal", [OURS.missing, OURS.invalid, OURS.insufficient(["query:execute"])])
def test_the_sdk_reads_every_refusal(refusal: Refusal) -> None:
    answer: Any = Answer(refusal)
    assert extract_field_from_www_auth(answer, "resource_metadata") == WHERE
    assert set((extract_scope_from_www_auth(answer) or "").split()) <= set(ALL_SCOPES)
    parsed = jsonrpc_message_adapter.validate_json(refusal.body, by_name=False)
    assert isinstance(parsed, JSONRPCError)
    assert re.search("Unauthorized|Forbidden", parsed.error.message)


def test_the_code_is_none_that_means_something_else_to_a_client() -> None:
    code = json.loads(error_body("no"))["error"]["code"]
    assert not -32099 <= code <= -32000


def test_the_metadata_is_what_the_sdk_looks_for_and_where() -> None:
    parsed = ProtectedResourceMetadata.model_validate_json(OURS.metadata)
    assert str(parsed.resource) == OURS.url
    assert [str(server) for server in parsed.authorization_servers] == ["https://login.example.com"]
    assert parsed.scopes_supported == list(ALL_SCOPES)
    assert parsed.bearer_methods_supported == ["header"]
    assert parsed.resource_name
    looked_for = build_protected_resource_metadata_discovery_urls(None, OURS.url)
    assert looked_for == [f"https://mcp.example.com{path}" for path in reversed(METADATA_PATHS)]
    assert looked_for[0] == OURS.metadata_url


def test_without_authorization_servers_the_metadata_names_none() -> None:
    assert "authorization_servers" not in json.loads(Resource("http://localhost:3000/mcp").metadata)


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("https://h.example", "https://h.example/.well-known/oauth-protected-resource"),
        ("https://h.example/", "https://h.example/.well-known/oauth-protected-resource"),
        ("https://h.example:8443/a/mcp", "https://h.example:8443/.well-known/oauth-protected-resource/a/mcp"),
    ],
)
def test_the_well_known_part_stands_between_host_and_path(url: str, where: str) -> None:
    assert Resource(url).metadata_url == where


def test_the_public_address_is_the_same_for_everybody() -> None:
    resources = Resources(Settings(public_url="https://mcp.example.com/mcp"))
    found = resources.of(request(b"other.example"))
    assert found.url == "https://mcp.example.com/mcp"
    assert resources.of(request(b"127.0.0.1:3000")) is found


def test_without_one_it_is_the_address_the_caller_used_and_built_once() -> None:
    resources = Resources(Settings(authorization_servers=("https://login.example.com",)))
    found = resources.of(request(b"127.0.0.1:3000"))
    assert found.url == "http://127.0.0.1:3000/mcp"
    assert json.loads(found.metadata)["authorization_servers"] == ["https://login.example.com"]
    assert resources.of(request(b"127.0.0.1:3000")) is found
    behind_tls = request(b"mcp.example.com", x_forwarded_proto="https")
    assert resources.of(behind_tls).url == "https://mcp.example.com/mcp"
    assert resources.of(request(b"mcp.example.com", x_forwarded_proto='x"y')).url == "http://mcp.example.com/mcp"


def test_callers_cannot_fill_the_memory_with_addresses() -> None:
    resources = Resources(Settings())
    for port in range(1000):
        assert resources.of(request(f"localhost:{port}".encode())).url == f"http://localhost:{port}/mcp"
    assert len(resources._seen) <= challenge.MAX_ADDRESSES
