"""What SHOW GRANTS says in each line of Doris, and what a server that only reads has no use for."""

from typing import Any

import pytest

from doris_mcp_server import sandbox
from doris_mcp_server.doris import grants
from doris_mcp_server.doris.grants import OWN_ACCOUNT, SHOWN, Excess, Grants, read
from doris_mcp_server.doris.pool import Limits, Pool
from doris_mcp_server.doris.rows import Column, Rows
from doris_mcp_server.errors import DorisUnavailable, QueryFailed
from doris_mcp_server.sandbox.options import Options

LIMIT = 20.0
V21 = "UserIdentity Comment Password Roles GlobalPrivs CatalogPrivs DatabasePrivs TablePrivs ColPrivs ResourcePrivs"
V30 = f"{V21} CloudClusterPrivs CloudStagePrivs StorageVaultPrivs WorkloadGroupPrivs ComputeGroupPrivs"
OPEN = "internal.information_schema: Select_priv; internal.mysql: Select_priv"
NEW = {"UserIdentity": "'mcp'@'%'", "Comment": "", "Password": "Yes", "Roles": "", "DatabasePrivs": OPEN}
LINES = pytest.mark.parametrize("line", [f"{V21} WorkloadGroupPrivs", V30], ids=["2.1", "3.0"])


def row(line: str = V30, **told: str | None) -> list[dict[str, Any]]:
    """A new account's row, but for what is `told`, in the columns of that line."""
    return [{name: (NEW | told).get(name) for name in line.split()}]


def also(database: str) -> str:
    return f"{database}; {OPEN}"


@LINES
def test_a_new_account_only_reads(line: str) -> None:
    seen = read(row(line, WorkloadGroupPrivs="normal: Usage_priv"))
    assert (seen.only_reads, seen.problem, seen.fixes) == (True, None, [])
    assert seen.account == "'mcp'@'%'"


@LINES
def test_all_that_reading_may_need_is_harmless(line: str) -> None:
    seen = read(
        row(
            line,
            GlobalPrivs="Select_priv,Show_view_priv",
            CatalogPrivs="lake: Select_priv; hive: Select_priv,Show_view_priv",
            DatabasePrivs=also("internal.crm: Select_priv,Show_view_priv"),
            TablePrivs="internal.hr.people: Select_priv",
            ColPrivs="internal.hr.pay: Select_priv[year, month]",
            ResourcePrivs="s3: Usage_priv",
            CloudClusterPrivs="etl: Cluster_usage_priv",
            StorageVaultPrivs="cold: Usage_priv",
            WorkloadGroupPrivs="normal: Usage_priv; reports: Usage_priv",
            ComputeGroupPrivs="etl: Cluster_usage_priv",
        )
    )
    assert seen.only_reads is True


