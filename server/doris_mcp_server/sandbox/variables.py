"""The session variables: their names, what Doris gives them at the start, and how SET changes them."""

import re
from collections.abc import Iterator

from doris_mcp_server.sandbox.faults import UNKNOWN_VARIABLE, WRONG_VALUE, fault, read_only
from doris_mcp_server.sandbox.versions import LATEST, Version

VERSION = "5.7.99"
DEFAULTS = {
    "auto_increment_increment": "1",
    "autocommit": "true",
    "batch_size": "4064",
    "character_set_client": "utf8mb4",
    "character_set_connection": "utf8mb4",
    "character_set_results": "utf8mb4",
    "character_set_server": "utf8mb4",
    "collation_connection": "utf8mb4_0900_bin",
    "collation_database": "utf8mb4_0900_bin",
    "collation_server": "utf8mb4_0900_bin",
    "default_catalog": "internal",
    "dry_run_query": "false",
    "enable_fallback_to_original_planner": "false",
    "enable_nereids_planner": "true",
    "enable_profile": "false",
    "enable_query_cache": "false",
    "enable_sql_cache": "false",
    "exec_mem_limit": "107374182400",
    "group_commit": "off_mode",
    "init_connect": "",
    "insert_timeout": "14400",
    "interactive_timeout": "3600",
    "license": "Apache License 2.0",
    "lower_case_table_names": "0",
    "max_allowed_packet": "16777216",
    "max_execution_time": "900000",
    "net_buffer_length": "16384",
    "net_read_timeout": "600",
    "net_write_timeout": "600",
    "parallel_pipeline_task_num": "0",
    "performance_schema": "OFF",
    "profile_level": "1",
    "query_cache_size": "1048576",
    "query_cache_type": "0",
    "query_timeout": "900",
    "resource_group": "",
    "session_context": "",
    "show_hidden_columns": "false",
    "sql_auto_is_null": "false",
    "sql_mode": "ONLY_FULL_GROUP_BY",
    "sql_safe_updates": "0",
    "sql_select_limit": "9223372036854775807",
    "system_time_zone": "UTC",
    "time_zone": "UTC",
    "transaction_isolation": "READ-COMMITTED",
    "transaction_read_only": "false",
    "tx_isolation": "READ-COMMITTED",
    "tx_read_only": "false",
    "version": VERSION,
    "version_comment": LATEST.comment,
    "wait_timeout": "28800",
    "workload_group": "normal",
}


# Of an older planner, which 2.1 still has. Later lines know the names, and list them nowhere.
_PLANNERS = {"enable_fallback_to_original_planner": "true", "enable_nereids_planner": "true"}


def defaults(version: Version) -> dict[str, str]:
    """What the variables of a new session are in one line of Doris."""
    planners = _PLANNERS if version.has_old_planner else {}
    return {**DEFAULTS, **planners, "version_comment": version.comment}


def listed(version: Version, name: str) -> str | None:
    """What SHOW VARIABLES calls a variable in one line of Doris; None where it does not show it."""
    if name not in _PLANNERS:
        return name
    if not version.has_old_planner:
        return None
    return f"experimental_{name}" if name == "enable_nereids_planner" else name


_FIXED = frozenset(["license", "system_time_zone", "version", "version_comment"])
_WHOLE_NUMBERS = frozenset(name for name, value in DEFAULTS.items() if value.isdigit())
_ASSIGNMENT = re.compile(
    r"\s*(?P<scope>GLOBAL\s+|SESSION\s+|LOCAL\s+|@@global\.|@@session\.|@@local\.|@@|@)?(?P<name>\w+)"
    r"\s*:?=\s*(?P<value>'[^']*'|\"[^\"]*\"|[^,'\"]+)\s*(?:,|$)",
    re.IGNORECASE,
)


def number(name: str, value: str) -> int:
    """The value of a whole-number variable; raises Doris' error when it is none."""
    if not re.fullmatch(r"\d{1,18}", value):
        raise fault(f"Variable '{name}' can't be set to the value of '{value}'", WRONG_VALUE)
    return int(value)


def assignments(text: str) -> Iterator[tuple[str, str]]:
    """The variables a SET statement names, and their values (what stands after SET is given).

    Raises Doris' errors: unknown variable, wrong value, and read-only for SET GLOBAL, PASSWORD and the like.
    """
    if re.match(r"(?i)(NAMES|CHARACTER\s+SET|CHARSET|(SESSION\s+)?TRANSACTION)\b", text):
        return
    at = 0
    while at < len(text):
        found = _ASSIGNMENT.match(text, at)
        if not found:
            raise read_only(f"SET {text[at : at + 40]}")
        at = found.end()
        scope, name, value = (found["scope"] or "").lower(), found["name"].lower(), found["value"].strip()
        if scope == "@":
            continue
        if "global" in scope or name in _FIXED:
            raise read_only(f"SET of {name}")
        if name not in DEFAULTS:
            raise fault(f"Unknown system variable '{found['name']}'", UNKNOWN_VARIABLE)
        value = value[1:-1] if value[:1] in ("'", '"') else value
        if value.upper() == "DEFAULT":
            value = DEFAULTS[name]
        if name in _WHOLE_NUMBERS:
            number(name, value)
        yield name, value
