"""Values as JSON shows them."""

from typing import Any

import pytest

from doris_mcp_server.doris.driver import Driver
from doris_mcp_server.doris.rows import Column, Convert, Rows, careful, length_encoded, parse_column


def define(name: str, kind: int, charset: int = 33) -> bytes:
    parts = [b"def", b"", b"", b"", name.encode(), b""]
    head = b"".join(bytes([len(part)]) + part for part in parts)
    return head + b"\x0c" + charset.to_bytes(2, "little") + b"\0\0\0\0" + bytes([kind]) + b"\0\0\0\0\0"


def read(driver: Driver, packets: list[bytes], converts: tuple[Convert, ...]) -> list[tuple[Any, ...]]:
    """The rows in these packets, the first of which has number 7."""
    heads = [len(p).to_bytes(3, "little") + bytes([(7 + n) & 0xFF]) for n, p in enumerate(packets)]
    buffer = bytearray(b"".join(head + packet for head, packet in zip(heads, packets, strict=True)))
    rows: list[tuple[Any, ...]] = []
    driver.parse_rows(buffer, 0, len(buffer), converts, 7, rows)
    return rows


@pytest.mark.parametrize(
    ("kind", "name", "wire", "value"),
    [
        (1, "TINYINT", b"-1", -1),
        (3, "INT", b"7", 7),
        (8, "BIGINT", b"9007199254740991", 9007199254740991),
        (8, "BIGINT", b"9007199254740992", "9007199254740992"),
        (8, "BIGINT", b"-9007199254740992", "-9007199254740992"),
        (4, "FLOAT", b"1.5", 1.5),
        (5, "DOUBLE", b"nan", "NaN"),
        (5, "DOUBLE", b"inf", "Infinity"),
        (5, "DOUBLE", b"-Infinity", "-Infinity"),
        (246, "DECIMAL", b"12345678901234567890.120", "12345678901234567890.120"),
        (10, "DATE", b"2024-01-02", "2024-01-02"),
        (12, "DATETIME", b"2024-01-02 03:04:05.000006", "2024-01-02T03:04:05.000006"),
        (11, "TIME", b"-838:59:59", "-838:59:59"),
        (16, "BIT", b"\x01\x00", 256),
        (245, "JSON", b'{"a": 1}', '{"a": 1}'),
        (253, "VARCHAR", "é中".encode(), "é中"),
        (254, "STRING", b"\xff\x00", {"base64": "/wA="}),
        (99, "STRING", b"x", "x"),
        (253, "VARCHAR", b"", ""),
    ],
)
def test_values(driver: Driver, kind: int, name: str, wire: bytes, value: object) -> None:
    column, convert = parse_column(define("c", kind))
    assert column == Column("c", name)
    assert read(driver, [b"%c%s" % (len(wire), wire)], careful((convert,))) == [(value,)]


def test_bytes_say_so_in_their_type() -> None:
    assert parse_column(define("c", 252, charset=63))[0] == Column("c", "BINARY")


def test_rows_of_all_lengths(driver: Driver) -> None:
    converts = (parse_column(define("c", 253))[1],) * 4
    long, longer = b"x" * 300, b"y" * 70_000
    packet = b"\xfb" + b"\x01a" + b"\xfc\x2c\x01" + long + b"\xfd\x70\x11\x01" + longer
    assert read(driver, [packet], converts) == [(None, "a", long.decode(), longer.decode())]


@pytest.mark.parametrize("packet", [b"\x05abc", b"\xfc", b"\xff\x00" * 5, b"\x01a"])
def test_broken_rows_are_an_error(driver: Driver, packet: bytes) -> None:
    converts = (parse_column(define("c", 253))[1],) * 2
    if packet[0] == 0xFF:  # an error of the server, which is not for this reader
        assert read(driver, [packet], converts) == []
        return
    with pytest.raises((ValueError, IndexError)):
        read(driver, [packet], converts)


@pytest.mark.parametrize(
    "last",
    [
        pytest.param(b"\xfe\x00\x00\x02\x00", id="the end"),
        pytest.param(b"\xff\x10\x04no", id="an error"),
        pytest.param(b"", id="empty"),
    ],
)
def test_reading_stops_before_what_is_no_row(driver: Driver, last: bytes) -> None:
    converts = (parse_column(define("c", 253))[1],)
    assert read(driver, [b"\x01a", b"\x01b", last, b"\x01c"], converts) == [("a",), ("b",)]


def test_bytes_that_are_no_text_are_told_apart(driver: Driver) -> None:
    converts = (parse_column(define("c", 253))[1],)
    with pytest.raises(UnicodeDecodeError):
        read(driver, [b"\x01a", b"\x02\xff\x00"], converts)
    assert read(driver, [b"\x01a", b"\x02\xff\x00"], careful(converts)) == [("a",), ({"base64": "/wA="},)]


def test_numbers_of_eight_bytes() -> None:
    assert length_encoded(b"\xfe" + (2**40).to_bytes(8, "little"), 0) == (2**40, 9)


def test_rows_by_name() -> None:
    rows = Rows([Column("CatalogName", "VARCHAR"), Column("Type", "VARCHAR")], [("a", "b")], False, None, 0.0)
    assert rows.dicts() == [{"catalogname": "a", "type": "b"}]
