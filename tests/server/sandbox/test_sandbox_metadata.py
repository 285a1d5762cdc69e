"""SHOW, DESC, information_schema: the column names and orders of Doris 4.0."""

import pymysql
import pytest

from doris_mcp_server.sandbox.versions import DEMO


@pytest.mark.parametrize(
    ("statement", "columns"),
    [
        ("SHOW CATALOGS", "CatalogId CatalogName Type IsCurrent CreateTime LastUpdateTime Comment ErrorMsg"),
        ("SHOW DATABASES", "Database"),
        ("SHOW TABLES", "Tables_in_ssb"),
        ("SHOW FULL TABLES FROM ops", "Tables_in_ops Table_type Storage_format Inverted_index_storage_format"),
        ("DESC lineorder", "Field Type Null Key Default Extra"),
        ("SHOW COLUMNS FROM lineorder", "Field Type Null Key Default Extra"),
        (
            "SHOW FULL COLUMNS FROM lineorder",
            "Field Type Collation Null Key Default Extra Privileges Comment",
        ),
        (
            "SHOW TABLE STATUS",
            "Name Engine Version Row_format Rows Avg_row_length Data_length Max_data_length Index_length Data_free "
            "Auto_increment Create_time Update_time Check_time Collation Checksum Create_options Comment",
        ),
        (
            "SHOW INDEX FROM ops.events",
            "Table Non_unique Key_name Seq_in_index Column_name Collation Cardinality Sub_part Packed Null "
            "Index_type Comment Properties",
        ),
        (
            "SHOW PARTITIONS FROM lineorder",
            "PartitionId PartitionName VisibleVersion VisibleVersionTime State PartitionKey Range DistributionKey "
            "Buckets ReplicationNum StorageMedium CooldownTime RemoteStoragePolicy LastConsistencyCheckTime DataSize "
            "IsInMemory ReplicaAllocation IsMutable SyncWithBaseTables UnsyncTables CommittedVersion RowCount",
        ),
        ("SHOW VARIABLES", "Variable_name Value Default_Value Changed"),
        (
            "SHOW FRONTENDS",
            "Name Host EditLogPort HttpPort QueryPort RpcPort ArrowFlightSqlPort Role IsMaster ClusterId Join Alive "
            "ReplayedJournalId LastStartTime LastHeartbeat IsHelper ErrMsg Version CurrentConnected LiveSince",
        ),
        (
            "SHOW BACKENDS",
            "BackendId Host HeartbeatPort BePort HttpPort BrpcPort ArrowFlightSqlPort LastStartTime LastHeartbeat "
            "Alive SystemDecommissioned TabletNum DataUsedCapacity TrashUsedCapacity AvailCapacity TotalCapacity "
            "UsedPct MaxDiskUsedPct RemoteUsedCapacity Tag ErrMsg Version Status HeartbeatFailureCounter NodeRole "
            "CpuCores Memory LiveSince",
        ),
        (
            "SHOW PROCESSLIST",
            "CurrentConnected Id User Host LoginTime Catalog Db Command Time State QueryId TraceId Info FE "
            "CloudCluster",
        ),
        (
            "SELECT * FROM information_schema.schemata LIMIT 1",
            "CATALOG_NAME SCHEMA_NAME DEFAULT_CHARACTER_SET_NAME DEFAULT_COLLATION_NAME SQL_PATH DEFAULT_ENCRYPTION",
        ),
    ],
)
async def test_column_names_are_those_of_doris(ask, statement, columns):
    names, rows = await ask(statement)
    assert names == columns.split()
    assert rows


async def test_catalogs_databases_and_tables(ask):
    assert [row[1] for row in (await ask("SHOW CATALOGS"))[1]] == ["internal", "lake"]
    assert ("ssb",) in (await ask("SHOW DATABASES"))[1]
    assert (await ask("SHOW DATABASES FROM lake"))[1] == [("information_schema",), ("mysql",), ("raw",)]
    assert (await ask("SHOW DATABASES LIKE 's%'"))[1] == [("ssb",)]
    assert (await ask("show tables from `internal`.`ssb` like '%er'"))[1] == [
        ("customer",),
        ("lineorder",),
        ("supplier",),
    ]
    kinds = dict(row[:2] for row in (await ask("SHOW FULL TABLES"))[1])
    assert kinds["revenue_by_year"] == "VIEW" and kinds["lineorder"] == "BASE TABLE"


async def test_switch_and_use_change_where_names_lead(ask):
    await ask("SWITCH lake")
    assert (await ask("SELECT DATABASE()"))[1] == [(None,)]
    await ask("USE raw")
    assert (await ask("SELECT count(*) FROM clicks"))[1] == [(5000,)]
    assert (await ask("SHOW TABLES"))[1] == [("clicks",)]
    assert (await ask("SELECT TABLE_NAME FROM information_schema.tables WHERE TABLE_SCHEMA = 'raw'"))[1] == [
        ("clicks",)
    ]
    await ask("USE internal.ops")
    assert (await ask("SELECT current_catalog(), database()"))[1] == [("internal", "ops")]


