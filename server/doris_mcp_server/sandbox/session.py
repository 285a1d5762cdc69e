"""One connection's state and what it does with a statement: where it stands, its variables, its running query."""

import asyncio
import json
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import duckdb
from mysql_mimic.errors import MysqlError
from mysql_mimic.results import ResultColumn
from mysql_mimic.types import ColumnType

from doris_mcp_server.sandbox import dialect, plan, variables
from doris_mcp_server.sandbox.catalog import Answer, Place, like, not_supported
from doris_mcp_server.sandbox.columns import SHOW
from doris_mcp_server.sandbox.engine import Engine
from doris_mcp_server.sandbox.names import (
    NO_SUCH_QUERY,
    NO_SUCH_THREAD,
    READ_ONLY,
    UNKNOWN_VARIABLE,
    fault,
    find_catalog,
    find_database,
    unquote,
)
from doris_mcp_server.sandbox.tables import INTERNAL

T = TypeVar("T")

BATCH = 1000  # rows fetched, and written, at a time
_LONG = 2000  # characters above which a statement is translated off the loop
_TYPES = {
    "BOOLEAN": ColumnType.TINY,
    "TINYINT": ColumnType.TINY,
    "SMALLINT": ColumnType.SHORT,
    "INTEGER": ColumnType.LONG,
    "BIGINT": ColumnType.LONGLONG,
    "UBIGINT": ColumnType.LONGLONG,
    "UINTEGER": ColumnType.LONGLONG,
    "USMALLINT": ColumnType.LONG,
    "UTINYINT": ColumnType.SHORT,
    # DuckDB sums bigints into a hugeint, Doris into a bigint.
    "HUGEINT": ColumnType.LONGLONG,
    "FLOAT": ColumnType.FLOAT,
    "DOUBLE": ColumnType.DOUBLE,
    "DATE": ColumnType.DATE,
    "TIMESTAMP": ColumnType.DATETIME,
    "TIME": ColumnType.TIME,
    "DECIMAL": ColumnType.NEWDECIMAL,
    "VARCHAR": ColumnType.VAR_STRING,
}


@dataclass(frozen=True, slots=True)
class Field:
    """A result column: mysql-mimic's, and the digits after the point that its header tells."""

    column: Any
    decimals: int = 0


@dataclass(slots=True)
class Result:
    """Columns, the first rows, and whether `Session.more` has others."""

    fields: list[Field]
    rows: Sequence[Sequence[Any]]
    more: bool = False


