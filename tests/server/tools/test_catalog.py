"""The catalog tools: on the demo engine, and on answers as the versions of Doris give them."""

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from doris_mcp_server.clusters import Account, Caller, Cluster
from doris_mcp_server.doris.ddl import mask_secrets
from doris_mcp_server.doris.pool import Column, Limits, Rows
from doris_mcp_server.errors import DorisUnavailable, InvalidArgument, QueryFailed
from doris_mcp_server.tools import Context, by_name

from .conftest import LIMIT, call, routes_to

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMITS = Limits(LIMIT, 1000, 1 << 20)


class Scripted:
    """A way to a pool that knows the answers: a prefix of the statement to columns and rows, or to an error."""

    def __init__(self, database: str | None = None, **answers: Any) -> None:
        self.route = SimpleNamespace(database=database)
        self.sent: list[str] = []
        self._answers = {key.replace("_", " "): value for key, value in answers.items()}

    def way(self, cluster: str | None, principal: str) -> Any:
        return SimpleNamespace(pool=self)

    async def query(self, sql: str, **rest: Any) -> Rows:
        self.sent.append(sql)
        answer = next((value for key, value in self._answers.items() if sql.startswith(key)), None)
        if isinstance(answer, Exception):
            raise answer
        names, rows = answer or (["x"], [])
        limit = rest["limits"].max_rows
        cut = len(rows) > limit
        columns = [Column(name, "VARCHAR") for name in names]
        return Rows(columns, [tuple(row) for row in rows[:limit]], cut, "rows" if cut else None, 1.0)


def scripted(database: str | None = None, **answers: Any) -> Any:
    return Context(Scripted(database, **answers), LIMITS, Caller("tester"))  # type: ignore[arg-type]


async def test_catalogs(context: Context) -> None:
    answer = await call(context, "list_catalogs")
    assert {"internal", "lake"} <= {entry["name"] for entry in answer["catalogs"]}
    assert answer["truncated"] is False


async def test_databases(context: Context) -> None:
    assert "ssb" in (await call(context, "list_databases"))["databases"]
    assert "raw" in (await call(context, "list_databases", catalog="lake"))["databases"]


async def test_tables(context: Context) -> None:
    answer = await call(context, "list_tables", database="ssb")
    assert {"lineorder", "customer"} <= {entry["name"] for entry in answer["tables"]}
    assert {entry["type"] for entry in answer["tables"]} == {"BASE TABLE", "VIEW"}
    with pytest.raises(QueryFailed, match="nope"):
        await call(context, "list_tables", database="nope")


async def test_table_context(context: Context) -> None:
    answer = await call(context, "get_table_context", database="ssb", table="lineorder")
    first = answer["columns"][0]
    assert (first["name"], first["type"], first["nullable"], first["key"]) == ("lo_orderkey", "bigint", False, True)
    assert first["comment"]
    assert answer["columns"][-1]["key"] is False
    assert answer["row_count"] == 200
    assert answer["comment"]
    assert answer["ddl"].startswith("CREATE TABLE")
    assert answer["missing"] == []


async def test_external_table_and_view(context: Context) -> None:
    assert (await call(context, "get_table_context", catalog="lake", database="raw", table="clicks"))["columns"]
    assert (await call(context, "get_table_context", database="ssb", table="revenue_by_year"))["columns"]


async def test_unknown_table(context: Context) -> None:
    with pytest.raises(QueryFailed, match="nope") as failed:
        await call(context, "get_table_context", database="ssb", table="nope")
    assert "list_tables" in str(failed.value.hint)


# Result columns by version: ShowCatalogStmt 2.1/3.0, ShowCatalogCommand 4.0.
@pytest.mark.parametrize(
    "names",
    [
        ["CatalogId", "CatalogName", "Type", "IsCurrent", "CreateTime", "LastUpdateTime", "Comment"],
        ["CatalogId", "CatalogName", "Type", "IsCurrent", "CreateTime", "LastUpdateTime", "Comment", "ErrorMsg"],
        ["CatalogName", "CatalogId", "Type"],
    ],
)
async def test_catalogs_of_all_versions(names: list[str]) -> None:
    row = [{"CatalogName": "hive", "Type": "hms", "Comment": "c"}.get(name, "0") for name in names]
    answer = await call(scripted(SHOW_CATALOGS=(names, [row])), "list_catalogs")
    comment = "c" if "Comment" in names else None
    assert answer["catalogs"] == [{"name": "hive", "type": "hms", "comment": comment}]


@pytest.mark.parametrize(
    "names", [["Tables_in_d", "Table_type"], ["Tables_in_d", "Table_type", "Storage_format", "Inverted_index_format"]]
)
async def test_tables_of_all_versions(names: list[str]) -> None:
    context = scripted(SHOW_FULL_TABLES=(names, [["t", "BASE TABLE", "V2", "V3"][: len(names)]]))
    answer = await call(context, "list_tables", database="d")
    assert answer["tables"] == [{"name": "t", "type": "BASE TABLE"}]


async def test_lists_are_bounded() -> None:
    many = (["Database"], [[f"d{number}"] for number in range(2001)])
    answer = await call(scripted(SHOW_DATABASES=many), "list_databases")
    assert (len(answer["databases"]), answer["truncated"]) == (2000, True)


FULL = (
    ["Field", "Type", "Collation", "Null", "Key", "Default", "Extra", "Privileges", "Comment"],
    [["a", "int", "", "NO", "YES", None, "", "", ""], ["b", "text", "", "YES", "NO", "x", "", "", "words"]],
)


