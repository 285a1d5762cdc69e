"""Other issuers as the settings name them: what is good, and that a mistake is named."""

import json
from typing import Any

import pytest

from doris_mcp_server.config import load
from doris_mcp_server.errors import ConfigError
from doris_mcp_server.issuers import Issuer, parse

IDP: dict[str, Any] = {"issuer": "https://idp.example.com/", "jwks": "https://idp.example.com/jwks.json"}


def test_an_issuer_is_read_with_the_type_of_the_standard() -> None:
    assert parse(json.dumps({"idp": IDP})) == (
        Issuer(name="idp", issuer=IDP["issuer"], jwks=IDP["jwks"], typ="at+jwt"),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not JSON"),
        ("[]", "must be a JSON object of issuers"),
        ('{"idp": 1}', "idp: must be an object with issuer and jwks"),
        (json.dumps({"Idp": IDP}), "Idp.name: a name starts with a-z"),
        (json.dumps({"idp": {**IDP, "jwks": "http://idp.example.com/jwks.json"}}), "idp.jwks: must be an https URL"),
        (json.dumps({"idp": {**IDP, "jwks": "file:///etc/passwd"}}), "idp.jwks: must be an https URL"),
        (json.dumps({"idp": {**IDP, "jwks": "https://user@idp.example.com/"}}), "idp.jwks: must be an https URL"),
        (json.dumps({"idp": {**IDP, "jwks": "http://127.0.0.1.example.com/"}}), "idp.jwks: must be an https URL"),
        (json.dumps({"idp": {**IDP, "audience": "x"}}), "idp.audience: Extra inputs"),
        (json.dumps({"one": IDP, "two": IDP}), "an issuer is named twice"),
    ],
)
def test_a_mistake_is_named(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(text)


def test_issuers_need_an_address_their_tokens_are_for() -> None:
    with pytest.raises(ConfigError, match="DORIS_MCP_PUBLIC_URL"):
        load(environ={"DORIS_MCP_ISSUERS": json.dumps({"idp": IDP})})
    environ = {
        "DORIS_MCP_ISSUERS": json.dumps({"idp": IDP}),
        "DORIS_MCP_PUBLIC_URL": "https://mcp.example.com/mcp",
        "TRANSPORT": "http",
        "SERVER_HOST": "0.0.0.0",
    }
    assert load(environ=environ).issuers == parse(environ["DORIS_MCP_ISSUERS"])
