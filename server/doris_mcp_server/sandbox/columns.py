"""The column names Doris answers with: its SHOW statements and its information_schema, in its own order.

Read out of the Doris 4.0 frontend's source; older lines have fewer columns in some of them.
"""


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


SHOW: dict[str, tuple[str, ...]] = {
    "catalogs": _names("CatalogId CatalogName Type IsCurrent CreateTime LastUpdateTime Comment ErrorMsg"),
    "catalog": _names("Key Value"),
    "describe": _names("Field Type Null Key Default Extra"),
    "columns": _names("Field Type Null Key Default Extra"),
    "full columns": _names("Field Type Collation Null Key Default Extra Privileges Comment"),
    "create table": ("Table", "Create Table"),
    "create view": ("View", "Create View", "character_set_client", "collation_connection"),
    "create database": ("Database", "Create Database"),
    "create catalog": _names("Catalog CreateCatalog"),
    "table status": _names(
        "Name Engine Version Row_format Rows Avg_row_length Data_length Max_data_length "
        "Index_length Data_free Auto_increment Create_time Update_time Check_time Collation "
        "Checksum Create_options Comment"
    ),
    "index": _names(
        "Table Non_unique Key_name Seq_in_index Column_name Collation Cardinality Sub_part "
        "Packed Null Index_type Comment Properties"
    ),
    "partitions": _names(
        "PartitionId PartitionName VisibleVersion VisibleVersionTime State PartitionKey Range "
        "DistributionKey Buckets ReplicationNum StorageMedium CooldownTime "
        "RemoteStoragePolicy LastConsistencyCheckTime DataSize IsInMemory ReplicaAllocation "
        "IsMutable SyncWithBaseTables UnsyncTables CommittedVersion RowCount"
    ),
    "table stats": _names(
        "updated_rows query_times row_count updated_time columns trigger new_partition "
        "user_inject enable_auto_analyze last_analyze_time"
    ),
    "data": _names("TableName Size ReplicaCount RemoteSize"),
    "frontends": _names(
        "Name Host EditLogPort HttpPort QueryPort RpcPort ArrowFlightSqlPort Role IsMaster "
        "ClusterId Join Alive ReplayedJournalId LastStartTime LastHeartbeat IsHelper ErrMsg "
        "Version CurrentConnected LiveSince"
    ),
    "backends": _names(
        "BackendId Host HeartbeatPort BePort HttpPort BrpcPort ArrowFlightSqlPort "
        "LastStartTime LastHeartbeat Alive SystemDecommissioned TabletNum DataUsedCapacity "
        "TrashUsedCapacity AvailCapacity TotalCapacity UsedPct MaxDiskUsedPct "
        "RemoteUsedCapacity Tag ErrMsg Version Status HeartbeatFailureCounter NodeRole "
        "CpuCores Memory LiveSince"
    ),
    "processlist": _names(
        "CurrentConnected Id User Host LoginTime Catalog Db Command Time State QueryId TraceId Info FE CloudCluster"
    ),
    "warnings": _names("Level Code Message"),
    "grants": _names(
        "UserIdentity Comment Password Roles GlobalPrivs CatalogPrivs DatabasePrivs "
        "TablePrivs ColPrivs ResourcePrivs CloudClusterPrivs CloudStagePrivs "
        "StorageVaultPrivs WorkloadGroupPrivs ComputeGroupPrivs"
    ),
    "collation": _names("Collation Charset Id Default Compiled Sortlen"),
}

