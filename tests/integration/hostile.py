"""Frontends that are broken or mean: what each sends, and what kind of error a caller must get for it."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from ..server.doris.conftest import (
    END,
    OK,
    Begun,
    Frontend,
    HangUp,
    Misplaced,
    Packet,
    Silence,
    column,
    error,
    number,
    result,
    row,
)

ASKED: Final = "SELECT 'x' AS asked"
UNAVAILABLE, FAILED, TIMEOUT, REFUSED = "doris_unavailable", "query_failed", "query_timeout", "doris_refused_login"
HEAD: Final = [number(1), column("asked", 253), END]


class Torn(Begun):
    """A row small enough to be waited for."""

    announced = 1000


@dataclass(frozen=True)
class Hostile:
    """`prepare` makes a frontend so; `kind` of error, with `words` in it. `up`: it still counts as one that answers."""

    name: str
    prepare: Callable[[Frontend], None]
    kind: str
    words: str
    up: bool = True


def every() -> Iterator[Hostile]:
    yield from _at_login()
    yield from _at_a_statement()


def _at_login() -> Iterator[Hostile]:
    def greets(*parts: bytes) -> Callable[[Frontend], None]:
        return lambda frontend: setattr(frontend, "greeting", parts)

    def flood(frontend: Frontend) -> None:
        frontend.greeting = (b"\xff\xff\xff" + bytes([n & 255]) + b"\x0a" * 0xFFFFFF for n in itertools.count())

    def login(packet: Packet | None) -> Callable[[Frontend], None]:
        return lambda frontend: setattr(frontend, "login", packet)

    yield Hostile("says nothing", greets(), UNAVAILABLE, "did not answer", up=False)
    yield Hostile("greets as a web server", greets(b"HTTP/1.1 400 Bad Request\r\n\r\n"), UNAVAILABLE, "", up=False)
    yield Hostile("greets with noise", greets(bytes(range(256)) * 512), UNAVAILABLE, "", up=False)
    yield Hostile("greets without end", flood, UNAVAILABLE, "does not speak the MySQL protocol", up=False)
    yield Hostile("takes no login", login(None), UNAVAILABLE, "did not answer", up=False)
    yield Hostile("refuses logins", login(error(1045, "Access denied for user 'root'")), REFUSED, "Access denied")
    yield Hostile("is full", login(error(1040, "Too many connections")), UNAVAILABLE, "Too many", up=False)


def _at_a_statement() -> Iterator[Hostile]:
    def sends(name: str, packets: Callable[[], Iterable[Packet]], kind: str, words: str) -> Hostile:
        def script(sql: str) -> Iterable[Packet]:
            return packets() if sql == ASKED else [OK]

        return Hostile(name, lambda frontend: setattr(frontend, "script", script), kind, words)

    def columns(count: int, name: str = "c") -> Callable[[], Iterable[Packet]]:
        return lambda: itertools.chain([number(count)], itertools.repeat(column(name, 253)))

    def then(ending: type[Exception], *packets: Packet) -> Callable[[], Iterator[Packet]]:
        def play() -> Iterator[Packet]:
            yield from packets
            raise ending

        return play

    rows = [*HEAD, row([b"right"])]
    yield sends("never answers", then(Silence), TIMEOUT, "longer than")
    yield sends("falls silent amid the rows", then(Silence, *rows), TIMEOUT, "longer than")
    yield sends("dies amid the rows", then(HangUp, *rows), UNAVAILABLE, "broke")
    yield sends("dies amid a row", then(HangUp, *rows, Torn(b"\xfc")), UNAVAILABLE, "broke")
    yield sends("dies amid the columns", then(HangUp, *HEAD[:2]), UNAVAILABLE, "broke")
    yield sends("sends noise amid the rows", lambda: [*rows, b"\xfd\xff\xff\xff\x07"], UNAVAILABLE, "cannot be read")
    yield sends("sends noise as columns", lambda: [number(3), b"\xde\xad\xbe\xef"], UNAVAILABLE, "cannot be read")
    yield sends("asks for a file", lambda: [b"\xfb/etc/passwd"], UNAVAILABLE, "cannot be read")
    yield sends("loses count", lambda: [*rows, Misplaced(row([b"wrong"])), END], UNAVAILABLE, "out of step")
    yield sends("loses count at once", lambda: [Misplaced(number(1))], UNAVAILABLE, "out of step")
    yield sends("sends empty packets", lambda: [*rows, b"", END], UNAVAILABLE, "out of step")
    yield sends("claims 60,000 columns", columns(60_000), FAILED, "60,000 columns")
    yield sends("claims 2^64-1 columns", columns(2**64 - 1), FAILED, "columns")
    yield sends("names columns at length", columns(16_000, "c" * 400_000), FAILED, "columns")
    yield sends("sends huge columns", lambda: [number(1), Begun(b"\x03def")], UNAVAILABLE, "cannot be read")
    yield sends("acknowledges", lambda: [OK], UNAVAILABLE, "acknowledgement")
    yield sends("ends before the columns", lambda: [number(2), *HEAD[1:]], UNAVAILABLE, "cannot be read")
    yield sends("sends two results", lambda: [*rows, b"\xfe\x00\x00\x0a\x00", *result([("b", 3)], [])], UNAVAILABLE, "")
    yield sends("fails amid the rows", lambda: [*rows, error(1105, "memory limit")], FAILED, "memory limit")
    yield sends("fails without words", lambda: [b"\xff"], FAILED, "Doris error")
