"""The frontends' HTTP side against one that misbehaves on order: slow, endless, garbage, redirects, dead."""

import asyncio
import base64
import contextlib
import datetime
import gzip
import ipaddress
import json
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from doris_mcp_server.doris.http import AccountHTTP, FrontendHTTP
from doris_mcp_server.errors import (
    AnswerTooLarge,
    ConfigError,
    DorisError,
    DorisRefusedLogin,
    DorisUnavailable,
    InvalidArgument,
    QueryFailed,
)

LIMIT = 20.0  # seconds: generous, the machine may be busy
HASTY = 0.2  # seconds: for answers that never come
ID = "d7c93d9275334c35-9e6ac5f295a7134b"
PROFILE = "Summary:\n   - Profile ID: x\n"
PASSWORD = "pass:wörd"
TEXT_PAGE = f"/rest/v2/manager/query/profile/text/{ID}"
LIST_PAGE = "/rest/v2/manager/query/query_info"


class Silence(Exception):
    """Raised by a script: the rest of the answer never comes."""


class Site:
    """A web server: `script` makes an answer, piece by piece, from what was asked. Each answer has its connection."""

    def __init__(self) -> None:
        self.script: Callable[[str], Iterable[bytes]] = lambda target: answer({"profile": PROFILE})
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.left = 0  # connections whose client left before the answer was complete
        self.port = 0
        self.news = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(LIMIT), self.news:
            await self.news.wait_for(condition)

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def targets(self) -> list[str]:
        return [target for target, _ in self.requests]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._answer(reader, writer)
        except ConnectionError:
            await self._count_left()
        except asyncio.CancelledError:
            writer.transport.abort()  # `stop` cancelled us
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        assert method == "GET"
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:-2])}
        async with self.news:
            self.requests.append((target, headers))
            self.news.notify_all()
        try:
            for piece in self.script(target):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.001)  # an answer that dribbles goes on for as long as the client stays
        except Silence:
            await reader.read()
            await self._count_left()

    async def _count_left(self) -> None:
        async with self.news:
            self.left += 1
            self.news.notify_all()


def page(body: bytes, status: int = 200, **headers: str) -> list[bytes]:
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ["\r\n".join([*lines, "", ""]).encode() + body]


def answer(data: Any, code: int = 0, msg: str = "success") -> list[bytes]:
    """Doris' envelope around `data`."""
    return page(json.dumps({"msg": msg, "code": code, "data": data, "count": 0}).encode())


def redirect(location: str) -> list[bytes]:
    return page(b"", 307, location=location)


