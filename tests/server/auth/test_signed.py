"""Signed bearer tokens: our own and those of another issuer, and every forged one; the answer is never a 500."""

import asyncio
import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import jwt
import pytest
import pytest_asyncio
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from doris_mcp_server.auth import POSITIVE_CACHE, Principal, Verifier, jwks
from doris_mcp_server.auth.signed import LONGEST, Signed, sign
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import IssuerUnavailable
from doris_mcp_server.issuers import Issuer
from doris_mcp_server.keys.ring import ISSUER, Key, Ring
from doris_mcp_server.state.bus import Bus
from doris_mcp_server.state.local import LocalStore

from ...clock import Clock
from ..conftest import Launch, modern

URL = "https://mcp.example.com/mcp"
IDP = "https://idp.example.com/"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SHORT_RSA = rsa.generate_private_key(public_exponent=65537, key_size=1024)
EC = ec.generate_private_key(ec.SECP256R1())
ED = Ed25519PrivateKey.generate()


def member(algorithm: Any, key: Any, kid: str, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(algorithm.to_jwk(key.public_key()))
    return found | {"kid": kid} | more


KEYS = [
    member(RSAAlgorithm, RSA, "rsa"),
    member(RSAAlgorithm, RSA, "pss", alg="PS256"),
    member(ECAlgorithm, EC, "ec"),
    member(OKPAlgorithm, ED, "ed"),
]


@dataclass
class Idp:
    """Another issuer: what it publishes, and how often it was asked."""

    url: str = ""
    status: int = 200
    body: bytes = field(default_factory=lambda: json.dumps({"keys": KEYS}).encode())
    asked: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        return web.Response(status=self.status, body=self.body, headers={"location": self.url})


@pytest_asyncio.fixture
async def idp() -> AsyncIterator[Idp]:
    found = Idp()
    app = web.Application()
    app.router.add_get("/jwks", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    found.url = f"http://{host}:{port}/jwks"
    yield found
    await runner.cleanup()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(jwks, "monotonic", clock)
    return clock


ROTATED = time.time()


def ring() -> Ring:
    begun = Ring().followed(ISSUER, ROTATED - 1000, delay=0, overlap=0, secret=b"1" * 32)
    return begun.followed(ISSUER, ROTATED, delay=90, overlap=500, secret=b"2" * 32)


def verifier(idp: Idp | None = None, keys: list[Key] | None = None, clock: Clock | None = None) -> Verifier:
    others = (Issuer(name="idp", issuer=IDP, jwks=idp.url),) if idp else ()
    settings = Settings(public_url=URL, issuers=others)
    good = ring().good(ISSUER, ROTATED) if keys is None else keys
    return Verifier(settings, LocalStore(), Bus(), clock or Clock(), Signed(settings, lambda: good))


def token(key: Any = RSA, algorithm: str = "RS256", header: dict[str, Any] | None = None, **claims: Any) -> str:
    now = int(time.time())
    whole = {"iss": IDP, "sub": "ann", "aud": URL, "scope": "catalog:read", "iat": now, "exp": now + 600} | claims
    given = {k: v for k, v in whole.items() if v is not None}
    headers = {"typ": "at+jwt", "kid": "rsa"} | (header or {})
    return jwt.PyJWS().encode(json.dumps(given).encode(), key, algorithm, headers)  # it does not look at the claims


def text(part: Any) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def mine(**changes: Any) -> str:
    (key, *_) = ring().good(ISSUER, ROTATED)
    given: dict[str, Any] = {"subject": "ann", "scopes": ("query:execute",), "ttl": 600.0, "id": "1"}
    return sign(URL, key, **given | changes)


# --- good ones ---


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [(RSA, "RS256", "rsa"), (RSA, "PS256", "pss"), (EC, "ES256", "ec"), (ED, "EdDSA", "ed")],
)
async def test_a_token_of_another_issuer_is_its_caller_with_the_scopes_we_have(
    idp: Idp, key: Any, algorithm: str, kid: str
) -> None:
    made = token(key, algorithm, {"kid": kid}, scope="catalog:read query:execute openid admin")
    principal = await verifier(idp).verify(made)
    assert principal == Principal("idp:ann", frozenset({"catalog:read", "query:execute"}))


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": None, "scp": ["catalog:read", 1]}, {"catalog:read"}),
        ({"scope": None}, set()),
        ({"scope": 7}, set()),
        ({"aud": ["https://other.example.com", "HTTPS://MCP.example.com:443/mcp/"]}, {"catalog:read"}),
    ],
)
async def test_scopes_and_audiences_come_in_several_shapes(idp: Idp, claims: dict[str, Any], scopes: set[str]) -> None:
    principal = await verifier(idp).verify(token(**claims))
    assert principal is not None
    assert principal.scopes == scopes


