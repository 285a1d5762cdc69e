"""Each line of Doris with its own columns, tables and name."""

import pymysql
import pytest

from doris_mcp_server.errors import ConfigError
from doris_mcp_server.sandbox.options import Options

from .conftest import query

V21, V30, V40 = "2.1", "3.0", "4.0"
FRONTENDS = (
    "Name Host EditLogPort HttpPort QueryPort RpcPort ArrowFlightSqlPort Role IsMaster ClusterId Join Alive "
    "ReplayedJournalId LastStartTime LastHeartbeat IsHelper ErrMsg Version CurrentConnected"
)
BACKENDS = (
    "BackendId Host HeartbeatPort BePort HttpPort BrpcPort ArrowFlightSqlPort LastStartTime LastHeartbeat Alive "
    "SystemDecommissioned TabletNum DataUsedCapacity TrashUsedCapacity AvailCapacity TotalCapacity UsedPct "
    "MaxDiskUsedPct RemoteUsedCapacity Tag ErrMsg Version Status HeartbeatFailureCounter NodeRole"
)
PROCESSES = "CurrentConnected Id User Host LoginTime Catalog Db Command Time State QueryId"
GRANTS = "UserIdentity Comment Password Roles GlobalPrivs CatalogPrivs DatabasePrivs TablePrivs ColPrivs ResourcePrivs"
GRANTS_30 = f"{GRANTS} CloudClusterPrivs CloudStagePrivs StorageVaultPrivs WorkloadGroupPrivs ComputeGroupPrivs"
TABLE_STATS = "updated_rows query_times row_count updated_time columns trigger new_partition user_inject"
COLUMN_STATS = (
    "column_name index_name count ndv num_null data_size avg_size_byte min max method type trigger query_times "
    "updated_time"
)
COLUMN_STATS_30 = f"{COLUMN_STATS} update_rows last_analyze_row_count last_analyze_version"
PARTITIONS = (
    "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME PARTITION_NAME SUBPARTITION_NAME PARTITION_ORDINAL_POSITION "
    "SUBPARTITION_ORDINAL_POSITION PARTITION_METHOD SUBPARTITION_METHOD PARTITION_EXPRESSION SUBPARTITION_EXPRESSION "
    "PARTITION_DESCRIPTION TABLE_ROWS AVG_ROW_LENGTH DATA_LENGTH MAX_DATA_LENGTH INDEX_LENGTH DATA_FREE CREATE_TIME "
    "UPDATE_TIME CHECK_TIME CHECKSUM PARTITION_COMMENT NODEGROUP TABLESPACE_NAME"
)
PARTITIONS_40 = (
    f"PARTITION_ID {PARTITIONS} LOCAL_DATA_SIZE REMOTE_DATA_SIZE STATE REPLICA_ALLOCATION REPLICA_NUM STORAGE_POLICY "
    "STORAGE_MEDIUM COOLDOWN_TIME_MS LAST_CONSISTENCY_CHECK_TIME BUCKET_NUM COMMITTED_VERSION VISIBLE_VERSION "
    "PARTITION_KEY RANGE DISTRIBUTION"
)
PROCESSLIST = "CURRENT_CONNECTED ID USER HOST LOGIN_TIME CATALOG DB COMMAND TIME STATE QUERY_ID INFO FE"
QUERIES = (
    "QUERY_ID QUERY_START_TIME QUERY_TIME_MS WORKLOAD_GROUP_ID DATABASE FRONTEND_INSTANCE QUEUE_START_TIME "
    "QUEUE_END_TIME QUERY_STATUS"
)
AUDIT = (
    "query_id time client_ip user catalog db state error_code error_message query_time scan_bytes scan_rows return_rows"
)
SHUFFLE = "shuffle_send_rows shuffle_send_bytes"
FROM_STORAGE = "scan_bytes_from_local_storage scan_bytes_from_remote_storage"
DIGEST = "frontend_ip cpu_time_ms sql_hash sql_digest peak_memory_bytes workload_group"
AUDIT_40 = (
    "query_id time client_ip user frontend_ip catalog db state error_code error_message query_time cpu_time_ms "
    f"peak_memory_bytes scan_bytes scan_rows return_rows {SHUFFLE} spill_write_bytes_from_local_storage "
    f"spill_read_bytes_from_local_storage {FROM_STORAGE} parse_time_ms plan_times_ms get_meta_times_ms "
    "schedule_times_ms hit_sql_cache handled_in_fe queried_tables_and_views chosen_m_views changed_variables sql_mode "
    "stmt_type stmt_id sql_hash sql_digest is_query is_nereids is_internal workload_group compute_group stmt"
)
# The columns of a statement in 2.1, 3.0 and 4.0.
DIFFERENT = {
    "SHOW CATALOGS": (
        *["CatalogId CatalogName Type IsCurrent CreateTime LastUpdateTime Comment"] * 2,
        "CatalogId CatalogName Type IsCurrent CreateTime LastUpdateTime Comment ErrorMsg",
    ),
    "SHOW FRONTENDS": (FRONTENDS, FRONTENDS, f"{FRONTENDS} LiveSince"),
    "SHOW BACKENDS": (BACKENDS, f"{BACKENDS} CpuCores Memory", f"{BACKENDS} CpuCores Memory LiveSince"),
    "SHOW PROCESSLIST": (
        f"{PROCESSES} Info",
        f"{PROCESSES} Info FE CloudCluster",
        f"{PROCESSES} TraceId Info FE CloudCluster",
    ),
    "SHOW GRANTS": (f"{GRANTS} WorkloadGroupPrivs", GRANTS_30, GRANTS_30),
    "SHOW TABLE STATS lineorder": (
        TABLE_STATS,
        *[f"{TABLE_STATS} enable_auto_analyze last_analyze_time"] * 2,
    ),
    "SHOW COLUMN STATS lineorder": (COLUMN_STATS, COLUMN_STATS_30, f"{COLUMN_STATS_30} hot_values"),
    "SELECT * FROM information_schema.partitions": (PARTITIONS, PARTITIONS, PARTITIONS_40),
    "SELECT * FROM information_schema.processlist": (
        PROCESSLIST,
        f"{PROCESSLIST} CLOUD_CLUSTER",
        f"{PROCESSES} TraceId Info FE CloudCluster",
    ),
    "SELECT * FROM information_schema.active_queries": (*[f"{QUERIES} SQL"] * 2, f"{QUERIES} USER SQL"),
    "SELECT * FROM __internal_schema.audit_log": (
        f"{AUDIT} stmt_id is_query {DIGEST} stmt",
        f"{AUDIT} {SHUFFLE} {FROM_STORAGE} stmt_id stmt_type is_query is_nereids {DIGEST} compute_group stmt",
        AUDIT_40,
    ),
}
DESCRIBED = "Field Type Null Key Default Extra"
SAME = {
    "SHOW CATALOG internal": "Key Value",
    "SHOW DATABASES": "Database",
    "SHOW TABLES": "Tables_in_ssb",
    "SHOW VIEWS FROM ssb": "Tables_in_ssb",
    "SHOW FULL TABLES FROM ops": "Tables_in_ops Table_type Storage_format Inverted_index_storage_format",
    "DESC lineorder": DESCRIBED,
    "DESC lineorder ALL": (
        "IndexName IndexKeysType Field Type InternalType Null Key Default Extra Visible DefineExpr WhereClause"
    ),
    "SHOW COLUMNS FROM lineorder": DESCRIBED,
    "SHOW FULL COLUMNS FROM lineorder": "Field Type Collation Null Key Default Extra Privileges Comment",
    "SHOW TABLE STATUS": (
        "Name Engine Version Row_format Rows Avg_row_length Data_length Max_data_length Index_length Data_free "
        "Auto_increment Create_time Update_time Check_time Collation Checksum Create_options Comment"
    ),
    "SHOW INDEX FROM ops.events": (
        "Table Non_unique Key_name Seq_in_index Column_name Collation Cardinality Sub_part Packed Null "
        "Index_type Comment Properties"
    ),
    "SHOW PARTITIONS FROM lineorder": (
        "PartitionId PartitionName VisibleVersion VisibleVersionTime State PartitionKey Range DistributionKey "
        "Buckets ReplicationNum StorageMedium CooldownTime RemoteStoragePolicy LastConsistencyCheckTime DataSize "
        "IsInMemory ReplicaAllocation IsMutable SyncWithBaseTables UnsyncTables CommittedVersion RowCount"
    ),
    "SHOW DATA": "TableName Size ReplicaCount RemoteSize",
    "SHOW DATA FROM lineorder": "TableName IndexName Size ReplicaCount RowCount RemoteSize",
    "SHOW DATA SKEW FROM lineorder": "PartitionName BucketIdx AvgRowCount AvgDataSize Graph Percent",
    "SHOW DATA TYPES": "TypeName Size",
    "SHOW INDEX STATS ops.events idx_message": (
        "table_name index_name analyze_row_count report_row_count report_row_count_for_nereids"
    ),
    "SHOW VIEW FROM lineorder": "View Create View",
    "SHOW CREATE TABLE lineorder": "Table Create Table",
    "SHOW CREATE VIEW revenue_by_year": "View Create View character_set_client collation_connection",
    "SHOW BUILTIN FUNCTIONS": "Function Name",
    "SHOW FULL BUILTIN FUNCTIONS": "Signature Return Type Function Type Intermediate Type Properties",
    "SHOW CHARACTER SET": "Charset Description Default collation Maxlen",
    "SHOW COLLATION": "Collation Charset Id Default Compiled Sortlen",
    "SHOW ENGINES": "Engine Support Comment Transactions XA Savepoints",
    "SHOW VARIABLES LIKE 'query_timeout'": "Variable_name Value Default_Value Changed",
    "SELECT * FROM information_schema.schemata": (
        "CATALOG_NAME SCHEMA_NAME DEFAULT_CHARACTER_SET_NAME DEFAULT_COLLATION_NAME SQL_PATH DEFAULT_ENCRYPTION"
    ),
    "SELECT * FROM information_schema.table_options": (
        "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME TABLE_MODEL TABLE_MODEL_KEY DISTRIBUTE_KEY DISTRIBUTE_TYPE BUCKETS_NUM "
        "PARTITION_NUM"
    ),
    "SELECT * FROM information_schema.session_variables": "VARIABLE_NAME VARIABLE_VALUE DEFAULT_VALUE CHANGED",
}
# These have columns alone: there is nothing of the kind in the demo data.
EMPTY = {
    "SHOW TEMPORARY PARTITIONS FROM lineorder": SAME["SHOW PARTITIONS FROM lineorder"],
    "SHOW CONSTRAINTS FROM lineorder": "Name Type Definition",
    "SHOW COLUMN HISTOGRAM lineorder (lo_tax)": "column_name data_type sample_rate num_buckets buckets",
    "SHOW DYNAMIC PARTITION TABLES FROM ssb": (
        "TableName Enable TimeUnit Start End Prefix Buckets ReplicationNum ReplicaAllocation StartOf LastUpdateTime "
        "LastSchedulerTime State LastCreatePartitionMsg LastDropPartitionMsg ReservedHistoryPeriods"
    ),
    "SHOW FUNCTIONS": "Function Name",
    "SHOW WARNINGS": "Level Code Message",
    "SELECT * FROM information_schema.statistics": (
        "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME NON_UNIQUE INDEX_SCHEMA INDEX_NAME SEQ_IN_INDEX COLUMN_NAME COLLATION "
        "CARDINALITY SUB_PART PACKED NULLABLE INDEX_TYPE COMMENT INDEX_COMMENT"
    ),
}


