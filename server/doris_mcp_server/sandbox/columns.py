"""The column names Doris answers with: its SHOW statements and its information_schema, in its own order.

Read out of the frontend's source of the lines 2.1, 3.0 and 4.0. A name with `@3.0` is there since that line, one
with `@-3.0` up to that line, a bare one in all three. A `+` stands for a space ("Create Table").
"""

from collections.abc import Mapping

from doris_mcp_server.sandbox.versions import Version

Columns = Mapping[str, tuple[str, ...]]


def show(version: Version) -> Columns:
    """The columns of the SHOW statements, by what stands after SHOW, and of DESC."""
    return _of(version, _SHOW)


def information_schema(version: Version) -> Columns:
    """The columns of each information_schema table."""
    return _of(version, _INFORMATION_SCHEMA)


def names(version: Version, text: str) -> tuple[str, ...]:
    """The names of a list that this line of Doris has."""
    return tuple(bare for name in text.split() if (bare := _in(version, name)))


def _of(version: Version, lists: Mapping[str, str]) -> Columns:
    return {bare: names(version, text) for name, text in lists.items() if (bare := _in(version, name))}


def _in(version: Version, name: str) -> str | None:
    """The name without its mark, or None where the line of Doris does not have it."""
    bare, _, line = name.partition("@")
    there = version.name <= line[1:] if line.startswith("-") else version.name >= line
    return bare.replace("+", " ") if there else None


_SHOW = {
    "catalogs": "CatalogId CatalogName Type IsCurrent CreateTime LastUpdateTime Comment ErrorMsg@4.0",
    "catalog": "Key Value",
    "databases": "Database",
    "describe": "Field Type Null Key Default Extra",
    "describe all": (
        "IndexName IndexKeysType Field Type InternalType Null Key Default Extra Visible DefineExpr WhereClause"
    ),
    "columns": "Field Type Null Key Default Extra",
    "full columns": "Field Type Collation Null Key Default Extra Privileges Comment",
    "create table": "Table Create+Table",
    "create view": "View Create+View character_set_client collation_connection",
    "create database": "Database Create+Database",
    "create catalog": "Catalog CreateCatalog",
    "table status": (
        "Name Engine Version Row_format Rows Avg_row_length Data_length Max_data_length Index_length Data_free "
        "Auto_increment Create_time Update_time Check_time Collation Checksum Create_options Comment"
    ),
    "index": (
        "Table Non_unique Key_name Seq_in_index Column_name Collation Cardinality Sub_part Packed Null Index_type "
        "Comment Properties"
    ),
    "partitions": (
        "PartitionId PartitionName VisibleVersion VisibleVersionTime State PartitionKey Range DistributionKey Buckets "
        "ReplicationNum StorageMedium CooldownTime RemoteStoragePolicy LastConsistencyCheckTime DataSize IsInMemory "
        "ReplicaAllocation IsMutable SyncWithBaseTables UnsyncTables CommittedVersion RowCount"
    ),
    "table stats": (
        "updated_rows query_times row_count updated_time columns trigger new_partition user_inject "
        "enable_auto_analyze@3.0 last_analyze_time@3.0"
    ),
    "column stats": (
        "column_name index_name count ndv num_null data_size avg_size_byte min max method type trigger query_times "
        "updated_time update_rows@3.0 last_analyze_row_count@3.0 last_analyze_version@3.0 hot_values@4.0"
    ),
    "data": "TableName Size ReplicaCount RemoteSize",
    "table data": "TableName IndexName Size ReplicaCount RowCount RemoteSize",
    "frontends": (
        "Name Host EditLogPort HttpPort QueryPort RpcPort ArrowFlightSqlPort Role IsMaster ClusterId Join Alive "
        "ReplayedJournalId LastStartTime LastHeartbeat IsHelper ErrMsg Version CurrentConnected LiveSince@4.0"
    ),
    "backends": (
        "BackendId Host HeartbeatPort BePort HttpPort BrpcPort ArrowFlightSqlPort LastStartTime LastHeartbeat Alive "
        "SystemDecommissioned TabletNum DataUsedCapacity TrashUsedCapacity AvailCapacity TotalCapacity UsedPct "
        "MaxDiskUsedPct RemoteUsedCapacity Tag ErrMsg Version Status HeartbeatFailureCounter NodeRole CpuCores@3.0 "
        "Memory@3.0 LiveSince@4.0"
    ),
    "processlist": (
        "CurrentConnected Id User Host LoginTime Catalog Db Command Time State QueryId TraceId@4.0 Info FE@3.0 "
        "CloudCluster@3.0"
    ),
    "variables": "Variable_name Value Default_Value Changed",
    "view": "View Create+View",
    "constraints": "Name Type Definition",
    "column histogram": "column_name data_type sample_rate num_buckets buckets",
    "index stats": "table_name index_name analyze_row_count report_row_count report_row_count_for_nereids",
    "data skew": "PartitionName BucketIdx AvgRowCount AvgDataSize Graph Percent",
    "data types": "TypeName Size",
    "dynamic partition tables": (
        "TableName Enable TimeUnit Start End Prefix Buckets ReplicationNum ReplicaAllocation StartOf LastUpdateTime "
        "LastSchedulerTime State LastCreatePartitionMsg LastDropPartitionMsg ReservedHistoryPeriods"
    ),
    "functions": "Function+Name",
    "full functions": "Signature Return+Type Function+Type Intermediate+Type Properties",
    "charset": "Charset Description Default+collation Maxlen",
    "engines": "Engine Support Comment Transactions XA Savepoints",
    "warnings": "Level Code Message",
    "grants": (
        "UserIdentity Comment Password Roles GlobalPrivs CatalogPrivs DatabasePrivs TablePrivs ColPrivs ResourcePrivs "
        "CloudClusterPrivs@3.0 CloudStagePrivs@3.0 StorageVaultPrivs@3.0 WorkloadGroupPrivs ComputeGroupPrivs@3.0"
    ),
    "collation": "Collation Charset Id Default Compiled Sortlen",
}