class Session:
    """What a connection knows. `execute` answers one statement at a time; `stop` may come at any time."""

    def __init__(self, engine: Engine, connection_id: int, peer: str, disconnect: Callable[[], None]) -> None:
        self.engine = engine
        self.id = connection_id
        self.peer = peer
        self.user = ""
        self.catalog = INTERNAL
        self.database: str | None = None
        self.variables: dict[str, str] = {}
        self.statement: str | None = None
        self.query_id = ""
        self._disconnect = disconnect
        self._login = datetime.now(UTC)
        self._since = time.monotonic()
        self._cursor: duckdb.DuckDBPyConnection | None = None
        self._stop: asyncio.Future[MysqlError] | None = None
        self._timer: asyncio.TimerHandle | None = None

    # --- the life of a statement

    def begin(self, statement: str) -> None:
        self.statement = statement
        number = uuid.uuid4().hex
        self.query_id = f"{number[:16]}-{number[16:]}"
        self._since = time.monotonic()
        self._stop = asyncio.get_running_loop().create_future()

    def end(self) -> None:
        self.statement, self._stop, self._since = None, None, time.monotonic()
        if self._timer:
            self._timer.cancel()
            self._timer = None

    @property
    def seconds(self) -> float:
        """How long the statement has been running, or nothing has."""
        return time.monotonic() - self._since

    def stop(self, reason: MysqlError) -> None:
        """Interrupt the statement that is running, if any; its client gets `reason`."""
        if self._stop and not self._stop.done():
            self._stop.set_result(reason)

    def kill(self, reason: MysqlError) -> None:
        """Interrupt the statement and end the connection."""
        self.stop(reason)
        self._disconnect()

    def close(self) -> None:
        if self._cursor:
            self._cursor.close()
            self._cursor = None

    def reset(self) -> None:
        self.catalog, self.database = INTERNAL, None
        self.variables.clear()

    async def until_stopped(self, work: Awaitable[T]) -> T:
        """Wait for `work`, or raise the reason for which the statement was stopped meanwhile."""
        job = asyncio.ensure_future(work)
        assert self._stop is not None
        await asyncio.wait({job, self._stop}, return_when=asyncio.FIRST_COMPLETED)
        if self._stop.done():
            job.cancel()
            await asyncio.wait({job})
            raise self._stop.result()
        return job.result()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run `work` with DuckDB in a thread; stopped, interrupt DuckDB until it lets go."""
        stop = self._stop
        assert stop is not None

        def unless_stopped() -> T:
            if stop.done():
                raise stop.result()
            return work()

        job = asyncio.get_running_loop().run_in_executor(self.engine.threads, unless_stopped)
        try:
            await asyncio.wait({job, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # An interrupt that comes before DuckDB has begun is lost, hence again and again.
            while not job.done():
                if self._cursor:
                    self._cursor.interrupt()
                await asyncio.wait({job}, timeout=0.02)
        if stop.done():
            job.exception()
            raise stop.result()
        return job.result()

    # --- statements

    async def execute(self, statement: str) -> Result | None:
        """Answer one statement; None where Doris answers OK. Raises MysqlError with Doris' number and words."""
        word = statement[:6].upper()
        if word == "SELECT":
            return await self._query(statement)
        for pattern, act in _ACTS:
            if found := pattern.fullmatch(statement):
                return act(self, found)
        if found := _EXPLAIN.fullmatch(statement):
            return await self._explain(found["query"])
        if answer := self.engine.catalog.answer(statement, Place(self.catalog, self.database)):
            return _text(answer)
        if re.match(r"(?i)(SHOW|DESC|DESCRIBE|EXPLAIN|HELP)\b", statement):
            raise not_supported(statement)
        return await self._query(statement)

    async def more(self) -> list[tuple[Any, ...]]:
        """The next rows of the query; fewer than BATCH are the last ones."""
        cursor = self._cursor
        assert cursor is not None
        return await self._in_thread(lambda: _rows(cursor))

    async def _query(self, statement: str) -> Result:
        query = await self._translate(statement)
        self._limit(dict(query.settings).get("query_timeout"))
        if query.sleep:
            assert self._stop is not None
            await asyncio.wait({self._stop}, timeout=query.sleep)
            if self._stop.done():
                raise self._stop.result()
        values = {name: self._value(name) for name in query.parameters}
        if query.constants is not None:
            return self._constant(query, values)
        cursor = self._cursor = self._cursor or self.engine.cursor()

        def run() -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
            _start(cursor, query.sql, values)
            return _rows(cursor), list(cursor.description or ())

        rows, description = await self._in_thread(run)
        return Result(_fields(description, query), rows, more=len(rows) == BATCH)

    async def _explain(self, statement: str) -> Result:
        query = await self._translate(statement)
        self._limit(None)
        values = {name: self._value(name) for name in query.parameters}
        cursor = self._cursor = self._cursor or self.engine.cursor()

        def run() -> str:
            _start(cursor, f"EXPLAIN (FORMAT JSON) {query.sql}", values)
            answer = cursor.fetchone()
            return str(answer[1]) if answer else "[]"

        lines = plan.lines(await self._in_thread(run))
        return _text(Answer((plan.COLUMN,), [(line,) for line in lines]))

    async def _translate(self, statement: str) -> dialect.Query:
        arguments = (statement, self.catalog, self.database)
        if len(statement) < _LONG:
            return dialect.translate(*arguments)
        return await self._in_thread(lambda: dialect.translate(*arguments))

    def _limit(self, hinted: str | None) -> None:
        seconds = variables.number("query_timeout", hinted or self._variable("query_timeout"))
        reason = fault("query is timeout, killed by timeout checker")
        self._timer = asyncio.get_running_loop().call_later(seconds, self.stop, reason)

    def _variable(self, name: str) -> str:
        return self.variables.get(name, variables.DEFAULTS[name])

    def _value(self, parameter: str) -> Any:
        if parameter.startswith("var_"):
            name = parameter.removeprefix("var_")
            if name not in variables.DEFAULTS:
                raise fault(f"Unknown system variable '{name}'", UNKNOWN_VARIABLE)
            value = self._variable(name)
            return int(value) if value.isdigit() else value
        return {
            "now": datetime.now(UTC).replace(tzinfo=None, microsecond=0),
            "database": self.database,
            "catalog": self.catalog,
            "user": f"'{self.user}'@'{self.peer.rsplit(':', 1)[0]}'",
            "version": variables.VERSION,
            "connection_id": self.id,
            "last_query_id": self.query_id,
        }[parameter]

    def _constant(self, query: dialect.Query, values: dict[str, Any]) -> Result:
        assert query.constants is not None
        row = tuple(values[c.parameter] if c.parameter else c.value for c in query.constants)
        fields = [Field(ResultColumn(name, _type_of(value))) for name, value in zip(query.names, row, strict=True)]
        return Result(fields, [row])

    # --- what a session answers itself

    def use(self, found: re.Match[str]) -> None:
        catalog = find_catalog(unquote(found["catalog"])) if found["catalog"] else self.catalog
        self.database = find_database(catalog, unquote(found["database"]))
        self.catalog = catalog

    def use_named(self, name: str) -> None:
        """USE of a bare `database` or `catalog.database`, as a handshake or COM_INIT_DB sends it."""
        catalog, _, database = name.rpartition(".")
        catalog = find_catalog(catalog) if catalog else self.catalog
        self.database, self.catalog = find_database(catalog, database), catalog

    def _switch(self, found: re.Match[str]) -> None:
        self.catalog, self.database = find_catalog(unquote(found["catalog"])), None

    def _set(self, found: re.Match[str]) -> None:
        self.variables.update(dict(variables.assignments(found["rest"].strip())))

    def _nothing(self, found: re.Match[str]) -> None:
        """BEGIN, COMMIT, ROLLBACK: nothing is ever written."""

    def _kill(self, found: re.Match[str]) -> None:
        target, whole = unquote(found["id"]), (found["kind"] or "CONNECTION").upper() == "CONNECTION"
        if target.isdigit():
            victim = self.engine.sessions.get(int(target))
            if victim is None:
                raise fault(f"Unknown thread id: {target}", NO_SUCH_THREAD)
        else:
            running = (s for s in self.engine.sessions.values() if s.statement and s.query_id == target)
            victim = next(running, None)
            if victim is None:
                raise fault(f"Unknown query id: {target}", NO_SUCH_QUERY)
        reason = fault(f"cancel query by user from {self.peer}")
        if whole and victim is not self:
            victim.kill(reason)
        else:
            victim.stop(reason)

    def _processlist(self, found: re.Match[str]) -> Result:
        rows = []
        for s in self.engine.sessions.values():
            values = {
                "CurrentConnected": "Yes" if s is self else "No",
                "Id": str(s.id),
                "User": s.user,
                "Host": s.peer,
                "LoginTime": f"{s._login:%Y-%m-%d %H:%M:%S}",
                "Catalog": s.catalog,
                "Db": s.database or "",
                "Command": "Query" if s.statement else "Sleep",
                "Time": str(int(s.seconds)),
                "State": "OK",
                "QueryId": s.query_id,
                "TraceId": s._variable("session_context").removeprefix("trace_id:"),
                "Info": s.statement or "",
                "FE": "127.0.0.1",
            }
            rows.append(tuple(values.get(name, "") for name in SHOW["processlist"]))
        return _text(Answer(SHOW["processlist"], rows))

    def _variables(self, found: re.Match[str]) -> Result:
        matches = like(found["like"][1:-1]) if found["like"] else lambda name: True
        names = ("Variable_name", "Value", "Default_Value", "Changed")
        rows = []
        for name, default in variables.DEFAULTS.items():
            if matches(name):
                value = self._variable(name)
                rows.append((name, value, default, "1" if value != default else "0"))
        return _text(Answer(names, rows))

    def _grants(self, found: re.Match[str]) -> Result:
        values = {"UserIdentity": f"'{self.user}'@'%'", "Password": "Yes", "GlobalPrivs": "Select_priv"}
        return _text(Answer(SHOW["grants"], [tuple(values.get(name) for name in SHOW["grants"])]))


