"""TLS from the SSLRequest on: both drivers, both event loops, every way the bytes may arrive."""

import asyncio
import contextlib
import ssl
import struct

import aiomysql
import asyncmy
import pymysql
import pytest

from doris_mcp_server import sandbox
from doris_mcp_server.errors import ConfigError
from doris_mcp_server.sandbox.options import Options

from .conftest import PASSWORD, close_secured, query

LIMIT = 60
CLIENT_SSL = 0x800
CAPABILITIES = 0x81A200  # as a client of MySQL 5.7 sends them, without CONNECT_WITH_DB
LOGIN = struct.pack("<IIB23s", CAPABILITIES | CLIENT_SSL, 1 << 24, 45, b"")
DRIVERS = [aiomysql, asyncmy]


@pytest.fixture
def secured(start, certificate, make_loop):
    """An engine that offers TLS."""
    return start(Options(tls_cert=certificate.cert, tls_key=certificate.key), make_loop)


@contextlib.asynccontextmanager
async def open_with(driver, engine, **options):
    connection = await driver.connect(host="127.0.0.1", port=engine.port, user="root", password=PASSWORD, **options)
    try:
        yield connection
    finally:
        await close_secured(connection)


@pytest.mark.parametrize("driver", DRIVERS)
async def test_both_drivers_come_in_and_large_results_arrive_whole(secured, certificate, driver):
    async with open_with(driver, secured, ssl=certificate.client()) as connection:
        sql = "SELECT number, repeat('x', 500) FROM numbers('number' = '20000')"
        _, rows = await query(connection, sql)
        assert [row[0] for row in rows] == list(range(20000)) and {len(row[1]) for row in rows} == {500}
        # A statement larger than a TLS record goes the other way.
        assert (await query(connection, f"SELECT length('{'y' * 100_000}') AS n"))[1] == [(100_000,)]
        with pytest.raises(Exception, match="Unknown database 'nope'"):
            await query(connection, "USE nope")


@pytest.mark.parametrize("driver", DRIVERS)
async def test_many_quick_connections_at_once(secured, certificate, driver):
    context = certificate.client()

    async def one(number: int) -> None:
        async with open_with(driver, secured, ssl=context) as connection:
            assert (await query(connection, f"SELECT {number}"))[1] == [(number,)]

    async with asyncio.timeout(LIMIT):
        await asyncio.gather(*(one(number) for number in range(60)))


@pytest.mark.parametrize("driver", DRIVERS)
async def test_without_require_tls_a_plain_login_is_welcome(secured, driver):
    async with open_with(driver, secured) as connection:
        assert (await query(connection, "SELECT 1"))[1] == [(1,)]


@pytest.mark.parametrize("driver", DRIVERS)
async def test_with_require_tls_a_plain_login_is_refused(start, certificate, driver):
    engine = start(Options(tls_cert=certificate.cert, tls_key=certificate.key, require_tls=True))
    with pytest.raises(Exception, match="require_secure_transport=ON") as caught:
        async with open_with(driver, engine):
            pass
    assert caught.value.args[0] == 3159
    async with open_with(driver, engine, ssl=certificate.client()) as connection:
        assert (await query(connection, "SELECT 1"))[1] == [(1,)]


class Raw:
    """A client that does TLS by hand, to send its bytes as it likes."""

    def __init__(self, reader, writer, context):
        self.reader, self.writer = reader, writer
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="127.0.0.1")

    async def greeting(self) -> bytes:
        return await self.reader.readexactly(int.from_bytes((await self.reader.readexactly(4))[:3], "little"))

    async def do(self, step, *arguments):
        while True:
            try:
                return step(*arguments)
            except ssl.SSLWantReadError:
                self.send(self.outgoing.read())
                received = await self.reader.read(65536)
                if not received:
                    raise ConnectionError("the end") from None
                self.incoming.write(received)
            finally:
                self.send(self.outgoing.read())

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def hello(self) -> bytes:
        """The ClientHello."""
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()


