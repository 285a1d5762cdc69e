"""Clients that are the address of a document: what of it is believed, and what is never asked."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from doris_mcp_server.oauth import documents
from doris_mcp_server.oauth.documents import SIZE, is_public
from doris_mcp_server.state.local import LocalStore

from ...certificate import Certificate, make_certificate
from .conftest import CALLBACK, Server, answered

HOST = "client.example"


class Site:
    """Where a client publishes its document, and what was asked of it."""

    def __init__(self, certificate: Certificate) -> None:
        self.certificate = certificate
        self.asked: list[web.Request] = []
        self.address = ""
        self.resolved: list[str] = []
        self.document: dict[str, Any] = {}
        self.handler: Callable[[web.Request], Awaitable[web.StreamResponse]] = self.publish

    async def publish(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self.document)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        return await self.handler(request)

    async def resolve(self, host: str, port: int) -> list[str]:
        self.resolved.append(host)
        return ["127.0.0.1"]

    def server(self, **changes: Any) -> Server:
        made = {"context": self.certificate.client(), "resolve": self.resolve, "admits": lambda address: True}
        return Server(changes.pop("store", None), **made | changes)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"), HOST)


@pytest_asyncio.fixture
async def site(certificate: Certificate) -> AsyncIterator[Site]:
    made = Site(certificate)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.cert, certificate.key)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    made.address = f"https://{HOST}:{runner.addresses[0][1]}/client.json"
    made.document = {"client_id": made.address, "client_name": "Published", "redirect_uris": [CALLBACK]}
    try:
        yield made
    finally:
        await runner.cleanup()


async def test_a_client_that_publishes_a_document_logs_a_user_in(site: Site) -> None:
    server = site.server()
    page = await server.show(site.address)
    assert page.status == 200
    assert f"<strong>Published</strong> of <strong>{HOST}</strong>" in page.body.decode()
    assert site.asked[0].headers["Host"] == site.address.split("/")[2]
    assert "cookie" not in site.asked[0].headers and "authorization" not in site.asked[0].headers
    status, given = await server.redeem(site.address, answered(await server.decide(page))["code"])
    assert status == 200
    record = await server.verifier.tokens.find(given["access_token"])
    assert record is not None and record.client == site.address
    assert len(site.asked) == 1  # and for the tokens nobody asks it


async def test_a_document_is_asked_for_once_by_all_hosts(site: Site) -> None:
    one = site.server()
    two = site.server(store=one.store)
    for server in (one, two, one):
        assert (await server.show(site.address)).status == 200
    assert len(site.asked) == 1


async def kept(store: LocalStore) -> float:
    """Seconds the one document in the store stays there."""
    row = store._db.execute("SELECT until - julianday('now') * 86400 + 2440587.5 * 86400 FROM texts").fetchone()
    return float(row[0])


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("", 300), ("max-age=900", 900), ("public, max-age=1", 60), ("max-age=99999999", 3600), ("no-store", 60)],
)
async def test_it_is_kept_as_long_as_it_says_within_limits(site: Site, header: str, seconds: float) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response(site.document, headers={"Cache-Control": header})

    site.handler = handler
    server = site.server()
    assert (await server.show(site.address)).status == 200
    assert abs(await kept(server.store) - seconds) < 30


async def test_a_failure_is_not_tried_again_at_once(site: Site) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=500)

    site.handler = handler
    server = site.server()
    for _ in range(3):
        page = await server.show(site.address)
        assert page.status == 400
        assert "status 500" in page.body.decode()
    assert len(site.asked) == 1


def bad_answers() -> list[Any]:
    good = {"client_name": "x", "redirect_uris": [CALLBACK]}
    return [
        pytest.param({"document": good | {"client_id": "https://other.example/c"}}, "another one", id="other id"),
        pytest.param({"document": good}, "another one", id="no id"),
        pytest.param({"document": {"redirect_uris": []}}, "redirect_uris", id="no redirects"),
        pytest.param({"document": {"redirect_uris": ["http://evil.example/"]}}, "redirect URI", id="bad redirect"),
        pytest.param({"document": []}, "JSON object", id="a list"),
        pytest.param({"text": "{"}, "unexpected", id="no JSON"),
        pytest.param({"text": "{}", "content_type": "text/html"}, "application/json", id="HTML"),
        pytest.param({"text": " " * (SIZE + 1)}, f"more than {SIZE}", id="too large"),
        pytest.param({"status": 404, "text": "{}"}, "status 404", id="not there"),
        pytest.param({"status": 302, "headers": {"Location": "https://127.0.0.1/"}}, "status 302", id="redirect"),
        pytest.param({"text": "{}", "headers": {"Content-Encoding": "gzip"}}, "compressed", id="compressed"),
    ]


@pytest.mark.parametrize(("answer", "reason"), bad_answers())
async def test_a_document_that_is_not_as_it_must_be_is_refused(site: Site, answer: dict[str, Any], reason: str) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if "document" in answer:
            return web.json_response(answer["document"])
        return web.Response(**{"content_type": "application/json"} | answer)

    site.handler = handler
    page = await site.server().show(site.address)
    assert page.status == 400
    assert reason in page.body.decode()
    assert b"location" not in dict(page.headers)
    assert len(site.asked) == 1


async def test_a_site_that_goes_on_for_ever_is_left(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b" ")
                await asyncio.sleep(0.01)
        gone.set()
        return response

    monkeypatch.setattr(documents, "SECONDS", 0.3)
    site.handler = handler
    page = await site.server().show(site.address)
    assert "cannot be had" in page.body.decode()
    async with asyncio.timeout(30):
        await gone.wait()


async def test_a_host_whose_certificate_is_not_its_own_is_refused(site: Site) -> None:
    page = await site.server().show(site.address.replace(HOST, "other.example"))
    assert "cannot be had" in page.body.decode()
    assert site.asked == []
    page = await site.server(context=ssl.create_default_context()).show(site.address)
    assert "cannot be had" in page.body.decode()


async def test_a_name_that_leads_inside_is_not_asked(site: Site) -> None:
    for addresses in (["127.0.0.1"], ["10.1.2.3"], ["8.8.8.8", "127.0.0.1"], ["::1"], ["fd00::1"], []):

        async def resolve(host: str, port: int, found: list[str] = addresses) -> list[str]:
            return found

        page = await site.server(resolve=resolve, admits=is_public).show(site.address)
        assert page.status == 400
        assert "not on the public internet" in page.body.decode()
    assert site.asked == []


async def test_the_address_that_was_looked_at_is_the_one_that_is_asked(site: Site) -> None:
    """A name that leads elsewhere the second time gains nothing: there is no second time."""
    page = await site.server().show(site.address)
    assert page.status == 200
    assert site.resolved == [HOST]


@pytest.mark.parametrize(
    "url",
    [
        "https://client.example",
        "https://client.example/",
        "https://client.example/a/../b",
        "https://client.example/./b",
        "https://client.example/b#f",
        "https://user@client.example/b",
        "https://user:pw@client.example/b",
        "https://client.example:99999999/b",
        "https://client.example:70000/b",
        "https://client.example:0/b",
        "https://[::1]/b",
        "https://[::ffff:127.0.0.1]/b",
        "https://client.example/b c",
        "https://client.example/b\r\nHost: x",
        "https://clïent.example/b",
        "https://client.example\\@evil.example/b",
        "https://client.example/" + "b" * 600,
        "https:///b",
        "https://",
    ],
)
async def test_an_address_in_another_form_is_not_even_looked_up(site: Site, url: str) -> None:
    page = await site.server().show(url)
    assert page.status == 400
    assert site.resolved == []


@pytest.mark.parametrize(
    "url", ["http://client.example/b", "HTTPS://client.example/b", "file:///etc/passwd", "ftp://x/b"]
)
async def test_other_schemes_are_unknown_clients(site: Site, url: str) -> None:
    assert (await site.server().show(url)).status == 400
    assert site.resolved == []


LOCAL = ["127.0.0.1", "169.254.169.254", "10.0.0.1", "localhost", "2130706433", "0x7f.1", "0", "a..b", "x" * 70]


@pytest.mark.parametrize("host", LOCAL)
async def test_the_ways_to_write_a_local_host_all_end_in_its_address(host: str) -> None:
    page = await Server().show(f"https://{host}/latest/meta-data")
    assert page.status == 400
    text = page.body.decode()
    assert "not on the public internet" in text or "cannot be had" in text  # the latter: it is no name


NOT_PUBLIC = """
127.0.0.1 127.1.2.3 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 255.255.255.255
192.0.0.8 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 240.0.0.1 192.88.99.1 ::1 :: fe80::1
fc00::1 fd12::1 fec0::1 ff02::1 ff0e::1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::127.0.0.1 64:ff9b::7f00:1
64:ff9b:1::1 2002:7f00:1:: 2001:0:1::1 2001:db8::1 3fff::1 100::1 5f00::1
"""


@pytest.mark.parametrize("address", NOT_PUBLIC.split())
def test_what_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450::1"])
def test_what_is_public(address: str) -> None:
    assert is_public(address)


async def test_fetches_are_limited_for_each_who_asks(site: Site) -> None:
    server = site.server()
    replies = [await server.show(f"{site.address}?{number}") for number in range(11)]
    assert [reply.status for reply in replies] == [400] * 10 + [429]
    assert len(site.asked) == 10
    server.address = "192.0.2.99"
    assert (await server.show(f"{site.address}?x")).status == 400
    assert len(site.asked) == 11