@pytest.mark.parametrize("version", [V21, V30, V40])
async def test_columns_are_those_of_the_line(start, connect, version):
    """All but the EMPTY ones have a row as well, so that no column stands for nothing."""
    at = (V21, V30, V40).index(version)
    wanted = {**{sql: columns[at] for sql, columns in DIFFERENT.items()}, **SAME, **EMPTY}
    async with connect(port=start(Options(version)).port) as connection:
        seen = {sql: await query(connection, sql) for sql in wanted}
    assert {sql: " ".join(names) for sql, (names, _) in seen.items()} == wanted
    assert [sql for sql, (_, rows) in seen.items() if not rows] == list(EMPTY)


@pytest.mark.parametrize(("version", "release"), [(V21, "2.1.11"), (V30, "3.0.8"), (V40, "4.0.1")])
async def test_it_names_the_line_and_says_that_it_is_a_demo(start, connect, version, release):
    build = f"doris-{release}-rc01-DEMO (DuckDB, not Apache Doris)"
    async with connect(port=start(Options(version)).port) as connection:
        assert (await query(connection, "SELECT @@version_comment"))[1] == [(f"Doris version {build}",)]
        shown = await query(connection, "SHOW VARIABLES LIKE 'version_comment'")
        assert shown[1][0][1] == f"Doris version {build}"
        for statement in ("SHOW FRONTENDS", "SHOW BACKENDS"):
            names, rows = await query(connection, statement)
            assert rows[0][names.index("Version")] == build


