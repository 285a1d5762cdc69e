"""Every type on the wire: its number in the header, the digits it declares, and its text, byte by byte."""

from typing import Any

import pytest
from pymysql.constants import FIELD_TYPE

from .conftest import query

MAP = 400 & 0xFF
LARGE = 2**127
NINES = f"{'9' * 28}.{'9' * 10}"
# Column: type, digits after the point, then the text of rows 1 to 3; row 4 is NULL.
ALL_TYPES: dict[str, tuple[Any, ...]] = {
    "c_boolean": (FIELD_TYPE.TINY, 0, "1", "0", "1"),
    "c_tinyint": (FIELD_TYPE.TINY, 0, "7", "-128", "127"),
    "c_smallint": (FIELD_TYPE.SHORT, 0, "700", "-32768", "32767"),
    "c_int": (FIELD_TYPE.LONG, 0, "70000", "-2147483648", "2147483647"),
    "c_bigint": (FIELD_TYPE.LONGLONG, 0, "7000000000", str(-(2**63)), str(2**63 - 1)),
    "c_largeint": (FIELD_TYPE.STRING, 0, "170000000000000000000", str(-LARGE), str(LARGE - 1)),
    "c_float": (FIELD_TYPE.FLOAT, 0, "0.1", "-Infinity", "3.4028235e+38"),
    "c_double": (FIELD_TYPE.DOUBLE, 0, "0.1", "NaN", "Infinity"),
    "c_decimal": (FIELD_TYPE.NEWDECIMAL, 10, "1.5000000000", f"-{NINES}", NINES),
    "c_decimal_zero": (FIELD_TYPE.NEWDECIMAL, 10, "0.0000000001", "0.0000000000", "-0.0000000001"),
    "c_date": (FIELD_TYPE.DATE, 0, "2024-02-29", "0001-01-01", "9999-12-31"),
    "c_datetime": (FIELD_TYPE.DATETIME, 0, "2024-02-29 12:34:56", "0001-01-01 00:00:00", "9999-12-31 23:59:59"),
    "c_datetime3": (
        *(FIELD_TYPE.DATETIME, 3),
        *("2024-02-29 12:34:56.700", "0001-01-01 00:00:00.000", "9999-12-31 23:59:59.999"),
    ),
    "c_datetime6": (
        *(FIELD_TYPE.DATETIME, 6),
        *("2024-02-29 12:34:56.789000", "0001-01-01 00:00:00.000000", "9999-12-31 23:59:59.999999"),
    ),
    "c_char": (FIELD_TYPE.STRING, 0, "char", "", "zehn Zei\u00dfn"),
    "c_varchar": (FIELD_TYPE.VAR_STRING, 0, "varchar", "", "\u4e2d\u6587 \U0001f600 '\"\\"),
    "c_string": (FIELD_TYPE.BLOB, 0, "string", "", "x" * 70000),
    "c_array": (FIELD_TYPE.STRING, 0, "[1, 2]", "[]", "[null, -2147483648]"),
    "c_array_string": (FIELD_TYPE.STRING, 0, '["a", "b c"]', '[""]', '[null, "\u4e2d"]'),
    "c_map": (MAP, 0, '{"a":1, "b":2}', "{}", '{"":null}'),
    "c_struct": (
        *(FIELD_TYPE.STRING, 0),
        '{"f1":1, "f2":"x", "f3":"2024-02-29"}',
        '{"f1":null, "f2":null, "f3":null}',
        '{"f1":2147483647, "f2":"", "f3":"9999-12-31"}',
    ),
    "c_json": (FIELD_TYPE.JSON, 0, '{"a":1,"b":[true,null]}', "{}", "null"),
    "c_variant": (FIELD_TYPE.JSON, 0, '{"a":{"b":"c"}}', "1", "[]"),
    "c_bitmap": (FIELD_TYPE.STRING, 0, None, None, None),
    "c_hll": (FIELD_TYPE.STRING, 0, None, None, None),
}


