"""Who is connected and what they run: SHOW PROCESSLIST and KILL, each account its own, an admin all."""

from typing import TYPE_CHECKING, Any

from doris_mcp_server.sandbox.faults import NO_SUCH_QUERY, NO_SUCH_THREAD, NOT_OWNER, fault

if TYPE_CHECKING:
    from doris_mcp_server.sandbox.session import Session


def seen_by(session: "Session") -> list["Session"]:
    """The sessions it may know of."""
    everybody = session.engine.sessions.values()
    return [s for s in everybody if session.names.account.is_admin or s.names.account == session.names.account]


def row(other: "Session", asking: "Session") -> dict[str, Any]:
    """What the process list tells of a session, by column name without its underscores, in lower case."""
    return {
        "currentconnected": "Yes" if other is asking else "No",
        "id": other.id,
        "user": other.names.account.name,
        "host": other.peer,
        "logintime": f"{other.login:%Y-%m-%d %H:%M:%S}",
        "catalog": other.place.catalog,
        "db": other.place.database or "",
        "command": "Query" if other.running.statement else "Sleep",
        "time": int(other.running.seconds),
        "state": "OK",
        "queryid": other.running.query_id,
        "traceid": other.variable("session_context").removeprefix("trace_id:"),
        "info": other.running.statement or "",
        "fe": "127.0.0.1",
        "cloudcluster": "",
    }


def kill(asking: "Session", target: str, whole: bool) -> None:
    """Stop a query, or end the `whole` connection. Raises Doris' errors: there is none, or it is somebody else's."""
    victim = _victim(asking, target)
    if victim not in seen_by(asking):
        raise fault(f"You are not owner of thread {target}", NOT_OWNER)
    reason = fault(f"cancel query by user from {asking.peer}")
    if whole and victim is not asking:
        victim.kill(reason)
    else:
        victim.running.stop(reason)


def _victim(asking: "Session", target: str) -> "Session":
    sessions = asking.engine.sessions
    if target.isdigit():
        if victim := sessions.get(int(target)):
            return victim
        raise fault(f"Unknown thread id: {target}", NO_SUCH_THREAD)
    for session in sessions.values():
        if session.running.statement and session.running.query_id == target:
            return session
    raise fault(f"Unknown query id: {target}", NO_SUCH_QUERY)