def _form(text: str) -> re.Pattern[str]:
    return re.compile(text.replace(" ", r"\s+"), re.IGNORECASE | re.DOTALL)


_NAME = r"(?:`[^`]+`|[\w$-]+)"
_ACTS: tuple[tuple[re.Pattern[str], Callable[[Session, re.Match[str]], Result | None]], ...] = (
    (_form(rf"USE (?:(?P<catalog>{_NAME})\s*\.\s*)?(?P<database>{_NAME})"), Session.use),
    (_form(rf"SWITCH (?P<catalog>{_NAME})"), Session._switch),
    (_form(r"SET (?P<rest>.+)"), Session._set),
    (_form(r"BEGIN|COMMIT|ROLLBACK|START TRANSACTION(?: READ ONLY)?"), Session._nothing),
    (_form(r"KILL (?:(?P<kind>QUERY|CONNECTION) )?(?P<id>\d+|'[\w-]+'|\"[\w-]+\"|[\w-]+)"), Session._kill),
    (_form(r"SHOW (?:FULL )?PROCESSLIST"), Session._processlist),
    (_form(r"SHOW (?:(?:GLOBAL|SESSION) )?VARIABLES(?: LIKE (?P<like>'[^']*'|\"[^\"]*\"))?"), Session._variables),
    (_form(r"SHOW (?:ALL )?GRANTS"), Session._grants),
)
_EXPLAIN = _form(
    r"(?:EXPLAIN|DESC|DESCRIBE)"
    r"(?: (?:PARSED|ANALYZED|REWRITTEN|LOGICAL|OPTIMIZED|PHYSICAL|SHAPE|MEMO|DISTRIBUTED|ALL))?"
    r"(?: (?:PLAN|VERBOSE|TREE|GRAPH|DUMP))?(?: PROCESS)?\s+(?P<query>(?:SELECT\b|WITH\b|VALUES\b|\().*)"
)