INFORMATION_SCHEMA: dict[str, tuple[str, ...]] = {
    "tables": _names(
        "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME TABLE_TYPE ENGINE VERSION ROW_FORMAT "
        "TABLE_ROWS AVG_ROW_LENGTH DATA_LENGTH MAX_DATA_LENGTH INDEX_LENGTH DATA_FREE "
        "AUTO_INCREMENT CREATE_TIME UPDATE_TIME CHECK_TIME TABLE_COLLATION CHECKSUM "
        "CREATE_OPTIONS TABLE_COMMENT"
    ),
    "columns": _names(
        "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME COLUMN_NAME ORDINAL_POSITION COLUMN_DEFAULT "
        "IS_NULLABLE DATA_TYPE CHARACTER_MAXIMUM_LENGTH CHARACTER_OCTET_LENGTH "
        "NUMERIC_PRECISION NUMERIC_SCALE DATETIME_PRECISION CHARACTER_SET_NAME COLLATION_NAME "
        "COLUMN_TYPE COLUMN_KEY EXTRA PRIVILEGES COLUMN_COMMENT COLUMN_SIZE DECIMAL_DIGITS "
        "GENERATION_EXPRESSION SRS_ID"
    ),
    "schemata": _names(
        "CATALOG_NAME SCHEMA_NAME DEFAULT_CHARACTER_SET_NAME DEFAULT_COLLATION_NAME SQL_PATH DEFAULT_ENCRYPTION"
    ),
    "views": _names(
        "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME VIEW_DEFINITION CHECK_OPTION IS_UPDATABLE "
        "DEFINER SECURITY_TYPE CHARACTER_SET_CLIENT COLLATION_CONNECTION"
    ),
    "partitions": _names(
        "PARTITION_ID TABLE_CATALOG TABLE_SCHEMA TABLE_NAME PARTITION_NAME SUBPARTITION_NAME "
        "PARTITION_ORDINAL_POSITION SUBPARTITION_ORDINAL_POSITION PARTITION_METHOD "
        "SUBPARTITION_METHOD PARTITION_EXPRESSION SUBPARTITION_EXPRESSION "
        "PARTITION_DESCRIPTION TABLE_ROWS AVG_ROW_LENGTH DATA_LENGTH MAX_DATA_LENGTH "
        "INDEX_LENGTH DATA_FREE CREATE_TIME UPDATE_TIME CHECK_TIME CHECKSUM PARTITION_COMMENT "
        "NODEGROUP TABLESPACE_NAME LOCAL_DATA_SIZE REMOTE_DATA_SIZE STATE REPLICA_ALLOCATION "
        "REPLICA_NUM STORAGE_POLICY STORAGE_MEDIUM COOLDOWN_TIME_MS "
        "LAST_CONSISTENCY_CHECK_TIME BUCKET_NUM COMMITTED_VERSION VISIBLE_VERSION "
        "PARTITION_KEY RANGE DISTRIBUTION"
    ),
    "statistics": _names(
        "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME NON_UNIQUE INDEX_SCHEMA INDEX_NAME "
        "SEQ_IN_INDEX COLUMN_NAME COLLATION CARDINALITY SUB_PART PACKED NULLABLE INDEX_TYPE "
        "COMMENT INDEX_COMMENT"
    ),
    "table_options": _names(
        "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME TABLE_MODEL TABLE_MODEL_KEY DISTRIBUTE_KEY "
        "DISTRIBUTE_TYPE BUCKETS_NUM PARTITION_NUM"
    ),
    "table_properties": _names("TABLE_CATALOG TABLE_SCHEMA TABLE_NAME PROPERTY_NAME PROPERTY_VALUE"),
    "key_column_usage": _names(
        "CONSTRAINT_CATALOG CONSTRAINT_SCHEMA CONSTRAINT_NAME TABLE_CATALOG TABLE_SCHEMA "
        "TABLE_NAME COLUMN_NAME ORDINAL_POSITION POSITION_IN_UNIQUE_CONSTRAINT "
        "REFERENCED_TABLE_SCHEMA REFERENCED_TABLE_NAME REFERENCED_COLUMN_NAME"
    ),
    "table_constraints": _names(
        "CONSTRAINT_CATALOG CONSTRAINT_SCHEMA CONSTRAINT_NAME TABLE_SCHEMA TABLE_NAME CONSTRAINT_TYPE"
    ),
    "referential_constraints": _names(
        "CONSTRAINT_CATALOG CONSTRAINT_SCHEMA CONSTRAINT_NAME UNIQUE_CONSTRAINT_CATALOG "
        "UNIQUE_CONSTRAINT_SCHEMA UNIQUE_CONSTRAINT_NAME MATCH_OPTION UPDATE_RULE DELETE_RULE "
        "TABLE_NAME REFERENCED_TABLE_NAME"
    ),
    "character_sets": _names("CHARACTER_SET_NAME DEFAULT_COLLATE_NAME DESCRIPTION MAXLEN"),
    "collations": _names("COLLATION_NAME CHARACTER_SET_NAME ID IS_DEFAULT IS_COMPILED SORTLEN"),
    "engines": _names("ENGINE SUPPORT COMMENT TRANSACTIONS XA SAVEPOINTS"),
    "routines": _names(
        "SPECIFIC_NAME ROUTINE_CATALOG ROUTINE_SCHEMA ROUTINE_NAME ROUTINE_TYPE "
        "DTD_IDENTIFIER ROUTINE_BODY ROUTINE_DEFINITION EXTERNAL_NAME EXTERNAL_LANGUAGE "
        "PARAMETER_STYLE IS_DETERMINISTIC SQL_DATA_ACCESS SQL_PATH SECURITY_TYPE CREATED "
        "LAST_ALTERED SQL_MODE ROUTINE_COMMENT DEFINER CHARACTER_SET_CLIENT "
        "COLLATION_CONNECTION DATABASE_COLLATION"
    ),
    "triggers": _names(
        "TRIGGER_CATALOG TRIGGER_SCHEMA TRIGGER_NAME EVENT_MANIPULATION EVENT_OBJECT_CATALOG "
        "EVENT_OBJECT_SCHEMA EVENT_OBJECT_TABLE ACTION_ORDER ACTION_CONDITION "
        "ACTION_STATEMENT ACTION_ORIENTATION ACTION_TIMING ACTION_REFERENCE_OLD_TABLE "
        "ACTION_REFERENCE_NEW_TABLE ACTION_REFERENCE_OLD_ROW ACTION_REFERENCE_NEW_ROW CREATED "
        "SQL_MODE DEFINER CHARACTER_SET_CLIENT COLLATION_CONNECTION DATABASE_COLLATION"
    ),
    "events": _names(
        "EVENT_CATALOG EVENT_SCHEMA EVENT_NAME DEFINER TIME_ZONE EVENT_BODY EVENT_DEFINITION "
        "EVENT_TYPE EXECUTE_AT INTERVAL_VALUE INTERVAL_FIELD SQL_MODE STARTS ENDS STATUS "
        "ON_COMPLETION CREATED LAST_ALTERED LAST_EXECUTED EVENT_COMMENT ORIGINATOR "
        "CHARACTER_SET_CLIENT COLLATION_CONNECTION DATABASE_COLLATION"
    ),
    "user_privileges": _names("GRANTEE TABLE_CATALOG PRIVILEGE_TYPE IS_GRANTABLE"),
    "schema_privileges": _names("GRANTEE TABLE_CATALOG TABLE_SCHEMA PRIVILEGE_TYPE IS_GRANTABLE"),
    "table_privileges": _names("GRANTEE TABLE_CATALOG TABLE_SCHEMA TABLE_NAME PRIVILEGE_TYPE IS_GRANTABLE"),
    "metadata_name_ids": _names("CATALOG_ID CATALOG_NAME DATABASE_ID DATABASE_NAME TABLE_ID TABLE_NAME"),
    "workload_groups": _names(
        "ID NAME MIN_CPU_PERCENT MAX_CPU_PERCENT MIN_MEMORY_PERCENT MAX_MEMORY_PERCENT "
        "MAX_CONCURRENCY MAX_QUEUE_SIZE QUEUE_TIMEOUT SCAN_THREAD_NUM "
        "MAX_REMOTE_SCAN_THREAD_NUM MIN_REMOTE_SCAN_THREAD_NUM MEMORY_LOW_WATERMARK "
        "MEMORY_HIGH_WATERMARK COMPUTE_GROUP READ_BYTES_PER_SECOND "
        "REMOTE_READ_BYTES_PER_SECOND"
    ),
    "active_queries": _names(
        "QUERY_ID QUERY_START_TIME QUERY_TIME_MS WORKLOAD_GROUP_ID DATABASE FRONTEND_INSTANCE "
        "QUEUE_START_TIME QUEUE_END_TIME QUERY_STATUS USER SQL"
    ),
    "view_dependency": _names("VIEW_CATALOG VIEW_SCHEMA VIEW_NAME VIEW_TYPE REF_CATALOG REF_SCHEMA REF_NAME REF_TYPE"),
    "files": _names(
        "FILE_ID FILE_NAME FILE_TYPE TABLESPACE_NAME TABLE_CATALOG TABLE_SCHEMA TABLE_NAME "
        "LOGFILE_GROUP_NAME LOGFILE_GROUP_NUMBER ENGINE FULLTEXT_KEYS DELETED_ROWS "
        "UPDATE_COUNT FREE_EXTENTS TOTAL_EXTENTS EXTENT_SIZE INITIAL_SIZE MAXIMUM_SIZE "
        "AUTOEXTEND_SIZE CREATION_TIME LAST_UPDATE_TIME LAST_ACCESS_TIME RECOVER_TIME "
        "TRANSACTION_COUNTER VERSION ROW_FORMAT TABLE_ROWS AVG_ROW_LENGTH DATA_LENGTH "
        "MAX_DATA_LENGTH INDEX_LENGTH DATA_FREE CREATE_TIME UPDATE_TIME CHECK_TIME CHECKSUM "
        "STATUS EXTRA"
    ),
    "parameters": _names(
        "SPECIFIC_CATALOG SPECIFIC_SCHEMA SPECIFIC_NAME ORDINAL_POSITION PARAMETER_MODE "
        "PARAMETER_NAME DATA_TYPE CHARACTER_OCTET_LENGTH NUMERIC_PRECISION NUMERIC_SCALE "
        "DATETIME_PRECISION CHARACTER_SET_NAME COLLATION_NAME DTD_IDENTIFIER ROUTINE_TYPE "
        "DATA_TYPEDTD_IDENDS"
    ),
}