@contextlib.asynccontextmanager
async def site(tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    made = Site()
    await made.start(tls)
    try:
        yield made
    finally:
        await made.stop()


@pytest.fixture
async def one() -> AsyncIterator[Site]:
    async with site() as made:
        yield made


@pytest.fixture
async def two() -> AsyncIterator[Site]:
    async with site() as made:
        yield made


@contextlib.asynccontextmanager
async def reached(*frontends: tuple[str, int], timeout: float = LIMIT, **options: Any) -> AsyncIterator[FrontendHTTP]:
    http = FrontendHTTP(frontends, timeout=timeout, **options)
    try:
        yield http
    finally:
        await http.close()


@contextlib.asynccontextmanager
async def account(*frontends: tuple[str, int], **options: Any) -> AsyncIterator[AccountHTTP]:
    async with reached(*frontends, **options) as http:
        yield http.account("ann", PASSWORD)


async def dead_port() -> tuple[str, int]:
    """An address nobody listens on."""
    async with site() as gone:
        return gone.address


async def test_a_profile_with_the_callers_own_account(one: Site) -> None:
    async with account(one.address) as ann:
        assert await ann.profile(ID) == PROFILE
    ((target, headers),) = one.requests
    assert target == TEXT_PAGE
    assert base64.b64decode(headers["authorization"].removeprefix("Basic ")).decode() == f"ann:{PASSWORD}"


@pytest.mark.parametrize("first", [{}, None, {"profile": ""}])
async def test_every_frontend_is_asked_for_a_profile(one: Site, two: Site, first: Any) -> None:
    one.script = lambda target: answer(first)
    async with account(one.address, two.address) as ann:
        assert await ann.profile(ID) == PROFILE
    assert one.targets == two.targets == [TEXT_PAGE]


async def test_a_dead_frontend_is_passed_over(one: Site) -> None:
    one.script = lambda target: answer({"rows": []} if target == LIST_PAGE else {"profile": PROFILE})
    async with account(await dead_port(), one.address) as ann:
        assert await ann.profile(ID) == PROFILE
        assert await ann.queries() == []


async def test_no_frontend_has_the_profile(one: Site, two: Site) -> None:
    one.script = two.script = lambda target: answer({})
    async with account(one.address, two.address) as ann:
        with pytest.raises(QueryFailed, match=f"No frontend has a profile of {ID}") as failed:
            await ann.profile(ID)
    assert "enable_profile" in str(failed.value.hint)


async def test_a_profile_may_be_on_the_frontend_that_is_dead(one: Site) -> None:
    one.script = lambda target: answer({})
    dead = await dead_port()
    async with account(one.address, dead) as ann:
        with pytest.raises(DorisUnavailable, match=f"127.0.0.1:{dead[1]} cannot be read"):
            await ann.profile(ID)


async def test_nobody_answers_or_nobody_is_there() -> None:
    async with account(await dead_port()) as ann:
        with pytest.raises(DorisUnavailable):
            await ann.queries()
    async with account() as ann:
        with pytest.raises(DorisUnavailable, match="No frontend"):
            await ann.queries()


async def test_the_older_page_and_its_markup(one: Site) -> None:
    marked = PROFILE.replace("\n", "</br>").replace(" ", "&nbsp;&nbsp;")
    one.script = lambda target: answer(marked) if "/v1/" in target else page(b"<html>", 404)
    async with account(one.address) as ann:
        assert await ann.profile(ID) == PROFILE
    assert one.targets == [TEXT_PAGE, f"/rest/v1/query_profile/{ID}"]


@pytest.mark.parametrize(
    "id", ["", "1", "../../api/x-1", "a-b-c", "a-g", f"{ID}/..", f"{ID}?x", f"{ID}\n", "a" * 17 + "-1", "%61-1"]
)
async def test_what_is_no_query_id_is_not_sent(one: Site, id: str) -> None:
    async with account(one.address) as ann:
        with pytest.raises(InvalidArgument):
            await ann.profile(id)
    assert one.requests == []


@pytest.mark.parametrize(
    "refusal", [page(b"", 401), answer("Access denied for ann@127.0.0.1", 401, "Unauthorized")], ids=["http", "doris"]
)
async def test_a_refused_login_ends_it(one: Site, two: Site, refusal: list[bytes]) -> None:
    one.script = lambda target: refusal
    async with account(one.address, two.address) as ann:
        for call in (ann.profile(ID), ann.queries(), ann.metrics()):
            with pytest.raises(DorisRefusedLogin, match="refused the login") as failed:
                await call
            secret = base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
            assert PASSWORD not in str(failed.value) and secret not in str(failed.value)
    assert set(two.targets) <= {"/metrics"}


@pytest.mark.parametrize(
    ("bad", "kind", "words"),
    [
        (page(b"", 403), QueryFailed, "denies access"),
        (page(b"oops", 500), QueryFailed, "HTTP status 500"),
        (page(b"", 503), DorisUnavailable, "HTTP status 503"),
        (answer("not found query id", 403, "Bad Request"), QueryFailed, "not found query id"),
        (answer("Access deny to view query", 403, "Bad Request"), QueryFailed, "Access deny"),
        (answer(None, 500, "Internal Error"), QueryFailed, "Internal Error"),
        (answer("Server is not ready", 503, "Service Unavailable"), DorisUnavailable, "is not ready"),
        (page(b"<html>it works</html>"), QueryFailed, "not Doris'"),
        (page(b"[]"), QueryFailed, "not Doris'"),
        (page(b'{"code": "no"}'), QueryFailed, "not Doris'"),
        (page(b'{"msg": "no code"}'), QueryFailed, "not Doris'"),
        (answer({"rows": [[1]]}), QueryFailed, "form"),
        (answer({"columns": []}), QueryFailed, "form"),
        (answer("words"), QueryFailed, "form"),
        (page(gzip.compress(b"x" * 100_000), content_encoding="gzip"), QueryFailed, "compressed"),
        ([b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n{"], DorisUnavailable, "cannot be read"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], DorisUnavailable, "cannot be read"),
        ([], DorisUnavailable, "cannot be read"),
    ],
    ids=lambda value: None if isinstance(value, list) else str(getattr(value, "__name__", value)),
)
async def test_answers_that_are_none(one: Site, bad: list[bytes], kind: type[DorisError], words: str) -> None:
    one.script = lambda target: bad
    async with account(one.address) as ann:
        with pytest.raises(DorisError, match=words) as failed:
            await ann.queries()
    assert type(failed.value) is kind


async def test_long_words_of_a_frontend_are_cut(one: Site) -> None:
    one.script = lambda target: answer("x" * 100_000, 1)
    async with account(one.address) as ann:
        with pytest.raises(QueryFailed) as failed:
            await ann.queries()
    assert len(failed.value.message) < 1000


def silent(target: str) -> Iterable[bytes]:
    raise Silence
    yield b""


def stalled(target: str) -> Iterable[bytes]:
    yield b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n{"
    raise Silence


def endless(target: str) -> Iterable[bytes]:
    yield b"HTTP/1.1 200 X\r\nconnection: close\r\n\r\n"
    while True:
        yield b" "


def flood(target: str) -> Iterable[bytes]:
    yield b"HTTP/1.1 200 X\r\nconnection: close\r\n\r\n"
    while True:
        yield b" " * 65_536


@pytest.mark.parametrize("script", [silent, stalled, endless])
async def test_an_answer_that_never_ends_in_time(one: Site, script: Callable[[str], Iterable[bytes]]) -> None:
    one.script = script
    async with account(one.address, timeout=HASTY) as ann:
        with pytest.raises(DorisUnavailable, match=f"in time \\(at most {HASTY:g} s\\)"):
            await ann.queries()
        await one.until(lambda: one.left == 1)


async def test_after_one_that_is_silent_the_next_is_asked(one: Site, two: Site) -> None:
    one.script = silent
    async with account(one.address, two.address, timeout=HASTY) as ann:
        assert await ann.profile(ID) == PROFILE


@pytest.mark.parametrize("max_bytes", [1, 100_000, 300_000])
async def test_an_answer_that_is_too_large_is_left(one: Site, two: Site, max_bytes: int) -> None:
    one.script = flood
    async with account(one.address, two.address, max_bytes=max_bytes) as ann:
        with pytest.raises(AnswerTooLarge, match=f"more than {max_bytes} bytes"):
            await ann.profile(ID)
        await one.until(lambda: one.left == 1)
    assert two.requests == []


async def test_an_answer_of_just_the_size(one: Site) -> None:
    (whole,) = answer({"profile": PROFILE})
    size = len(whole.split(b"\r\n\r\n", 1)[1])
    async with account(one.address, max_bytes=size) as ann:
        assert await ann.profile(ID) == PROFILE
    async with account(one.address, max_bytes=size - 1) as ann:
        with pytest.raises(AnswerTooLarge):
            await ann.profile(ID)


async def test_a_cancelled_call_lets_go(one: Site) -> None:
    one.script = silent
    async with account(one.address) as ann:
        call = asyncio.create_task(ann.queries())
        await one.until(lambda: one.requests)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await one.until(lambda: one.left == 1)


async def test_a_redirect_to_another_frontend_is_followed(one: Site, two: Site) -> None:
    one.script = lambda target: redirect(f"http://ann:other@127.0.0.1:{two.port}{target}?is_all_node=false&x=ü%20")
    async with account(one.address, two.address) as ann:
        assert await ann.profile(ID) == PROFILE
    ((target, headers),) = two.requests
    assert target == f"{TEXT_PAGE}?is_all_node=false&x=%C3%BC%20"
    assert base64.b64decode(headers["authorization"].removeprefix("Basic ")).decode() == f"ann:{PASSWORD}"


async def test_a_redirect_within_a_frontend_is_followed(one: Site) -> None:
    one.script = lambda target: answer({"rows": []}) if target == "/moved" else redirect("/moved")
    async with account(one.address) as ann:
        assert await ann.queries() == []


@pytest.mark.parametrize(
    "location", ["http://ann:hidden@127.0.0.1:{}/", "//127.0.0.1:{}/", "https://127.0.0.1:{}/", "http://localhost:{}/"]
)
async def test_a_redirect_to_anybody_else_is_not(one: Site, two: Site, location: str) -> None:
    one.script = lambda target: redirect(location.format(two.port))
    async with account(one.address) as ann:
        with pytest.raises(QueryFailed, match=f":{two.port}, which is none of the configured") as failed:
            await ann.queries()
    assert "hidden" not in str(failed.value)
    assert two.requests == []


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("/again", "redirects again"),
        ("https://127.0.0.1:{}/", "none of"),
        ("http://[x/", "no address"),
        ("http://h:x/", "no address"),
    ],
)
async def test_redirects_that_lead_nowhere(one: Site, location: str, words: str) -> None:
    one.script = lambda target: redirect(location.format(one.port))
    async with account(one.address) as ann:
        with pytest.raises(QueryFailed, match=words):
            await ann.queries()


async def test_nothing_of_the_environment_and_no_cookie(one: Site, two: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{two.port}")
    body = json.dumps({"code": 0, "data": {"rows": []}}).encode()
    one.script = lambda target: page(body, set_cookie="PALO_SESSION_ID=of-ann; Path=/")
    async with reached(one.address) as http:
        await http.account("ann", PASSWORD).queries()
        await http.account("bob", "").queries()
    assert two.requests == []
    assert [headers.get("cookie") for _, headers in one.requests] == [None, None]
    assert one.requests[0][1]["authorization"] != one.requests[1][1]["authorization"]


async def test_no_secret_in_the_log(one: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    one.script = lambda target: page(b"", 307, location="http://ann:hidden@other/", set_cookie="PALO_SESSION_ID=hidden")
    async with account(one.address) as ann:
        with pytest.raises(QueryFailed):
            await ann.queries()
    assert "hidden" not in caplog.text and PASSWORD not in caplog.text


async def test_metrics_of_every_frontend(one: Site, two: Site) -> None:
    one.script = lambda target: page(b"doris_fe_qps 1\n\xff")
    two.script = lambda target: page(b"", 500)
    dead = await dead_port()
    async with account(one.address, two.address, dead) as ann:
        metrics = await ann.metrics()
    assert list(metrics) == [f"{host}:{port}" for host, port in (one.address, two.address, dead)]
    first, second, third = metrics.values()
    assert first == "doris_fe_qps 1\n\ufffd"
    assert isinstance(second, QueryFailed) and isinstance(third, DorisUnavailable)


async def test_a_name_with_a_colon_would_be_another_account(one: Site) -> None:
    async with reached(one.address) as http:
        with pytest.raises(ConfigError, match="colon"):
            await http.account("a:b", "c").queries()
    assert one.requests == []


async def test_after_close_nothing_is_sent(one: Site) -> None:
    async with account(one.address) as ann:
        await ann.profile(ID)
    with pytest.raises(DorisUnavailable, match="shutting down"):
        await ann.profile(ID)
    assert len(one.requests) == 1


def test_http_is_loaded_when_it_is_needed() -> None:
    code = "import sys, doris_mcp_server.doris.http; sys.exit('httpx2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1 that it signed itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "frontend")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "frontend.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return file


async def test_https(certificate: Path) -> None:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    async with site(serving) as secure:
        async with account(secure.address, tls=ssl.create_default_context(cafile=certificate)) as ann:
            assert await ann.profile(ID) == PROFILE
        async with account(secure.address, tls=ssl.create_default_context()) as ann:
            with pytest.raises(DorisUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
                await ann.profile(ID)
        async with account(secure.address) as ann:
            with pytest.raises(DorisUnavailable):
                await ann.profile(ID)
        assert len(secure.requests) == 1