@pytest.mark.parametrize(
    ("column", "text", "too_much", "statement"),
    [
        ("GlobalPrivs", "Load_priv", [("Load_priv", "*.*.*")], "REVOKE Load_priv ON *.*.* FROM"),
        (
            "GlobalPrivs",
            "Node_priv,Admin_priv",
            [("Node_priv", "*.*.*"), ("Admin_priv", "*.*.*")],
            "REVOKE Node_priv, Admin_priv ON *.*.* FROM",
        ),
        # 2.0 and before put spaces where later lines put commas.
        ("GlobalPrivs", "Select_priv Load_priv ", [("Load_priv", "*.*.*")], "REVOKE Load_priv ON *.*.* FROM"),
        (
            "CatalogPrivs",
            "lake: Select_priv,Create_priv",
            [("Create_priv", "lake.*.*")],
            "REVOKE Create_priv ON lake.*.* FROM",
        ),
        (
            "DatabasePrivs",
            also("internal.crm: Select_priv,Load_priv,Alter_priv,Drop_priv"),
            [("Load_priv", "internal.crm.*"), ("Alter_priv", "internal.crm.*"), ("Drop_priv", "internal.crm.*")],
            "REVOKE Load_priv, Alter_priv, Drop_priv ON internal.crm.* FROM",
        ),
        (
            "TablePrivs",
            "internal.hr.people: Select_priv; internal.hr.pay: Grant_priv,Select_priv",
            [("Grant_priv", "internal.hr.pay")],
            "REVOKE Grant_priv ON internal.hr.pay FROM",
        ),
        (
            "TablePrivs",
            "hive.sales-eu.a.b: c: Load_priv",
            [("Load_priv", "hive.`sales-eu`.`a.b: c`")],
            "REVOKE Load_priv ON hive.`sales-eu`.`a.b: c` FROM",
        ),
        (
            "ColPrivs",
            "internal.hr.pay: Load_priv[year, month]",
            [("Load_priv(year, month)", "internal.hr.pay")],
            "REVOKE Load_priv(year, month) ON internal.hr.pay FROM",
        ),
        (
            "ResourcePrivs",
            "s'3: Usage_priv,Grant_priv",
            [("Grant_priv", "RESOURCE 's''3'")],
            "REVOKE Grant_priv ON RESOURCE 's''3' FROM",
        ),
        (
            "WorkloadGroupPrivs",
            "normal: Usage_priv,Grant_priv",
            [("Grant_priv", "WORKLOAD GROUP 'normal'")],
            "REVOKE Grant_priv ON WORKLOAD GROUP 'normal' FROM",
        ),
        (
            "CloudStagePrivs",
            "inbox: Stage_usage_priv",
            [("Stage_usage_priv", "STAGE 'inbox'")],
            "REVOKE Stage_usage_priv ON STAGE 'inbox' FROM",
        ),
        (
            "ComputeGroupPrivs",
            "etl: Cluster_usage_priv,Grant_priv",
            [("Grant_priv", "COMPUTE GROUP 'etl'")],
            "REVOKE Grant_priv ON COMPUTE GROUP 'etl' FROM",
        ),
        # What a later Doris may bring: a privilege, and a thing to have it on.
        ("GlobalPrivs", "Replay_priv", [("Replay_priv", "*.*.*")], "REVOKE Replay_priv ON *.*.* FROM"),
        ("DatabasePrivs", f"{OPEN},Select", [("Select", "internal.mysql.*")], "REVOKE Select ON internal.mysql.* FROM"),
        ("ModelPrivs", "gpt: Call_priv", [("Call_priv", "MODEL 'gpt'")], "REVOKE Call_priv ON MODEL 'gpt' FROM"),
    ],
)
def test_what_is_too_much_is_named_with_the_statement_that_takes_it_away(
    column: str, text: str, too_much: list[tuple[str, str]], statement: str
) -> None:
    seen = read(row(f"{V30} ModelPrivs", **{column: text}))
    assert seen.only_reads is False
    assert seen.too_much == tuple(Excess(*each) for each in too_much)
    assert seen.fixes == [f"{statement} 'mcp'@'%';"]
    assert seen.problem == "the Doris account 'mcp'@'%' may do more than read: " + ", ".join(
        f"{privilege} on {where}" for privilege, where in too_much
    )


def test_one_statement_for_each_place_and_nothing_told_twice() -> None:
    seen = read(
        row(
            DatabasePrivs=also("internal.crm: Load_priv; internal.hr: Load_priv"),
            CloudClusterPrivs="etl: Grant_priv",
            ComputeGroupPrivs="etl: Grant_priv",
        )
    )
    assert seen.fixes == [
        "REVOKE Load_priv ON internal.crm.* FROM 'mcp'@'%';",
        "REVOKE Load_priv ON internal.hr.* FROM 'mcp'@'%';",
        "REVOKE Grant_priv ON COMPUTE GROUP 'etl' FROM 'mcp'@'%';",
    ]


def test_what_may_come_with_a_role_is_taken_away_with_the_role() -> None:
    seen = read(row(Roles="loader,night", GlobalPrivs="Load_priv", UserIdentity="'mcp'@['app.example.com']"))
    assert seen.fixes == [
        "REVOKE Load_priv ON *.*.* FROM 'mcp'@('app.example.com');",
        "REVOKE 'loader' FROM 'mcp'@('app.example.com'); -- where it comes with that role",
        "REVOKE 'night' FROM 'mcp'@('app.example.com'); -- where it comes with that role",
    ]
    assert read(row(Roles="loader", GlobalPrivs="Select_priv")).fixes == []