@contextlib.asynccontextmanager
async def raw(engine, context):
    reader, writer = await asyncio.open_connection("127.0.0.1", engine.port)
    try:
        async with asyncio.timeout(LIMIT):
            yield Raw(reader, writer, context)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def packet(sequence: int, data: bytes) -> bytes:
    return len(data).to_bytes(3, "little") + bytes([sequence]) + data


@pytest.mark.parametrize("piece", [1, 7, 100_000], ids=["byte by byte", "in pieces", "in one segment"])
async def test_the_client_hello_may_come_right_behind_the_request(secured, certificate, piece):
    async with raw(secured, certificate.client()) as client:
        await client.greeting()
        together = packet(1, LOGIN) + client.hello()
        for at in range(0, len(together), piece):
            client.writer.write(together[at : at + piece])
            await client.writer.drain()
            await asyncio.sleep(0)
        await client.do(client.tls.do_handshake)
        user = b"nobody\x00" + b"\x00" + b"mysql_native_password\x00"
        await client.do(client.tls.write, packet(2, LOGIN + user))
        answer = await client.do(client.tls.read, 65536)
        assert answer[4:7] == b"\xff" + (1045).to_bytes(2, "little")


@pytest.mark.parametrize("rubbish", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\x00" * 400, b""])
async def test_what_is_no_handshake_ends_the_connection_and_nothing_else(secured, certificate, connect, rubbish):
    async with raw(secured, certificate.client()) as client:
        await client.greeting()
        client.send(packet(1, LOGIN) + rubbish)
        client.writer.write_eof()
        with contextlib.suppress(ConnectionError):
            while await client.reader.read(65536):
                pass
    async with connect(port=secured.port) as connection:
        assert (await query(connection, "SELECT 1"))[1] == [(1,)]


async def test_tls_is_offered_only_with_a_certificate(engine, secured, certificate):
    async def offers(one) -> bool:
        async with raw(one, certificate.client()) as client:
            greeting = await client.greeting()
            at = greeting.index(b"\x00") + 1 + 4 + 8 + 1
            return bool(int.from_bytes(greeting[at : at + 2], "little") & CLIENT_SSL)

    assert not await offers(engine)
    assert await offers(secured)
    async with raw(engine, certificate.client()) as client:
        await client.greeting()
        client.send(packet(1, LOGIN))
        answer = await client.reader.readexactly(7)
        assert answer[4:] == b"\xff" + (1043).to_bytes(2, "little")


@pytest.mark.parametrize("what", ["KILL CONNECTION {}", "leave"])
async def test_a_running_query_ends_with_its_secured_connection(secured, certificate, connect, what):
    async with (
        connect(port=secured.port) as watcher,
        open_with(aiomysql, secured, ssl=certificate.client()) as victim,
    ):
        running = asyncio.ensure_future(query(victim, "SELECT SLEEP(705)"))
        sql = "SELECT count(*) FROM information_schema.active_queries WHERE `SQL` LIKE '%SLEEP(705)'"
        async with asyncio.timeout(LIMIT):
            while (await query(watcher, sql))[1] != [(1,)]:
                pass
            if what == "leave":
                victim.close()
            else:
                await query(watcher, what.format(victim.thread_id()))
            while (await query(watcher, sql))[1] != [(0,)]:
                pass
        running.cancel()
        failed = (await asyncio.gather(running, return_exceptions=True))[0]
        assert isinstance(failed, (pymysql.err.MySQLError, asyncio.CancelledError, ConnectionError))
        victim.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tls_cert": "cert"}, "--tls-cert and --tls-key go together"),
        ({"require_tls": True}, "--require-tls needs a certificate"),
        ({"tls_cert": "cert", "tls_key": "cert"}, "--tls-key"),
        ({"tls_cert": "cert", "tls_key": "missing"}, "No such file"),
    ],
)
async def test_a_bad_certificate_is_told_by_its_options(certificate, tmp_path, options, words):
    files = {"cert": certificate.cert, "missing": tmp_path / "missing"}
    with pytest.raises(ConfigError, match=words):
        given = Options(**{name: files.get(value, value) for name, value in options.items()})
        await sandbox.start("127.0.0.1", 0, "root", "", 1, options=given)