async def raw(connection: Any, sql: str) -> tuple[list[tuple[str, int, int]], list[tuple[Any, ...]]]:
    """(name, type, digits) of the columns, and the rows as the bytes that came (None for NULL)."""
    await connection._execute_command(3, sql)
    fields, rows = [], []
    for _ in range((await connection._read_packet()).read_length_encoded_integer()):
        packet = await connection._read_packet()
        for _ in range(4):
            packet.read_length_coded_string()
        name = packet.read_length_coded_string().decode()
        packet.read_length_coded_string()
        packet.advance(1 + 2 + 4)
        kind = packet.read_uint8()
        packet.advance(2)
        fields.append((name, kind, packet.read_uint8()))
    assert (await connection._read_packet()).is_eof_packet()
    while not (packet := await connection._read_packet()).is_eof_packet():
        rows.append(tuple(packet.read_length_coded_string() for _ in fields))
    return fields, rows


async def test_every_type_comes_as_doris_sends_it(connect):
    async with connect() as connection:
        fields, rows = await raw(connection, "SELECT * FROM demo_types.all_types ORDER BY id")
    assert fields[1:] == [(name, *of[:2]) for name, of in ALL_TYPES.items()]
    wanted = [[None if text is None else text.encode() for text in of[2:]] + [None] for of in ALL_TYPES.values()]
    assert [list(column) for column in zip(*rows, strict=True)][1:] == wanted


async def test_every_type_is_declared_in_desc_and_information_schema(ask):
    described = [row[:2] for row in (await ask("DESC demo_types.all_types"))[1]]
    assert ("c_datetime6", "datetime(6)") in described and ("c_bitmap", "bitmap") in described
    sql = "SELECT COLUMN_NAME, COLUMN_TYPE FROM information_schema.columns WHERE TABLE_NAME = 'all_types'"
    assert (await ask(f"{sql} ORDER BY ORDINAL_POSITION"))[1] == described


@pytest.mark.parametrize(
    ("expression", "kind", "text"),
    [
        ("unhex('FF00FE')", FIELD_TYPE.VAR_STRING, b"\xff\x00\xfe"),
        ("1e0", FIELD_TYPE.DOUBLE, b"1"),
        ("-1e300", FIELD_TYPE.DOUBLE, b"-1e+300"),
        ("cast(16777216 as float)", FIELD_TYPE.FLOAT, b"16777216"),
        ("cast(0.3 as float)", FIELD_TYPE.FLOAT, b"0.3"),
        ("cast(-1 as largeint)", FIELD_TYPE.STRING, b"-1"),
        ("[1.50, null]", FIELD_TYPE.STRING, b"[1.50, null]"),
        ("bitmap_count(to_bitmap(3))", FIELD_TYPE.LONGLONG, b"1"),
        ("hll_cardinality(hll_hash('x'))", FIELD_TYPE.LONGLONG, b"1"),
    ],
)
async def test_an_expression_has_the_type_and_text_of_doris(connect, expression, kind, text):
    async with connect() as connection:
        fields, rows = await raw(connection, f"SELECT {expression} AS x")
    assert [field[:2] for field in fields] == [("x", kind)]
    assert rows == [(text,)]


async def test_a_renamed_column_keeps_its_type_and_a_function_of_it_does_not(connect):
    sql = "SELECT c_datetime6 AS t, length(c_string) AS c_string, bitmap_count(c_bitmap) AS n FROM demo_types.all_types"
    async with connect() as connection:
        fields, rows = await raw(connection, f"{sql} WHERE id = 2")
        assert (await query(connection, "SELECT count(c_bitmap) FROM demo_types.all_types"))[1] == [(3,)]
    assert fields == [
        ("t", FIELD_TYPE.DATETIME, 6),
        ("c_string", FIELD_TYPE.LONGLONG, 0),
        ("n", FIELD_TYPE.LONGLONG, 0),
    ]
    assert rows == [(b"0001-01-01 00:00:00.000000", b"0", b"0")]