@pytest.mark.parametrize("user", ["root", "admin"])
def test_from_an_account_of_doris_itself_nothing_can_be_taken(user: str) -> None:
    seen = read(row(UserIdentity=f"'{user}'@'%'", Roles="operator", GlobalPrivs="Node_priv,Admin_priv"))
    assert (seen.only_reads, seen.fixes) == (False, [OWN_ACCOUNT])
    assert read(row(UserIdentity="'roots'@'%'", GlobalPrivs="Load_priv")).fixes != [OWN_ACCOUNT]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "0 rows"),
        (row() + row(), "2 rows"),
        ([{"Grants for mcp@%": "GRANT ALL PRIVILEGES ON *.* TO `mcp`@`%`"}], "no column useridentity"),
        (row("UserIdentity Roles GlobalPrivs CatalogPrivs DatabasePrivs"), "no column tableprivs"),
        (row(DatabasePrivs=None), "no privilege at all"),
        (row(DatabasePrivs=r"\N"), "no privilege at all"),
        (row(UserIdentity=None), "names no account"),
        (row(DatabasePrivs="internal.crm"), "something in databaseprivs that is no privilege: 'internal.crm'"),
        (row(DatabasePrivs="internal.crm: Select_priv; Load_priv"), "something in databaseprivs"),
        (row(TablePrivs=": Select_priv"), "something in tableprivs"),
    ],
)
def test_what_cannot_be_read_is_unknown_and_never_fine(rows: list[dict[str, Any]], words: str) -> None:
    seen = read(rows)
    assert seen.only_reads is None
    assert seen.unknown is not None and words in seen.unknown
    assert seen.problem == f"what its Doris account may do is not known: {seen.unknown}"
    assert (seen.too_much, seen.fixes) == ((), [])


def test_a_column_that_says_nothing_says_nothing() -> None:
    """An older frontend sends its sign for NULL as it is."""
    assert read(row(GlobalPrivs=r"\N", TablePrivs="NULL", ColPrivs="")).only_reads is True


def test_however_much_there_is_little_is_told() -> None:
    seen = read(row(TablePrivs="; ".join(f"internal.d.t{number}: Load_priv" for number in range(5000))))
    assert len(seen.too_much) == 5000
    assert len(str(seen.report())) < 5000
    assert seen.problem is not None and seen.problem.endswith(f"internal.d.t{SHOWN - 1} and {5000 - SHOWN} more")


async def test_who_does_not_answer_is_unknown() -> None:
    async def answers(what: Any) -> Grants:
        async def query(sql: str) -> Rows:
            assert sql == "SHOW GRANTS"
            if isinstance(what, Exception):
                raise what
            names = list(what[0])
            columns = [Column(name, "VARCHAR") for name in names]
            return Rows(columns, [tuple(each.values()) for each in what], len(names) < 5, None, 1.0)

        return await grants.ask(query)

    assert (await answers(row())).only_reads is True
    assert (await answers(QueryFailed("Doris error 1227: Access denied"))).unknown == "Doris error 1227: Access denied"
    assert "more than this server takes in" in str((await answers(row("UserIdentity"))).unknown)
    with pytest.raises(DorisUnavailable):
        await answers(DorisUnavailable("gone"))


@pytest.mark.parametrize("version", ["2.1", "3.0", "4.0"])
async def test_the_accounts_of_the_demo_engine(version: str, route: Any, tmp_path: Any) -> None:
    file = tmp_path / "accounts.json"
    file.write_text('[{"user": "weak", "password": "", "grants": ["internal.ssb.*", "lake.raw.clicks"]}]')
    engine = await sandbox.start("127.0.0.1", 0, "root", "", 10, options=Options(version, file))
    try:
        seen = {}
        for user in ("weak", "root"):
            pool = Pool(route(engine.port, user=user, password=""), size=1, connect_timeout=LIMIT)
            seen[user] = await grants.ask(
                lambda sql, pool=pool: pool.query(sql, catalog=None, database=None, limits=Limits(LIMIT, 1000, 1 << 20))
            )
            await pool.close(LIMIT)
    finally:
        await engine.close()
    assert seen["weak"] == Grants("'weak'@'%'")
    assert seen["root"] == Grants("'root'@'%'", too_much=(Excess("Admin_priv", "*.*.*"),))