@pytest.mark.parametrize(
    "name", ["lineorder", "ssb.lineorder", "internal.ssb.lineorder", "`internal`.`ssb`.`lineorder`"]
)
async def test_a_table_is_described_under_each_of_its_names(ask, name):
    rows = (await ask(f"DESC {name}"))[1]
    assert rows[0] == ("lo_orderkey", "bigint", "No", "true", None, "")
    assert rows[-1] == ("lo_shipmode", "varchar(10)", "Yes", "false", None, "NONE")
    full = (await ask(f"SHOW FULL COLUMNS FROM {name} LIKE 'lo_custkey'"))[1]
    assert [row[0] for row in full] == ["lo_custkey"] and "joins customer" in full[0][-1]
    ((shown, ddl),) = (await ask(f"SHOW CREATE TABLE {name}"))[1]
    assert shown == "lineorder"
    assert "DUPLICATE KEY(`lo_orderkey`, `lo_linenumber`)" in ddl
    assert "PARTITION BY RANGE(`lo_orderdate`)" in ddl


async def test_view_and_external_table_have_their_own_ddl(ask):
    names, rows = await ask("SHOW CREATE TABLE revenue_by_year")
    assert names == ["View", "Create View", "character_set_client", "collation_connection"]
    assert rows[0][1].startswith("CREATE VIEW `revenue_by_year`")
    assert "ENGINE=HMS_EXTERNAL_TABLE" in (await ask("SHOW CREATE TABLE lake.raw.clicks"))[1][0][1]


async def test_information_schema_agrees_with_the_data(ask):
    sql = "SELECT TABLE_ROWS, TABLE_COMMENT FROM information_schema.tables WHERE TABLE_SCHEMA='ssb' AND TABLE_NAME='{}'"
    for table in ("lineorder", "customer", "dates"):
        ((rows, comment),) = (await ask(sql.format(table)))[1]
        assert ((rows,),) == tuple((await ask(f"SELECT count(*) FROM {table}"))[1])
        assert comment
    columns = (
        await ask(
            "SELECT column_name, COLUMN_TYPE, COLUMN_KEY, IS_NULLABLE FROM internal.INFORMATION_SCHEMA.columns "
            "WHERE table_schema = 'ssb' AND table_name = 'lineorder' ORDER BY ordinal_position"
        )
    )[1]
    described = (await ask("DESC lineorder"))[1]
    assert [row[:2] for row in columns] == [row[:2] for row in described]
    assert columns[0][2:] == ("DUP", "NO")


async def test_it_says_what_it_is_wherever_it_shows(ask):
    assert (await ask("SELECT @@version_comment"))[1] == [(DEMO,)]
    assert (await ask("SHOW VARIABLES LIKE 'version_comment'"))[1][0][1] == DEMO
    names, rows = await ask("SHOW FRONTENDS")
    assert rows[0][names.index("Version")] == DEMO
    for level in ("", "VERBOSE ", "SHAPE PLAN ", "ALL PLAN "):
        names, rows = await ask(f"EXPLAIN {level}SELECT count(*) FROM lineorder WHERE lo_tax = 3")
        assert names == ["Explain String(Nereids Planner)"]
        text = "\n".join(row[0] for row in rows)
        assert text.startswith(DEMO) and "VOlapScanNode" in text and "TABLE: internal.ssb.lineorder" in text


@pytest.mark.parametrize(
    ("statement", "code", "words"),
    [
        ("USE nope", 1049, "Unknown database 'nope'"),
        ("SHOW TABLES FROM nope", 1049, "Unknown database 'nope'"),
        ("SWITCH nope", 1105, "Unknown catalog 'nope'"),
        ("DESC nope", 1051, "Unknown table 'nope'"),
        ("SELECT * FROM nope", 1105, "Table [nope] does not exist in database [ssb]."),
        ("SELECT * FROM nope.t", 1105, "Database [nope] does not exist."),
        ("SELECT * FROM nope.a.t", 1105, "Catalog nope does not exist."),
        ("SELECT nope FROM lineorder", 1105, "Unknown column 'nope'"),
        ("SELECT nope(1) FROM lineorder", 1105, "Can not found function 'NOPE'"),
        ("SELEC 1", 1105, "mismatched input 'selec'"),
        ("KILL QUERY 999999", 1094, "Unknown thread id: 999999"),
        ("KILL QUERY 'no-such-query'", 1097, "Unknown query id: no-such-query"),
        ("SET no_such_variable = 1", 1193, "Unknown system variable 'no_such_variable'"),
        ("SET query_timeout = 'soon'", 1231, "query_timeout"),
        ("SHOW QUERY PROFILE '/'", 1235, "not supported by the demo engine"),
    ],
)
async def test_errors_carry_the_number_and_words_of_doris(ask, statement, code, words):
    with pytest.raises(pymysql.err.MySQLError) as caught:
        await ask(statement)
    assert caught.value.args[0] == code
    assert caught.value.args[1].startswith("errCode = 2, detailMessage = ")
    assert words in caught.value.args[1]
    assert (await ask("SELECT 1"))[1] == [(1,)]
