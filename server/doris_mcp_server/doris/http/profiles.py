"""What frontends say about queries that ran: profiles and the list of recent ones, as their versions write them.

Nothing here does I/O. Sources: QueryProfileAction, QueryProfileController and SummaryProfile of the frontend.
"""

import html
import re
from dataclasses import dataclass
from typing import Any, Final

from doris_mcp_server.errors import QueryFailed

_LINE_END: Final = re.compile(r"<\s*/?\s*br\s*/?\s*>", re.IGNORECASE)
_TASKS: Final = frozenset({"query", "load"})


@dataclass(frozen=True, slots=True)
class RecentQuery:
    """One row of query_info, all of it Doris' text: `started` in its own time zone, `duration` like 1sec20ms."""

    id: str
    frontend: str
    user: str
    database: str
    statement: str
    started: str
    duration: str
    state: str


def plain_text(profile: str) -> str:
    """A profile without the markup that the frontend's older page puts into it.

    That page leaves neither a blank nor a line end: two &nbsp; stand for a blank and </br> for a line end. Only then
    is anything decoded, since a plain profile quotes the statement, where the same characters may be meant.
    """
    if " " in profile or "\n" in profile:
        return profile
    return html.unescape(_LINE_END.sub("\n", profile).replace("&nbsp;&nbsp;", " ")).replace("\xa0", " ")


def recent_queries(data: Any) -> list[RecentQuery]:
    """The rows of query_info, newest first. QueryFailed if they are none.

    Doris names ten columns, but since 2.0 its rows come in another order and with more values (id, frontend, kind of
    task, start, end, duration, state, user, perhaps a catalog, database, statement, plans). As the names say, the kind
    of task would be the sixth.
    """
    try:
        found = [_named(row) if _text(row[5]).lower() in _TASKS else _new(row) for row in data["rows"]]
    except (TypeError, KeyError, IndexError, ValueError):
        raise QueryFailed("Doris' list of recent queries has a form this server does not know") from None
    return sorted(found, key=lambda query: query.started, reverse=True)


def _named(row: list[Any]) -> RecentQuery:
    id, frontend, user, database, statement, _, started, _, duration, state, *_ = map(_text, row)
    return RecentQuery(id, frontend, user, database, statement, started, duration, state)


def _new(row: list[Any]) -> RecentQuery:
    id, frontend, _, started, _, duration, state, user, *rest = map(_text, row)
    # Three values are catalog, database, statement or database, statement, plan; a plan is N/A or names its nodes.
    catalog = len(rest) > 3 or (len(rest) == 3 and not rest[2].lstrip().startswith(("N/A", "Physical")))
    database, statement = rest[1:3] if catalog else rest[:2]
    return RecentQuery(id, frontend, user, database, statement, started, duration, state)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