_INFORMATION_SCHEMA = {
    "active_queries": (
        "QUERY_ID QUERY_START_TIME QUERY_TIME_MS WORKLOAD_GROUP_ID DATABASE FRONTEND_INSTANCE QUEUE_START_TIME "
        "QUEUE_END_TIME QUERY_STATUS USER@4.0 SQL"
    ),
    "backend_active_tasks": (
        "BE_ID FE_HOST WORKLOAD_GROUP_ID@4.0 QUERY_ID TASK_TIME_MS TASK_CPU_TIME_MS SCAN_ROWS SCAN_BYTES "
        "BE_PEAK_MEMORY_BYTES CURRENT_USED_MEMORY_BYTES SHUFFLE_SEND_BYTES SHUFFLE_SEND_ROWS QUERY_TYPE "
        "SPILL_WRITE_BYTES_TO_LOCAL_STORAGE@4.0 SPILL_READ_BYTES_FROM_LOCAL_STORAGE@4.0"
    ),
    "backend_configuration@4.0": "BE_ID CONFIG_NAME CONFIG_TYPE CONFIG_VALUE IS_MUTABLE",
    "backend_kerberos_ticket_cache@4.0": (
        "BE_ID BE_IP PRINCIPAL KEYTAB SERVICE_PRINCIPAL TICKET_CACHE_PATH HASH_CODE START_TIME EXPIRE_TIME AUTH_TIME "
        "REF_COUNT REFRESH_INTERVAL_SECOND"
    ),
    "backend_tablets@4.0": (
        "BE_ID TABLET_ID REPLICA_ID PARTITION_ID TABLET_PATH TABLET_LOCAL_SIZE TABLET_REMOTE_SIZE VERSION_COUNT "
        "SEGMENT_COUNT NUM_COLUMNS ROW_SIZE COMPACTION_SCORE COMPRESS_KIND IS_USED IS_ALTER_FAILED CREATE_TIME "
        "UPDATE_TIME IS_OVERLAP"
    ),
    "catalog_meta_cache_statistics": "CATALOG_NAME CACHE_NAME METRIC_NAME METRIC_VALUE",
    "character_sets": "CHARACTER_SET_NAME DEFAULT_COLLATE_NAME DESCRIPTION MAXLEN",
    "collations": "COLLATION_NAME CHARACTER_SET_NAME ID IS_DEFAULT IS_COMPILED SORTLEN",
    "column_privileges": "GRANTEE TABLE_CATALOG TABLE_SCHEMA TABLE_NAME COLUMN_NAME PRIVILEGE_TYPE IS_GRANTABLE",
    "column_statistics": "SCHEMA_NAME TABLE_NAME COLUMN_NAME HISTOGRAM",
    "columns": (
        "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME COLUMN_NAME ORDINAL_POSITION COLUMN_DEFAULT IS_NULLABLE DATA_TYPE "
        "CHARACTER_MAXIMUM_LENGTH CHARACTER_OCTET_LENGTH NUMERIC_PRECISION NUMERIC_SCALE DATETIME_PRECISION "
        "CHARACTER_SET_NAME COLLATION_NAME COLUMN_TYPE COLUMN_KEY EXTRA PRIVILEGES COLUMN_COMMENT COLUMN_SIZE "
        "DECIMAL_DIGITS GENERATION_EXPRESSION SRS_ID"
    ),
    "encryption_keys@4.0": "ID VERSION PARENT_ID PARENT_VERSION TYPE ALGORITHM CIPHER IV CRC CTIME MTIME",
    "engines": "ENGINE SUPPORT COMMENT TRANSACTIONS XA SAVEPOINTS",
    "events": (
        "EVENT_CATALOG EVENT_SCHEMA EVENT_NAME DEFINER TIME_ZONE EVENT_BODY EVENT_DEFINITION EVENT_TYPE EXECUTE_AT "
        "INTERVAL_VALUE INTERVAL_FIELD SQL_MODE STARTS ENDS STATUS ON_COMPLETION CREATED LAST_ALTERED LAST_EXECUTED "
        "EVENT_COMMENT ORIGINATOR CHARACTER_SET_CLIENT COLLATION_CONNECTION DATABASE_COLLATION"
    ),
    "file_cache_statistics": "BE_ID BE_IP CACHE_PATH METRIC_NAME METRIC_VALUE",
    "files": (
        "FILE_ID FILE_NAME FILE_TYPE TABLESPACE_NAME TABLE_CATALOG TABLE_SCHEMA TABLE_NAME LOGFILE_GROUP_NAME "
        "LOGFILE_GROUP_NUMBER ENGINE FULLTEXT_KEYS DELETED_ROWS UPDATE_COUNT FREE_EXTENTS TOTAL_EXTENTS EXTENT_SIZE "
        "INITIAL_SIZE MAXIMUM_SIZE AUTOEXTEND_SIZE CREATION_TIME LAST_UPDATE_TIME LAST_ACCESS_TIME RECOVER_TIME "
        "TRANSACTION_COUNTER VERSION ROW_FORMAT TABLE_ROWS AVG_ROW_LENGTH DATA_LENGTH MAX_DATA_LENGTH INDEX_LENGTH "
        "DATA_FREE CREATE_TIME UPDATE_TIME CHECK_TIME CHECKSUM STATUS EXTRA"
    ),
    "global_variables": "VARIABLE_NAME VARIABLE_VALUE DEFAULT_VALUE CHANGED",
    "key_column_usage": (
        "CONSTRAINT_CATALOG CONSTRAINT_SCHEMA CONSTRAINT_NAME TABLE_CATALOG TABLE_SCHEMA TABLE_NAME COLUMN_NAME "
        "ORDINAL_POSITION POSITION_IN_UNIQUE_CONSTRAINT REFERENCED_TABLE_SCHEMA REFERENCED_TABLE_NAME "
        "REFERENCED_COLUMN_NAME"
    ),
    "metadata_name_ids": "CATALOG_ID CATALOG_NAME DATABASE_ID DATABASE_NAME TABLE_ID TABLE_NAME",
    "parameters": (
        "SPECIFIC_CATALOG SPECIFIC_SCHEMA SPECIFIC_NAME ORDINAL_POSITION PARAMETER_MODE PARAMETER_NAME DATA_TYPE "
        "CHARACTER_OCTET_LENGTH NUMERIC_PRECISION NUMERIC_SCALE DATETIME_PRECISION CHARACTER_SET_NAME COLLATION_NAME "
        "DTD_IDENTIFIER ROUTINE_TYPE DATA_TYPEDTD_IDENDS"
    ),
    "partitions": (
        "PARTITION_ID@4.0 TABLE_CATALOG TABLE_SCHEMA TABLE_NAME PARTITION_NAME SUBPARTITION_NAME "
        "PARTITION_ORDINAL_POSITION SUBPARTITION_ORDINAL_POSITION PARTITION_METHOD SUBPARTITION_METHOD "
        "PARTITION_EXPRESSION SUBPARTITION_EXPRESSION PARTITION_DESCRIPTION TABLE_ROWS AVG_ROW_LENGTH DATA_LENGTH "
        "MAX_DATA_LENGTH INDEX_LENGTH DATA_FREE CREATE_TIME UPDATE_TIME CHECK_TIME CHECKSUM PARTITION_COMMENT "
        "NODEGROUP TABLESPACE_NAME LOCAL_DATA_SIZE@4.0 REMOTE_DATA_SIZE@4.0 STATE@4.0 REPLICA_ALLOCATION@4.0 "
        "REPLICA_NUM@4.0 STORAGE_POLICY@4.0 STORAGE_MEDIUM@4.0 COOLDOWN_TIME_MS@4.0 LAST_CONSISTENCY_CHECK_TIME@4.0 "
        "BUCKET_NUM@4.0 COMMITTED_VERSION@4.0 VISIBLE_VERSION@4.0 PARTITION_KEY@4.0 RANGE@4.0 DISTRIBUTION@4.0"
    ),
    "processlist@-3.0": (
        "CURRENT_CONNECTED ID USER HOST LOGIN_TIME CATALOG DB COMMAND TIME STATE QUERY_ID INFO FE CLOUD_CLUSTER@3.0"
    ),
    "processlist@4.0": (
        "CurrentConnected Id User Host LoginTime Catalog Db Command Time State QueryId TraceId Info FE CloudCluster"
    ),
    "profiling": (
        "QUERY_ID SEQ STATE DURATION CPU_USER CPU_SYSTEM CONTEXT_VOLUNTARY CONTEXT_INVOLUNTARY BLOCK_OPS_IN "
        "BLOCK_OPS_OUT MESSAGES_SENT MESSAGES_RECEIVED PAGE_FAULTS_MAJOR PAGE_FAULTS_MINOR SWAPS SOURCE_FUNCTION "
        "SOURCE_FILE SOURCE_LINE"
    ),
    "referential_constraints": (
        "CONSTRAINT_CATALOG CONSTRAINT_SCHEMA CONSTRAINT_NAME UNIQUE_CONSTRAINT_CATALOG UNIQUE_CONSTRAINT_SCHEMA "
        "UNIQUE_CONSTRAINT_NAME MATCH_OPTION UPDATE_RULE DELETE_RULE TABLE_NAME REFERENCED_TABLE_NAME"
    ),
    "routine_load_jobs@4.0": (
        "JOB_ID JOB_NAME CREATE_TIME PAUSE_TIME END_TIME DB_NAME TABLE_NAME STATE CURRENT_TASK_NUM JOB_PROPERTIES "
        "DATA_SOURCE_PROPERTIES CUSTOM_PROPERTIES STATISTIC PROGRESS LAG REASON_OF_STATE_CHANGED ERROR_LOG_URLS "
        "USER_NAME CURRENT_ABORT_TASK_NUM IS_ABNORMAL_PAUSE"
    ),
    "routines": (
        "SPECIFIC_NAME ROUTINE_CATALOG ROUTINE_SCHEMA ROUTINE_NAME ROUTINE_TYPE DTD_IDENTIFIER ROUTINE_BODY "
        "ROUTINE_DEFINITION EXTERNAL_NAME EXTERNAL_LANGUAGE PARAMETER_STYLE IS_DETERMINISTIC SQL_DATA_ACCESS SQL_PATH "
        "SECURITY_TYPE CREATED LAST_ALTERED SQL_MODE ROUTINE_COMMENT DEFINER CHARACTER_SET_CLIENT COLLATION_CONNECTION "
        "DATABASE_COLLATION"
    ),
    "rowsets": (
        "BACKEND_ID ROWSET_ID TABLET_ID ROWSET_NUM_ROWS TXN_ID NUM_SEGMENTS START_VERSION END_VERSION INDEX_DISK_SIZE "
        "DATA_DISK_SIZE CREATION_TIME NEWEST_WRITE_TIMESTAMP SCHEMA_VERSION@3.0"
    ),
    "schema_privileges": "GRANTEE TABLE_CATALOG TABLE_SCHEMA PRIVILEGE_TYPE IS_GRANTABLE",
    "schemata": (
        "CATALOG_NAME SCHEMA_NAME DEFAULT_CHARACTER_SET_NAME DEFAULT_COLLATION_NAME SQL_PATH DEFAULT_ENCRYPTION"
    ),
    "session_variables": "VARIABLE_NAME VARIABLE_VALUE DEFAULT_VALUE CHANGED",
    "sql_block_rule_status@4.0": (
        "NAME PATTERN SQL_HASH PARTITION_NUM TABLET_NUM CARDINALITY GLOBAL ENABLE BLOCKS AVERAGE_DURATION "
        "LONGEST_DURATION P99_DURATION"
    ),
    "statistics": (
        "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME NON_UNIQUE INDEX_SCHEMA INDEX_NAME SEQ_IN_INDEX COLUMN_NAME COLLATION "
        "CARDINALITY SUB_PART PACKED NULLABLE INDEX_TYPE COMMENT INDEX_COMMENT"
    ),
    "table_constraints": "CONSTRAINT_CATALOG CONSTRAINT_SCHEMA CONSTRAINT_NAME TABLE_SCHEMA TABLE_NAME CONSTRAINT_TYPE",
    "table_options": (
        "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME TABLE_MODEL TABLE_MODEL_KEY DISTRIBUTE_KEY DISTRIBUTE_TYPE BUCKETS_NUM "
        "PARTITION_NUM"
    ),
    "table_privileges": "GRANTEE TABLE_CATALOG TABLE_SCHEMA TABLE_NAME PRIVILEGE_TYPE IS_GRANTABLE",
    "table_properties": "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME PROPERTY_NAME PROPERTY_VALUE",
    "tables": (
        "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME TABLE_TYPE ENGINE VERSION ROW_FORMAT TABLE_ROWS AVG_ROW_LENGTH "
        "DATA_LENGTH MAX_DATA_LENGTH INDEX_LENGTH DATA_FREE AUTO_INCREMENT CREATE_TIME UPDATE_TIME CHECK_TIME "
        "TABLE_COLLATION CHECKSUM CREATE_OPTIONS TABLE_COMMENT"
    ),
    "triggers": (
        "TRIGGER_CATALOG TRIGGER_SCHEMA TRIGGER_NAME EVENT_MANIPULATION EVENT_OBJECT_CATALOG EVENT_OBJECT_SCHEMA "
        "EVENT_OBJECT_TABLE ACTION_ORDER ACTION_CONDITION ACTION_STATEMENT ACTION_ORIENTATION ACTION_TIMING "
        "ACTION_REFERENCE_OLD_TABLE ACTION_REFERENCE_NEW_TABLE ACTION_REFERENCE_OLD_ROW ACTION_REFERENCE_NEW_ROW "
        "CREATED SQL_MODE DEFINER CHARACTER_SET_CLIENT COLLATION_CONNECTION DATABASE_COLLATION"
    ),
    "user_privileges": "GRANTEE TABLE_CATALOG PRIVILEGE_TYPE IS_GRANTABLE",
    "view_dependency@4.0": "VIEW_CATALOG VIEW_SCHEMA VIEW_NAME VIEW_TYPE REF_CATALOG REF_SCHEMA REF_NAME REF_TYPE",
    "views": (
        "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME VIEW_DEFINITION CHECK_OPTION IS_UPDATABLE DEFINER SECURITY_TYPE "
        "CHARACTER_SET_CLIENT COLLATION_CONNECTION"
    ),
    "workload_group_privileges": "GRANTEE WORKLOAD_GROUP_NAME PRIVILEGE_TYPE IS_GRANTABLE",
    "workload_group_resource_usage": (
        "BE_ID WORKLOAD_GROUP_ID MEMORY_USAGE_BYTES CPU_USAGE_PERCENT LOCAL_SCAN_BYTES_PER_SECOND "
        "REMOTE_SCAN_BYTES_PER_SECOND"
    ),
    "workload_groups@-3.0": (
        "ID NAME CPU_SHARE MEMORY_LIMIT ENABLE_MEMORY_OVERCOMMIT MAX_CONCURRENCY MAX_QUEUE_SIZE QUEUE_TIMEOUT "
        "CPU_HARD_LIMIT SCAN_THREAD_NUM MAX_REMOTE_SCAN_THREAD_NUM MIN_REMOTE_SCAN_THREAD_NUM "
        "SPILL_THRESHOLD_LOW_WATERMARK SPILL_THRESHOLD_HIGH_WATERMARK TAG READ_BYTES_PER_SECOND "
        "REMOTE_READ_BYTES_PER_SECOND"
    ),
    "workload_groups@4.0": (
        "ID NAME MIN_CPU_PERCENT MAX_CPU_PERCENT MIN_MEMORY_PERCENT MAX_MEMORY_PERCENT MAX_CONCURRENCY MAX_QUEUE_SIZE "
        "QUEUE_TIMEOUT SCAN_THREAD_NUM MAX_REMOTE_SCAN_THREAD_NUM MIN_REMOTE_SCAN_THREAD_NUM MEMORY_LOW_WATERMARK "
        "MEMORY_HIGH_WATERMARK COMPUTE_GROUP READ_BYTES_PER_SECOND REMOTE_READ_BYTES_PER_SECOND"
    ),
    "workload_policy": "ID NAME CONDITION ACTION PRIORITY ENABLED VERSION WORKLOAD_GROUP",
}
