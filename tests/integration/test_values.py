"""Values as they are in the database, through the whole server: each comes out exactly, or as text that is exact."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from ..bench.databases import mariadb
from ..conftest import TOKEN, serving
from .asking import ask
from .house import DRIVERS, Server, look_into

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class Kind:
    """A column type, the literals put in, and what comes out; NULL and its null go with each."""

    name: str
    declared: str
    type: str
    values: dict[str, Any]


MARIADB: Final = [
    Kind(
        "decimal",
        "DECIMAL(38,10)",
        "DECIMAL",
        {
            "9999999999999999999999999999.9999999999": "9999999999999999999999999999.9999999999",
            "-9999999999999999999999999999.9999999999": "-9999999999999999999999999999.9999999999",
            "0.0000000001": "0.0000000001",
            "0": "0.0000000000",
        },
    ),
    Kind("tiny", "TINYINT", "TINYINT", {"-128": -128, "127": 127}),
    Kind("small", "SMALLINT", "SMALLINT", {"-32768": -32768, "32767": 32767}),
    Kind("whole", "INT", "INT", {"-2147483648": -(2**31), "2147483647": 2**31 - 1}),
    Kind(
        "big",
        "BIGINT",
        "BIGINT",
        {
            "9007199254740991": 2**53 - 1,
            "9007199254740992": "9007199254740992",
            "-9007199254740992": "-9007199254740992",
            "9223372036854775807": "9223372036854775807",
            "-9223372036854775808": "-9223372036854775808",
        },
    ),
    Kind("unsigned", "BIGINT UNSIGNED", "BIGINT", {"0": 0, "18446744073709551615": "18446744073709551615"}),
    Kind(
        "double_",
        "DOUBLE",
        "DOUBLE",
        {
            "1.7976931348623157e308": 1.7976931348623157e308,
            "-1.7976931348623157e308": -1.7976931348623157e308,
            "2.2250738585072014e-308": 2.2250738585072014e-308,
            "0.1": 0.1,
            "-0e0": 0.0,
        },
    ),
    Kind("float_", "FLOAT", "FLOAT", {"0.5": 0.5, "-1.5": -1.5}),
    Kind(
        "moment",
        "DATETIME(6)",
        "DATETIME",
        {
            "'2024-02-29 23:59:59.000001'": "2024-02-29T23:59:59.000001",
            "'2024-01-01 00:00:00'": "2024-01-01T00:00:00.000000",
            "'9999-12-31 23:59:59.999999'": "9999-12-31T23:59:59.999999",
        },
    ),
    Kind("second_", "DATETIME", "DATETIME", {"'2024-01-01 00:00:00'": "2024-01-01T00:00:00"}),
    Kind("day_", "DATE", "DATE", {"'0001-01-01'": "0001-01-01", "'9999-12-31'": "9999-12-31"}),
    Kind("time_", "TIME(6)", "TIME", {"'-838:59:59'": "-838:59:59.000000", "'00:00:00.5'": "00:00:00.500000"}),
    Kind(
        "word", "VARCHAR(100)", "VARCHAR", {"''": "", "'NULL'": "NULL", "'😀 中 é'": "😀 中 é", r"'a\\b\0c'": "a\\b\0c"}
    ),
    Kind("text_", "TEXT", "STRING", {"''": "", "'😀'": "😀", "'2024-01-01 00:00:00'": "2024-01-01 00:00:00"}),
    Kind("fixed", "CHAR(4)", "STRING", {"''": "", "'ab'": "ab"}),
    Kind("json_", "JSON", "STRING", {"""'{"a": [1, null]}'""": '{"a": [1, null]}', "'null'": "null"}),
    Kind("bytes_", "VARBINARY(8)", "VARCHAR", {"x'ff00fe'": {"base64": "/wD+"}, "x'41'": "A", "''": ""}),
    Kind("blob_", "BLOB", "BINARY", {"x'fffe'": {"base64": "//4="}, "x'41'": "A"}),
    Kind("bits", "BIT(64)", "BIT", {"b'1'": 1, "x'ffffffffffffffff'": "18446744073709551615"}),
]


DORIS: Final[dict[str, tuple[str, list[Any]]]] = {
    "c_boolean": ("TINYINT", [1, 0, 1]),
    "c_tinyint": ("TINYINT", [7, -128, 127]),
    "c_smallint": ("SMALLINT", [700, -32768, 32767]),
    "c_int": ("INT", [70000, -(2**31), 2**31 - 1]),
    "c_bigint": ("BIGINT", [7000000000, "-9223372036854775808", "9223372036854775807"]),
    "c_largeint": (
        "STRING",
        [
            "170000000000000000000",
            "-170141183460469231731687303715884105728",
            "170141183460469231731687303715884105727",
        ],
    ),
    "c_float": ("FLOAT", [0.1, "-Infinity", 3.4028235e38]),
    "c_double": ("DOUBLE", [0.1, "NaN", "Infinity"]),
    "c_decimal": ("DECIMAL", ["1.5000000000", f"-{'9' * 28}.{'9' * 10}", f"{'9' * 28}.{'9' * 10}"]),
    "c_decimal_zero": ("DECIMAL", ["0.0000000001", "0.0000000000", "-0.0000000001"]),
    "c_date": ("DATE", ["2024-02-29", "0001-01-01", "9999-12-31"]),
    "c_datetime": ("DATETIME", ["2024-02-29T12:34:56", "0001-01-01T00:00:00", "9999-12-31T23:59:59"]),
    "c_datetime3": ("DATETIME", ["2024-02-29T12:34:56.700", "0001-01-01T00:00:00.000", "9999-12-31T23:59:59.999"]),
    "c_datetime6": (
        "DATETIME",
        ["2024-02-29T12:34:56.789000", "0001-01-01T00:00:00.000000", "9999-12-31T23:59:59.999999"],
    ),
    "c_char": ("STRING", ["char", "", "zehn Zeißn"]),
    "c_varchar": ("VARCHAR", ["varchar", "", "中文 😀 '\"\\"]),
    "c_string": ("STRING", ["string", "", "x" * 70_000]),
    "c_array": ("STRING", ["[1, 2]", "[]", "[null, -2147483648]"]),
    "c_array_string": ("STRING", ['["a", "b c"]', '[""]', '[null, "中"]']),
    "c_map": ("STRING", ['{"a":1, "b":2}', "{}", '{"":null}']),
    "c_struct": (
        "STRING",
        [
            '{"f1":1, "f2":"x", "f3":"2024-02-29"}',
            '{"f1":null, "f2":null, "f3":null}',
            '{"f1":2147483647, "f2":"", "f3":"9999-12-31"}',
        ],
    ),
    "c_json": ("JSON", ['{"a":1,"b":[true,null]}', "{}", "null"]),
    "c_variant": ("JSON", ['{"a":{"b":"c"}}', "1", "[]"]),
    "c_bitmap": ("STRING", [None, None, None]),
    "c_hll": ("STRING", [None, None, None]),
}
"""Doris' types, as the demo engine's table of all types has them: type and values; the fourth row is NULL."""


async def fill(port: int, kinds: list[Kind]) -> None:
    """Make the table `fidelity.<kind>` of every kind."""
    wire = await look_into(port)
    await wire.command("CREATE DATABASE fidelity CHARACTER SET utf8mb4")
    for kind in kinds:
        await wire.command(f"CREATE TABLE fidelity.`{kind.name}` (place INT, v {kind.declared})")
        values = ", ".join(f"({place}, {literal})" for place, literal in enumerate([*kind.values, "NULL"]))
        await wire.command(f"INSERT INTO fidelity.`{kind.name}` VALUES {values}")
    wire.abort()


@dataclass(frozen=True)
class Filled(Server):
    """A server on a database with the table of every one of these kinds."""

    kinds: list[Kind]

    async def ask(self, sql: str) -> tuple[list[str], list[list[Any]]]:
        """The types of the columns, and the rows."""
        told = await ask(self.port, sql)
        assert told.result is not None, told
        return [column["type"] for column in told.result["columns"]], told.result["rows"]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=DRIVERS)
async def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Filled]:
    folder = tmp_path_factory.mktemp("values")
    with mariadb(folder) as where:
        await fill(int(where["DORIS_PORT"]), MARIADB)
        async with serving(folder, DORIS_MCP_TOKEN=TOKEN, DORIS_MCP_DRIVER=request.param, **where) as running:
            await running.said("doris answers")
            yield Filled(running, MARIADB)


async def test_values_come_out_as_they_went_in(filled: Filled) -> None:
    seen = {
        kind.declared: await filled.ask(f"SELECT v FROM fidelity.`{kind.name}` ORDER BY place") for kind in filled.kinds
    }
    wanted = {k.declared: ([k.type], [[value] for value in [*k.values.values(), None]]) for k in filled.kinds}
    assert seen == wanted
    assert repr(seen) == repr(wanted)  # 1 is equal to 1.0 and to true


async def test_a_row_of_every_kind_at_once(filled: Filled) -> None:
    names = ", ".join(f"fidelity.`{kind.name}`.v" for kind in filled.kinds)
    tables = " JOIN ".join(f"fidelity.`{kind.name}` USING (place)" for kind in filled.kinds)
    types, rows = await filled.ask(f"SELECT {names} FROM {tables.replace(' USING (place)', '', 1)} WHERE place = 0")
    assert types == [kind.type for kind in filled.kinds]
    assert rows == [[next(iter(kind.values.values())) for kind in filled.kinds]]


@pytest.mark.parametrize("driver", DRIVERS)
async def test_every_type_of_doris(driver: str, tmp_path: Path) -> None:
    variables = {"DORIS_MCP_TOKEN": TOKEN, "DORIS_MCP_DRIVER": driver}
    async with serving(tmp_path, "--sandbox", **variables) as running:
        await running.said("doris answers")
        server = Filled(running, [])
        seen = {name: await server.ask(f"SELECT {name} FROM demo_types.all_types ORDER BY id") for name in DORIS}
    wanted = {name: ([kind], [[value] for value in [*values, None]]) for name, (kind, values) in DORIS.items()}
    assert seen == wanted
    assert repr(seen) == repr(wanted)