async def test_what_doris_does_not_give_is_missing_not_fatal() -> None:
    refused = QueryFailed("Doris error 1105: not supported")
    context = scripted(SHOW_FULL_COLUMNS=FULL, SHOW_PARTITIONS=refused, SHOW_TABLE_STATUS=refused, SHOW_CREATE=refused)
    answer = await call(context, "get_table_context", database="d", table="t")
    assert [column["name"] for column in answer["columns"]] == ["a", "b"]
    assert (answer["row_count"], answer["ddl"], answer["partitions"]) == (None, None, [])
    assert [part.split(":")[0] for part in answer["missing"]] == ["engine, comment, row_count", "ddl"]


async def test_a_dead_doris_is_not_a_missing_part() -> None:
    context = scripted(SHOW_FULL_COLUMNS=FULL, SHOW_CREATE=DorisUnavailable("gone"))
    with pytest.raises(DorisUnavailable):
        await call(context, "get_table_context", database="d", table="t")


async def test_columns_keys_and_partitions() -> None:
    partitions = (
        ["PartitionId", "PartitionName", "Range", "DataSize", "RowCount"],
        [[str(n), f"p{n}", "[1; 2)", "1 KB", "7"] for n in range(11)],
    )
    status = (["Name", "Engine", "Rows", "Comment"], [["tXt", "MySQL", "1", "no"], ["t_t", "Doris", "-1", "yes"]])
    context = scripted(SHOW_FULL_COLUMNS=FULL, SHOW_PARTITIONS=partitions, SHOW_TABLE_STATUS=status)
    answer = await call(context, "get_table_context", database="d", table="t_t")
    assert answer["columns"][0] == {
        "name": "a",
        "type": "int",
        "nullable": False,
        "key": True,
        "default": None,
        "comment": None,
    }
    assert answer["columns"][1] == {
        "name": "b",
        "type": "text",
        "nullable": True,
        "key": False,
        "default": "x",
        "comment": "words",
    }
    assert (answer["engine"], answer["comment"], answer["row_count"]) == ("Doris", "yes", None)
    assert (len(answer["partitions"]), answer["more_partitions"]) == (10, True)
    assert answer["partitions"][0] == {"name": "p0", "range": "[1; 2)", "rows": "7", "size": "1 KB"}


async def test_names_are_quoted() -> None:
    context = scripted(SHOW_FULL_COLUMNS=FULL)
    table, database, catalog = "it's -- 表; DROP", 'a "b"', "x-y z"
    await call(context, "get_table_context", table=table, database=database, catalog=catalog)
    path = '`x-y z`.`a "b"`'
    assert context.doris.sent == [
        f"SHOW FULL COLUMNS FROM {path}.`{table}`",
        f"SHOW TABLE STATUS FROM {path} LIKE 'it''s -- 表; DROP'",
        f"SHOW PARTITIONS FROM {path}.`{table}` LIMIT 11",
        f"SHOW CREATE TABLE {path}.`{table}`",
    ]


async def test_default_database() -> None:
    context = scripted("home", SHOW_FULL_COLUMNS=FULL)
    assert (await call(context, "get_table_context", table="t"))["database"] == "home"
    assert context.doris.sent[0] == "SHOW FULL COLUMNS FROM `home`.`t`"
    with pytest.raises(InvalidArgument, match="database is needed"):
        await call(scripted(), "get_table_context", table="t")


@pytest.mark.parametrize(
    "name", ["", "a` UNION SELECT", "../../etc/passwd", "a\\b", "a" * 257, "a\nb", "a\0", " a", "\ud800", 7, ["a"]]
)
@pytest.mark.parametrize("argument", ["table", "database", "catalog"])
async def test_names_that_are_none(argument: str, name: object) -> None:
    arguments = {"table": "t", "database": "d"} | {argument: name}
    with pytest.raises(ValidationError):
        by_name["get_table_context"].input.model_validate(arguments)


async def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(ValidationError):
        by_name["list_catalogs"].input.model_validate({"catalog": "a"})


@pytest.mark.parametrize(
    ("ddl", "shown"),
    [
        ('"s3.secret_key" = "abc"', '"s3.secret_key" = "***"'),
        ('"password"="a\\"b"', '"password"="***"'),
        ("'AWS_ACCESS_KEY' = 'x', 'k' = 'v'", "'AWS_ACCESS_KEY' = '***', 'k' = 'v'"),
        ('"oss.session_token" = "t"', '"oss.session_token" = "***"'),
        ('"replication_num" = "1"', '"replication_num" = "1"'),
        ("`password` varchar(10) COMMENT 'the password'", "`password` varchar(10) COMMENT 'the password'"),
    ],
)
async def test_secrets_are_masked(ddl: str, shown: str) -> None:
    assert mask_secrets(f"CREATE TABLE t (a int) PROPERTIES ({ddl})") == f"CREATE TABLE t (a int) PROPERTIES ({shown})"


async def test_clusters_are_those_the_caller_may_ask(context: Context) -> None:
    assert (await call(context, "list_clusters"))["clusters"] == [
        {"name": "default", "default": True, "available": True, "version": None}
    ]
    closed = Cluster(name="b", frontends=("fe",), accounts={"x": Account(user="u")}, principals={"ann": "x"})
    routes = routes_to(context.routes.cluster(None).config, closed)
    for principal, names in (("tester", ["default"]), ("ann", ["default", "b"])):
        answer = await call(Context(routes, LIMITS, Caller(principal)), "list_clusters")
        assert [cluster["name"] for cluster in answer["clusters"]] == names
    await routes.close(LIMIT)
