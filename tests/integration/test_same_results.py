"""What is sent gives the rows, names and types of what the caller wrote: those of the corpora's queries that are SQL to
MariaDB as well."""

from collections.abc import AsyncIterator
from typing import Any, Final

import aiomysql
import pytest
import pytest_asyncio

from doris_mcp_server.doris import guard

from ..bench.databases import mariadb
from ..server.doris.fuzz import PATIENCE
from ..server.doris.same_results import Ask, compare, needed, queries

# A database for each type that the columns of its tables have, with the values of three rows.
TYPES: Final = {
    "ints": ("INT", "1", "2", "3"),
    "texts": ("VARCHAR(20)", "'2024-01-01'", "'2024-01-02'", "NULL"),
    "days": ("DATE", "'2024-01-01'", "'2024-01-02'", "NULL"),
}


def statements() -> list[str]:
    """What makes the databases."""
    made = []
    for database, (kind, *values) in TYPES.items():
        made.append(f"CREATE DATABASE {database}")
        for table, columns in needed(frozenset()):
            fields = ", ".join(f"`{column}` {kind}" for column in columns)
            rows = ", ".join(f"({', '.join([value] * len(columns))})" for value in values)
            made += [f"CREATE TABLE {database}.`{table}` ({fields})", f"INSERT INTO {database}.`{table}` VALUES {rows}"]
    return made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ask(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ask]:
    with pytest.MonkeyPatch.context() as patch, mariadb(tmp_path_factory.mktemp("same")) as where:
        patch.setattr(guard, "MAX_SECONDS", PATIENCE)
        port = int(where["DORIS_PORT"])
        connection = await aiomysql.connect(host="127.0.0.1", port=port, user=where["DORIS_USER"], autocommit=True)

        async def answer(database: str | None, sql: str) -> tuple[list[tuple[Any, ...]], list[Any]]:
            if database:
                await connection.select_db(database)
            async with connection.cursor() as cursor:
                await cursor.execute(sql)
                rows = list(await cursor.fetchall())
                return [tuple(column) for column in cursor.description or ()], rows

        for sql in statements():
            await answer(None, sql)
        yield answer
        await connection.ensure_closed()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.filterwarnings("ignore")  # the driver repeats the server's remarks about values as warnings
async def test_the_same_results_on_mariadb(ask: Ask) -> None:
    ran = await compare(ask, TYPES, queries())
    assert ran.wrong == []
    assert ran.queries >= 130
    assert ran.changed >= 130  # texts that are not sent as they were written
