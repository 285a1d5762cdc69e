"""Profiles and lists of recent queries as the versions of the frontend write them."""

from typing import Any

import pytest

from doris_mcp_server.doris.http.profiles import RecentQuery, plain_text, recent_queries
from doris_mcp_server.errors import QueryFailed

START = "2026-11-25 10:00:00"
SEEN = RecentQuery("1-2", "fe:8030", "ann", "ssb", "SELECT 1", START, "5ms", "EOF")
HEAD = ["1-2", "fe:8030"]
TIMES = [START, START, "5ms", "EOF"]


@pytest.mark.parametrize(
    "row",
    [
        [*HEAD, "ann", "ssb", "SELECT 1", "Query", START, START, "5ms", "EOF"],
        [*HEAD, "query", "ssb", "SELECT 1", "Query", START, START, "5ms", "EOF"],
        [*HEAD, "QUERY", *TIMES, "ann", "ssb", "SELECT 1"],
        [*HEAD, "QUERY", *TIMES, "ann", "ssb", "SELECT 1", "N/A"],
        [*HEAD, "QUERY", *TIMES, "ann", "ssb", "SELECT 1", "\nPhysicalResultSink[1]"],
        [*HEAD, "QUERY", *TIMES, "ann", "internal", "ssb", "SELECT 1"],
        [*HEAD, "QUERY", *TIMES, "ann", "internal", "ssb", "SELECT 1", "N/A", "N/A"],
        [*HEAD, "QUERY", *TIMES, "ann", "internal", "ssb", "SELECT 1", "N/A", "N/A", "COMPLETE"],
    ],
    ids=["as named", "a user called query", "2.0", "3.0", "3.0 with a plan", "catalog", "3.1", "4.0"],
)
def test_the_rows_of_all_versions(row: list[str]) -> None:
    (query,) = recent_queries({"column_names": ["whatever"], "rows": [row]})
    assert query == (SEEN if "ann" in row else RecentQuery(**{**_fields(SEEN), "user": "query"}))


def _fields(query: RecentQuery) -> dict[str, str]:
    return {name: getattr(query, name) for name in RecentQuery.__slots__}


def test_the_newest_come_first() -> None:
    rows = [[str(n), "fe", "QUERY", f"2026-11-2{n} 10:00:00", "", "1ms", "EOF", "a", "d", "S"] for n in (3, 5, 4)]
    assert [query.id for query in recent_queries({"rows": rows})] == ["5", "4", "3"]


def test_null_is_empty() -> None:
    (query,) = recent_queries({"rows": [[*HEAD, "QUERY", *TIMES, None, None, None, "SELECT 1", None]]})
    assert (query.user, query.database) == ("", "")


@pytest.mark.parametrize(
    "data", [None, "x", [], {}, {"rows": None}, {"rows": [[]]}, {"rows": [["a"] * 6]}, {"rows": [7]}]
)
def test_what_is_no_list_of_queries(data: Any) -> None:
    with pytest.raises(QueryFailed, match="form"):
        recent_queries(data)


@pytest.mark.parametrize(
    ("marked", "plain"),
    [
        ("a&nbsp;&nbsp;b</br>&nbsp;&nbsp;&nbsp;&nbsp;-&nbsp;&nbsp;c<br/>d<br>", "a b\n  - c\nd\n"),
        ("x&nbsp;&nbsp;&lt;&nbsp;&nbsp;1&amp;2</br>", "x < 1&2\n"),
        ("one&nbsp;blank", "one blank"),
        ("plain: SELECT '&nbsp;<br/>'\n", "plain: SELECT '&nbsp;<br/>'\n"),
        ("", ""),
    ],
)
def test_markup(marked: str, plain: str) -> None:
    assert plain_text(marked) == plain
