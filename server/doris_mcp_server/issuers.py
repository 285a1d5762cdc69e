"""Other issuers whose signed tokens are good here: who they are, and where their keys are published.

A leaf beside `config`, which reads them from DORIS_MCP_ISSUERS.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from doris_mcp_server.clusters import Name, named

_LOOPBACK = re.compile(r"http://(127\.0\.0\.1|\[::1\]|localhost)(:\d+)?/")


def _where(url: str) -> str:
    if not (re.fullmatch(r"https://[^\s/?#@]+/[^\s#]*", url) or _LOOPBACK.match(url)):
        raise ValueError("must be an https URL with a path (http only on loopback)")
    return url


class Issuer(BaseModel):
    """Callers with a token of this issuer are `<name>:<sub>`. `typ` is what it calls its access tokens (RFC 9068)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    issuer: str = Field(min_length=1, max_length=512)  # the claim `iss`, to the letter
    jwks: Annotated[str, AfterValidator(_where)]
    typ: str = Field("at+jwt", min_length=1, max_length=64)


def parse(text: str) -> tuple[Issuer, ...]:
    """The issuers of a JSON object {name: {...}}. ValueError naming the place."""
    found = named(text, Issuer, 'issuers: {"idp": {"issuer": "https://...", "jwks": "https://..."}}')
    if len({issuer.issuer for issuer in found}) != len(found):
        raise ValueError("an issuer is named twice")
    return found