async def test_a_token_of_our_own_needs_no_other_issuer_and_is_warm_then() -> None:
    clock = Clock()
    checks = verifier(clock=clock)
    made = mine()
    assert await checks.verify(made) == Principal("ann", frozenset({"query:execute"}))
    assert checks.warm(f"Bearer {made}".encode()) is not None
    clock.now += POSITIVE_CACHE
    assert checks.warm(f"Bearer {made}".encode()) is None


async def test_a_key_that_is_gone_ends_its_tokens_and_the_one_before_does_not() -> None:
    made = mine()
    assert await verifier(keys=ring().good(ISSUER, ROTATED + 100)).verify(made) is not None
    assert await verifier(keys=ring().good(ISSUER, ROTATED + 590)).verify(made) is None
    assert await verifier(keys=[]).verify(made) is None


async def test_a_warm_token_ends_with_its_key() -> None:
    clock = Clock()
    key = replace(ring().keys[0], until=time.time() + POSITIVE_CACHE / 2)
    checks = verifier(keys=[key], clock=clock)
    made = mine()
    assert await checks.verify(made) is not None
    assert checks.warm(f"Bearer {made}".encode()) is not None
    clock.now += POSITIVE_CACHE / 2
    assert checks.warm(f"Bearer {made}".encode()) is None


async def test_what_we_publish_checks_what_we_sign() -> None:
    found = jwks.read(jwks.published(ring().good(ISSUER, ROTATED)))
    assert list(found) == [key.id for key in ring().keys]  # the next one, too
    header = jwt.get_unverified_header(mine())
    check = found[header["kid"]]
    claims = jwt.decode(mine(), check.key, [check.algorithm], audience=URL, issuer="https://mcp.example.com")
    assert (claims["sub"], header["typ"]) == ("ann", "at+jwt")
    assert b'"d"' not in jwks.published(ring().keys)


# --- bad ones: H37, H39, H41 of the edge corpus and RFC 8725 ---


def deep_header() -> str:
    """Deeper than json reads, not than orjson does."""
    header = b'{"alg": "RS256", "typ": "at+jwt", "kid": "rsa", "x": ' + b"[" * 1000 + b"]" * 1000 + b"}"
    return ".".join((text(header), *token().split(".")[1:]))


def hmac_under_public_key() -> str:
    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{text({'alg': 'HS256', 'typ': 'at+jwt', 'kid': 'rsa'})}.{token().split('.')[1]}"
    return f"{signed}.{text(hmac.digest(pem, signed.encode(), 'sha256'))}"


OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
NOW = int(time.time())
FORGED = {
    "another key": token(OTHER),
    "expired": token(exp=NOW - 60),
    "not yet": token(nbf=NOW + 600),
    "from the future": token(iat=NOW + 600),
    "another audience": token(aud="https://other.example.com/mcp"),
    "no audience": token(aud=None),
    "odd audience": token(aud=[1]),
    "another issuer": token(iss="https://evil.example.com/"),
    "issuer without its slash": token(iss=IDP.rstrip("/")),
    "issuer list": token(iss=[IDP]),
    "no expiry": token(exp=None),
    "endless": token(exp=10**400),
    "no subject": token(sub=None),
    "empty subject": token(sub=""),
    "odd subject": token(sub="ann\nbob"),
    "an ID token": token(header={"typ": "JWT"}),
    "a refresh token": token(header={"typ": "rt+jwt"}),
    "no type": token(header={"typ": None}),
    "kid is a path": token(header={"kid": "../../dev/null"}),
    "kid is SQL": token(header={"kid": "' UNION SELECT 'k"}),
    "kid of 5 KB": token(header={"kid": "k" * 5000}),
    "kid is unknown": token(header={"kid": "nobody"}),
    "algorithm of another key": token(RSA, "RS512"),
    "pss with the key for pkcs": token(RSA, "PS256"),
    "ec with the key id of rsa": token(EC, "ES256"),
    "crit": token(header={"crit": ["x"], "x": 1}),
    "b64": token(header={"b64": False, "crit": ["b64"]}),
    "b64 alone": token(header={"b64": False}),
    "zip": token(header={"zip": "DEF"}),
    "key in the header": token(OTHER, header={"jwk": member(RSAAlgorithm, OTHER, "rsa")}),
    "key by address": token(OTHER, header={"jku": "http://127.0.0.1:1/"}),
    "none": f"{text({'alg': 'none', 'typ': 'at+jwt', 'kid': 'rsa'})}.{token().split('.')[1]}.",
    "hmac under the public key": hmac_under_public_key(),
    "an own issuer's name with their key": token(iss="https://mcp.example.com"),
    "a nested JWE": f"{text({'alg': 'RSA-OAEP', 'enc': 'A256GCM', 'cty': 'JWT'})}.a.b.c.d",
    "PBES2": f"{text({'alg': 'PBES2-HS256+A128KW', 'p2c': 2**31, 'enc': 'A128GCM'})}.e30.x",
    "no JSON": "a.b.c",
    "empty": "..",
    "a list": f"{text([])}.{text([])}.x",
    "deep": f"{text(b'[' * 3000)}.{text({})}.x",
    "deep in the header": deep_header(),
    "cut": token()[:-1],
    "changed": token().replace(".", ".A", 1),
    "a signature more": token() + ".x",
    "too long": token(padding="x" * LONGEST),
    "our smoke test": mine(subject="smoke"),
    "ours for another": sign("https://other.example.com/mcp", ring().keys[0], subject="a", scopes=(), ttl=60, id="1"),
}


@pytest.mark.parametrize("made", FORGED.values(), ids=FORGED.keys())
async def test_a_forged_token_is_nobodys(idp: Idp, made: str) -> None:
    checks = verifier(idp)
    assert await checks.verify(made) is None
    assert idp.asked <= 1
    assert await checks.verify(token()) is not None


@given(st.text(alphabet=st.characters(max_codepoint=127), max_size=60), st.data())
async def test_no_text_of_this_shape_is_an_error(part: str, data: st.DataObject) -> None:
    parts = [*token().split("."), part]
    made = ".".join(data.draw(st.sampled_from(parts)) for _ in range(3))
    if made not in (token(), mine()):
        assert await verifier().verify(made) is None


async def test_every_forged_token_is_401_over_http(launch: Launch, http: aiohttp.ClientSession, idp: Idp) -> None:
    issuers = json.dumps({"idp": {"issuer": IDP, "jwks": idp.url}})
    async with launch(DORIS_MCP_ISSUERS=issuers, DORIS_MCP_PUBLIC_URL=URL) as server:
        ask = modern("tools/list")

        async def status(made: str) -> tuple[int, str]:
            headers = ask["headers"] | {"authorization": f"Bearer {made}"}
            async with http.post(server.url + "/mcp", json=ask["json"], headers=headers) as response:
                await response.read()
                return response.status, response.headers.get("www-authenticate", "")

        for name, made in FORGED.items():
            if "\n" not in made:
                code, challenge = await status(made)
                assert (name, code) == (name, 401)
                assert 'error="invalid_token"' in challenge
        assert (await status(token()))[0] == 200
        assert idp.asked == 1


# --- the keys of another issuer ---


