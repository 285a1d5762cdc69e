"""The rows of the tables that tell of this moment, as the JSON their macros take (see sources.py)."""

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from doris_mcp_server.sandbox import audit, processes

if TYPE_CHECKING:
    from doris_mcp_server.sandbox.session import Session


def rows(parameter: str, session: "Session") -> str:
    """The rows for `live_…`, as the session may see them."""
    return json.dumps(list(_ROWS[parameter.removeprefix("live_")](session)))


def _audit_log(session: "Session") -> Iterable[dict[str, Any]]:
    return (audit.row(ran, number) for number, ran in session.engine.history.numbered())


def _processlist(session: "Session") -> Iterable[dict[str, Any]]:
    table = session.names.schema.table("internal", "information_schema", "processlist")
    assert table is not None
    for other in processes.seen_by(session):
        told = processes.row(other, session)
        yield {column.name: told[folded(column.name)] for column in table.columns}


def _active_queries(session: "Session") -> Iterable[dict[str, Any]]:
    for other in processes.seen_by(session):
        if running := other.running.statement:
            yield {
                "QUERY_ID": other.running.query_id,
                "QUERY_START_TIME": f"{other.running.started:%Y-%m-%d %H:%M:%S}",
                "QUERY_TIME_MS": int(other.running.seconds * 1000),
                "WORKLOAD_GROUP_ID": 1,
                "DATABASE": other.place.database or "",
                "FRONTEND_INSTANCE": "127.0.0.1",
                "QUERY_STATUS": "RUNNING",
                "USER": other.names.account.name,
                "SQL": running,
            }


def _session_variables(session: "Session") -> Iterable[dict[str, Any]]:
    columns = ("VARIABLE_NAME", "VARIABLE_VALUE", "DEFAULT_VALUE", "CHANGED")
    return (dict(zip(columns, row, strict=True)) for row in session.variables_listed())


def folded(column: str) -> str:
    """The key of `processes.row` for a column, however a line of Doris writes it."""
    return column.replace("_", "").lower()


_ROWS: dict[str, Callable[["Session"], Iterable[dict[str, Any]]]] = {
    "active_queries": _active_queries,
    "audit_log": _audit_log,
    "processlist": _processlist,
    "session_variables": _session_variables,
}