@pytest.mark.parametrize("version", [V21, V30])
async def test_a_line_does_not_know_the_tables_of_later_ones(start, connect, version):
    async with connect(port=start(Options(version)).port) as connection:
        for table in ("view_dependency", "backend_tablets", "sql_block_rule_status"):
            with pytest.raises(pymysql.err.MySQLError, match=f"Table \\[{table}\\] does not exist"):
                await query(connection, f"SELECT * FROM information_schema.{table}")
        tables = (await query(connection, "SHOW TABLES FROM information_schema"))[1]
        assert ("view_dependency",) not in tables and ("processlist",) in tables


@pytest.mark.parametrize(
    ("version", "told", "listed"),
    [
        (
            V21,
            ("true", "true"),
            [("enable_fallback_to_original_planner", "true"), ("experimental_enable_nereids_planner", "true")],
        ),
        (V30, ("true", "false"), []),
        (V40, ("true", "false"), []),
    ],
)
async def test_the_older_planner_is_there_until_3_0(start, connect, version, told, listed):
    async with connect(port=start(Options(version)).port) as connection:
        asked = "SELECT @@enable_nereids_planner, @@enable_fallback_to_original_planner"
        assert (await query(connection, asked))[1] == [told]
        shown = (await query(connection, "SHOW VARIABLES LIKE '%planner'"))[1]
        assert [row[:2] for row in shown] == listed
        names = "SELECT VARIABLE_NAME FROM information_schema.session_variables WHERE VARIABLE_NAME LIKE '%planner'"
        assert sorted((await query(connection, names))[1]) == [(name,) for name, _ in listed]
        await query(connection, "SET enable_fallback_to_original_planner = false")
        assert (await query(connection, asked))[1] == [("true", "false")]


def test_other_lines_are_unknown():
    with pytest.raises(ConfigError, match=r"--doris-version 1\.2 is unknown"):
        Options("1.2")
