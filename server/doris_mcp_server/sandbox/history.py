"""The statements that ended lately: what audit_log, a profile and the HTTP side tell of them."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from doris_mcp_server.sandbox.versions import DEMO, Version

KEPT = 500  # statements
_TIME = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True, slots=True)
class Ran:
    """A statement that ended. `started` is in UTC; `rows` are those it gave; `error` is empty when all went well."""

    query_id: str
    user: str
    peer: str
    catalog: str
    database: str
    statement: str
    started: datetime
    milliseconds: int
    rows: int
    gave_rows: bool
    error_code: int
    error: str
    version: Version

    @property
    def audit_state(self) -> str:
        """As audit_log has it: EOF after rows, OK without any, ERR (Doris' audit_log page)."""
        if self.error_code:
            return "ERR"
        return "EOF" if self.gave_rows else "OK"

    @property
    def state(self) -> str:
        """As the list of profiles has it."""
        return "ERR" if self.error_code else "OK"

    @property
    def profile_text(self) -> str:
        """A profile in Doris' layout; the times below the total are shares of it, nobody measured them."""
        plan, run = self.milliseconds // 10, self.milliseconds - self.milliseconds // 10
        summary = {
            "Profile ID": self.query_id,
            "Task Type": "QUERY",
            "Start Time": f"{self.started:{_TIME}}",
            "End Time": f"{self.started + timedelta(milliseconds=self.milliseconds):{_TIME}}",
            "Total": f"{self.milliseconds}ms",
            "Task State": self.state,
            "User": self.user,
            "Default Catalog": self.catalog,
            "Default Db": self.database,
            "Sql Statement": self.statement,
            "Doris Version": self.version.build,
        }
        execution = {
            "Plan Time": f"{plan}ms",
            "Wait and Fetch Result Time": f"{run}ms",
            "Total Instances Num": "1",
        }
        sink = {"RowsProduced": str(self.rows), "ExecTime": f"{run}ms", "DemoEngine": DEMO}
        return "".join(
            [
                *_section("Summary:", 0, summary),
                *_section("Execution Summary:", 0, execution),
                "MergedProfile:\n  Fragments:\n    Fragment 0:\n      Pipeline 0(instance_num=1):\n",
                *_section("RESULT_SINK_OPERATOR (id=0):", 8, sink),
            ]
        )


class History:
    """A bounded list of what ended."""

    def __init__(self) -> None:
        self._ran: deque[Ran] = deque(maxlen=KEPT)
        self._count = 0

    def add(self, ran: Ran) -> None:
        self._ran.append(ran)
        self._count += 1

    def recent(self) -> list[Ran]:
        """Newest first, at most KEPT."""
        return list(reversed(self._ran))

    def numbered(self) -> Iterator[tuple[int, Ran]]:
        """Oldest first, each with its number since the start."""
        return enumerate(tuple(self._ran), self._count - len(self._ran) + 1)

    def find(self, query_id: str) -> Ran | None:
        return next((ran for ran in reversed(self._ran) if ran.query_id == query_id), None)


def seed(history: History, version: Version, now: datetime) -> None:
    """Put in what somebody may have asked of the demo data before, so that the lists are not empty."""
    for at, (user, database, milliseconds, rows, statement) in enumerate(_BEFORE):
        history.add(
            Ran(
                query_id=f"{at + 1:016x}-{at + 1:016x}",
                user=user,
                peer="127.0.0.1:50000",
                catalog="internal",
                database=database,
                statement=statement,
                started=now - timedelta(minutes=10 * (len(_BEFORE) - at)),
                milliseconds=milliseconds,
                rows=rows,
                gave_rows=True,
                error_code=0,
                error="",
                version=version,
            )
        )


_BY_YEAR = "SELECT d_year, sum(lo_revenue) FROM lineorder JOIN dates ON lo_orderdate = d_datekey GROUP BY d_year"
_PAIRS = "SELECT count(*) FROM lineorder a JOIN lineorder b ON a.lo_custkey = b.lo_custkey"
# User, database, milliseconds, rows, statement.
_BEFORE = (
    ("report", "ssb", 412, 7, _BY_YEAR),
    ("report", "ssb", 95, 5, "SELECT c_region, count(*) FROM customer GROUP BY c_region"),
    ("report", "ssb", 2380, 1, _PAIRS),
    ("monitor", "ops", 31, 3, "SELECT level, count(*) FROM events GROUP BY level"),
)


def _section(title: str, indent: int, values: dict[str, str]) -> Iterator[str]:
    yield f"{' ' * indent}{title}\n"
    for name, value in values.items():
        yield f"{' ' * (indent + 3)}- {name}: {value}\n"