def _start(cursor: duckdb.DuckDBPyConnection, sql: str, values: dict[str, Any]) -> None:
    """Run one SELECT or EXPLAIN and nothing else, whatever the translation may have let through."""
    try:
        statements = cursor.extract_statements(sql)
        allowed = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
        if len(statements) != 1 or statements[0].type not in allowed:
            raise fault("the demo engine is read-only", READ_ONLY)
        cursor.execute(statements[0], values)
    except duckdb.Error as e:
        raise _fault_of(e) from None


def _rows(cursor: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    try:
        rows = cursor.fetchmany(BATCH)
    except duckdb.Error as e:
        raise _fault_of(e) from None
    if _nested(cursor):
        return [tuple(_plain(value) for value in row) for row in rows]
    return rows


def _nested(cursor: duckdb.DuckDBPyConnection) -> bool:
    """Whether a column is a list, a struct or a map: Doris sends these as text."""
    return any(str(d[1]).endswith("]") or str(d[1]).startswith(("STRUCT", "MAP")) for d in cursor.description)


def _plain(value: Any) -> Any:
    if isinstance(value, (list, dict)):
        return json.dumps(value, default=str, ensure_ascii=False)
    return value


def _fault_of(error: duckdb.Error) -> MysqlError:
    """DuckDB's words, in Doris' where a person would look for them."""
    text = str(error).split("\n", 1)[0]
    if found := re.search(r'Referenced column "([^"]+)" (?:was )?not found', text):
        return fault(f"Unknown column '{found[1]}' in 'table list' in PROJECT clause")
    if found := re.search(r"(?:Scalar|Aggregate|Table)? ?Function with name \"?(\w+)\"? does not exist", text):
        return fault(f"Can not found function '{found[1].upper()}'")
    return fault(re.sub(r"^\w+ Error: ", "", text))


def _fields(description: Sequence[Sequence[Any]], query: dialect.Query) -> list[Field]:
    fields = []
    for at, (name, kind, *_) in enumerate(description):
        label = query.labels[at] if at < len(query.labels) else None
        base, _, rest = str(kind).partition("(")
        type_ = ColumnType.STRING if base.endswith("]") else _TYPES.get(base, ColumnType.STRING)
        if base == "HUGEINT" and query.largeint:
            type_ = ColumnType.STRING
        decimals = int(rest.rstrip(")").split(",")[1]) if base == "DECIMAL" else 0
        fields.append(Field(ResultColumn(label or name, type_), decimals))
    return fields


def _type_of(value: Any) -> Any:
    if isinstance(value, bool):
        return ColumnType.TINY
    if isinstance(value, int):
        for limit, kind in ((1 << 7, "TINY"), (1 << 15, "SHORT"), (1 << 31, "LONG"), (1 << 63, "LONGLONG")):
            if -limit <= value < limit:
                return ColumnType[kind]
    return ColumnType.DATETIME if isinstance(value, datetime) else ColumnType.VAR_STRING


def _text(answer: Answer) -> Result:
    return Result([Field(ResultColumn(name, ColumnType.VAR_STRING)) for name in answer.columns], answer.rows)
