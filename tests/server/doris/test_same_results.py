"""What is sent gives the rows, names and types of what the caller wrote: the corpora's queries on the demo engine.

`tests/integration/test_same_results.py` asks the same of MariaDB.
"""

from collections.abc import AsyncIterator
from typing import Any, Final

import aiomysql
import pytest
import pytest_asyncio

from doris_mcp_server import sandbox
from doris_mcp_server.doris import guard
from doris_mcp_server.sandbox import schema
from doris_mcp_server.sandbox.table import INTERNAL, Column, Table

from .fuzz import PATIENCE
from .same_results import Ask, compare, needed, queries

# A database for each type that the columns of its tables have; a query runs in the first that suits it.
TYPES: Final = {
    "ints": ("int", "", "i + 1"),
    "texts": ("varchar(20)", "", "'2024-01-0' || (i + 1)"),
    "days": ("date", "", "DATE '2024-01-01' + i::INT"),
    "lists": ("array<int>", "", "[i, 2]"),
}
RESERVED: Final = {"select", "from", "table", "where", "order", "group", "desc", "end", "all", "using", "case", "when"}


def tables() -> list[Table]:
    return [
        Table(INTERNAL, database, table, "", tuple(Column(name, *kind) for name in columns), "range(3) r(i)")
        for database, kind in TYPES.items()
        for table, columns in needed(RESERVED)
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ask() -> AsyncIterator[Ask]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "MAX_SECONDS", PATIENCE)
        patch.setattr(schema, "TABLES", (*schema.TABLES, *tables()))
        patch.setitem(schema.DATABASES, INTERNAL, (*schema.DATABASES[INTERNAL], *TYPES))
        engine = await sandbox.start("127.0.0.1", 0, "root", "", 200)
        connection = await aiomysql.connect(host="127.0.0.1", port=engine.port, user="root", password="")

        async def answer(database: str, sql: str) -> tuple[list[tuple[Any, ...]], list[Any]]:
            await connection.select_db(database)
            async with connection.cursor() as cursor:
                await cursor.execute(sql)
                rows = list(await cursor.fetchall())
                return [tuple(column) for column in cursor.description or ()], rows

        yield answer
        await connection.ensure_closed()
        await engine.close()


@pytest.mark.asyncio(loop_scope="module")
async def test_the_same_results_on_the_demo_engine(ask: Ask) -> None:
    ran = await compare(ask, [*TYPES, "ssb"], queries())
    assert ran.wrong == []
    assert ran.queries >= 180
    assert ran.changed >= 180  # texts that are not sent as they were written
