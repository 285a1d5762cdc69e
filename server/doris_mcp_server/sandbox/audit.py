"""`__internal_schema.audit_log`: the columns each line of Doris gives it, and the row of a statement that ended."""

import hashlib
import re
from typing import Any

from doris_mcp_server.sandbox.columns import names
from doris_mcp_server.sandbox.history import Ran
from doris_mcp_server.sandbox.table import INTERNAL, Column, Table
from doris_mcp_server.sandbox.versions import Version

DATABASE = "__internal_schema"
NAME = "audit_log"

# InternalSchema.AUDIT_SCHEMA of each line. 4.0 put the columns into another order.
_COLUMNS = {
    "2.1": "query_id time client_ip user catalog db state error_code error_message query_time scan_bytes scan_rows "
    "return_rows shuffle_send_rows@3.0 shuffle_send_bytes@3.0 scan_bytes_from_local_storage@3.0 "
    "scan_bytes_from_remote_storage@3.0 stmt_id stmt_type@3.0 is_query is_nereids@3.0 frontend_ip cpu_time_ms sql_hash "
    "sql_digest peak_memory_bytes workload_group compute_group@3.0 stmt",
    "4.0": "query_id time client_ip user frontend_ip catalog db state error_code error_message query_time cpu_time_ms "
    "peak_memory_bytes scan_bytes scan_rows return_rows shuffle_send_rows shuffle_send_bytes "
    "spill_write_bytes_from_local_storage spill_read_bytes_from_local_storage scan_bytes_from_local_storage "
    "scan_bytes_from_remote_storage parse_time_ms plan_times_ms get_meta_times_ms schedule_times_ms hit_sql_cache "
    "handled_in_fe queried_tables_and_views chosen_m_views changed_variables sql_mode stmt_type stmt_id sql_hash "
    "sql_digest is_query is_nereids is_internal workload_group compute_group stmt",
}
_TYPES = {
    "query_id": "varchar(48)",
    "time": "datetime(3)",
    "error_code": "int",
    "stmt_type": "varchar(48)",
    "parse_time_ms": "int",
    **dict.fromkeys(["is_query", "is_nereids", "is_internal", "hit_sql_cache", "handled_in_fe"], "tinyint"),
    **dict.fromkeys(["error_message", "workload_group", "compute_group", "sql_mode", "stmt"], "string"),
    **dict.fromkeys(["plan_times_ms", "get_meta_times_ms", "schedule_times_ms"], "map<string,int>"),
    **dict.fromkeys(["queried_tables_and_views", "chosen_m_views"], "array<string>"),
    "changed_variables": "map<string,string>",
    **dict.fromkeys(["client_ip", "user", "frontend_ip", "catalog", "db", "state"], "varchar(128)"),
    **dict.fromkeys(["sql_hash", "sql_digest"], "varchar(128)"),
}


def table(version: Version) -> Table:
    """The declaration of audit_log; its rows come from the history."""
    listed = names(version, _COLUMNS["4.0" if version.name >= "4.0" else "2.1"])
    columns = tuple(Column(name, _TYPES.get(name, "bigint"), nullable=True) for name in listed)
    return Table(
        INTERNAL, DATABASE, NAME, "Doris internal audit table, DO NOT MODIFY IT", columns, key=("query_id",), live=True
    )


def row(ran: Ran, number: int) -> dict[str, Any]:
    """What audit_log tells of a statement, by column name."""
    reads = re.match(r"(?i)\W*(SELECT|WITH)\b", ran.statement) is not None
    return {
        "query_id": ran.query_id,
        "time": f"{ran.started:%Y-%m-%d %H:%M:%S.%f}"[:-3],
        "client_ip": ran.peer,
        "user": ran.user,
        "frontend_ip": "127.0.0.1",
        "catalog": ran.catalog,
        "db": ran.database,
        "state": ran.audit_state,
        "error_code": ran.error_code,
        "error_message": ran.error,
        "query_time": ran.milliseconds,
        "cpu_time_ms": ran.milliseconds,
        "peak_memory_bytes": 1 << 20,
        "scan_bytes": ran.rows * 64,
        "scan_rows": ran.rows,
        "return_rows": ran.rows,
        "shuffle_send_rows": 0,
        "shuffle_send_bytes": 0,
        "stmt_id": number,
        "stmt_type": "SELECT" if reads else "OTHER",
        "sql_hash": hashlib.md5(ran.statement.encode(), usedforsecurity=False).hexdigest(),
        "sql_digest": "",
        "is_query": int(reads),
        "is_nereids": 1,
        "is_internal": 0,
        "hit_sql_cache": 0,
        "handled_in_fe": int(not reads),
        "workload_group": "normal",
        "compute_group": "UNKNOWN",
        "stmt": ran.statement,
    }