def test_only_good_keys_of_a_set_are_used_and_each_for_one_algorithm() -> None:
    odd = [
        *KEYS,
        {"kty": "oct", "k": "AAAA", "kid": "secret"},
        member(RSAAlgorithm, SHORT_RSA, "short"),
        member(RSAAlgorithm, RSA, "enc", use="enc"),
        member(RSAAlgorithm, RSA, "hmac", alg="HS256"),
        member(RSAAlgorithm, RSA, "none", alg="none"),
        member(RSAAlgorithm, RSA, "list", alg=["RS256"]),
        member(ECAlgorithm, EC, "wrong", alg="RS256"),
        json.loads(OKPAlgorithm.to_jwk(ED)) | {"kid": "private"},
        {"kty": "RSA", "kid": "empty"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "off the curve"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kid": 7},
        "no key",
        None,
    ]
    found = jwks.read(json.dumps({"keys": odd}).encode())
    assert {kid: check.algorithm for kid, check in found.items()} == {
        "rsa": "RS256",
        "pss": "PS256",
        "ec": "ES256",
        "ed": "EdDSA",
    }


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"keys": 1}', b"<html>"])
def test_what_is_no_key_set_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError):
        jwks.read(document)


async def test_a_storm_of_unknown_key_ids_asks_the_issuer_once(idp: Idp, clock: Clock) -> None:
    remote = jwks.Remote(idp.url)
    assert await asyncio.gather(*(remote.find(f"k{number}") for number in range(100))) == [None] * 100
    assert idp.asked == 1
    idp.body = json.dumps({"keys": [*KEYS, member(OKPAlgorithm, ED, "new")]}).encode()
    clock.now += jwks.PAUSE - 1
    assert await remote.find("new") is None
    clock.now += 1
    assert await remote.find("new") is not None
    assert idp.asked == 2


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 302}, {"body": b"{}"}, {"body": b" " * (1 << 19)}])
async def test_known_keys_outlive_their_issuer_for_a_while_and_then_nobody_can_tell(
    idp: Idp, clock: Clock, fault: dict[str, Any]
) -> None:
    remote = jwks.Remote(idp.url)
    assert await remote.find("rsa") is not None
    for name, value in fault.items():
        setattr(idp, name, value)
    clock.now += jwks.KEPT
    assert await remote.find("rsa") is not None
    clock.now += jwks.PAUSE
    with pytest.raises(IssuerUnavailable):
        await remote.find("rsa")
    assert idp.asked <= 3


async def test_a_key_that_the_issuer_withdrew_is_used_no_more(idp: Idp, clock: Clock) -> None:
    remote = jwks.Remote(idp.url)
    assert await remote.find("rsa") is not None
    idp.body = json.dumps({"keys": KEYS[1:]}).encode()
    clock.now += jwks.FRESH + 1
    await remote.find("rsa")  # looks beside the request
    assert remote._fetching is not None
    await remote._fetching
    assert await remote.find("rsa") is None


async def test_an_issuer_that_is_away_makes_it_503(launch: Launch, http: aiohttp.ClientSession) -> None:
    issuers = json.dumps({"idp": {"issuer": IDP, "jwks": "http://127.0.0.1:1/jwks"}})
    async with launch(DORIS_MCP_ISSUERS=issuers, DORIS_MCP_PUBLIC_URL=URL) as server:
        ask = modern("tools/list")
        headers = ask["headers"] | {"authorization": f"Bearer {token()}"}
        async with http.post(server.url + "/mcp", json=ask["json"], headers=headers) as response:
            assert (response.status, response.headers["retry-after"]) == (503, "2")
            await response.read()


async def test_without_the_store_nobody_can_tell_whose_our_tokens_are(
    launch: Launch, http: aiohttp.ClientSession
) -> None:
    away = {"REDIS_URL": "redis://127.0.0.1:1/0", "DORIS_MCP_TOKEN_KEY": "ab" * 32, "DORIS_MCP_PUBLIC_URL": URL}
    async with launch(**away) as server:
        ask = modern("tools/list")
        headers = ask["headers"] | {"authorization": f"Bearer {mine()}"}
        async with http.post(server.url + "/mcp", json=ask["json"], headers=headers) as response:
            assert response.status == 503
            await response.read()
        for method, status in (("GET", 503), ("POST", 405)):
            async with http.request(method, server.url + "/.well-known/jwks.json") as response:
                assert response.status == status
                await response.read()
