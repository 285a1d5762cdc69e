"""One connection's state and what it does with a statement: where it stands, its variables, its running query."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import duckdb
from mysql_mimic.errors import MysqlError

from doris_mcp_server.sandbox import (
    catalog,
    dialect,
    features,
    live,
    nodes,
    plan,
    processes,
    query,
    results,
    storage,
    variables,
)
from doris_mcp_server.sandbox.asked import FILTER, NAME, TEXT, Answer, Asked, form
from doris_mcp_server.sandbox.engine import Engine
from doris_mcp_server.sandbox.faults import UNKNOWN_VARIABLE, fault, not_ready, not_supported
from doris_mcp_server.sandbox.history import Ran
from doris_mcp_server.sandbox.names import Names, Place, unquote
from doris_mcp_server.sandbox.results import Result
from doris_mcp_server.sandbox.running import Running
from doris_mcp_server.sandbox.schema import OPEN
from doris_mcp_server.sandbox.table import INTERNAL

_LONG = 2000  # characters above which a statement is translated off the loop
_HOME = Place(INTERNAL, None)


class Session:
    """What a connection knows. `begin`, `execute` and `end` frame a statement; `kill` may come at any time."""

    def __init__(
        self, engine: Engine, connection_id: int, names: Names, peer: str, disconnect: Callable[[], None]
    ) -> None:
        self.engine = engine
        self.id = connection_id
        self.names = names
        self.peer = peer
        self.place = _HOME
        self.running = Running()
        self.login = datetime.now(UTC)
        self._variables: dict[str, str] = {}
        self._disconnect = disconnect
        self._cursor: duckdb.DuckDBPyConnection | None = None
        self._convert: Callable[[tuple[Any, ...]], tuple[Any, ...]] | None = None

    def end(self, error: MysqlError | None, result: Result | None, rows: int) -> None:
        """The statement is over: note what became of it."""
        running = self.running
        self.engine.history.add(
            Ran(
                query_id=running.query_id,
                user=self.names.account.name,
                peer=self.peer,
                catalog=self.place.catalog,
                database=self.place.database or "",
                statement=running.statement or "",
                started=running.started,
                milliseconds=int(running.seconds * 1000),
                rows=rows,
                gave_rows=result is not None,
                error_code=error.code if error else 0,
                error=error.msg if error else "",
                version=self.names.schema.version,
            )
        )
        running.end()

    def kill(self, reason: MysqlError) -> None:
        """Interrupt the statement and end the connection."""
        self.running.stop(reason)
        self._disconnect()

    def close(self) -> None:
        if self._cursor:
            self._cursor.close()
            self._cursor = None

    def reset(self) -> None:
        self.place = _HOME
        self._variables.clear()

    def variable(self, name: str) -> str:
        return self._variables.get(name, self.engine.variables[name])

    def variables_listed(self) -> Iterator[tuple[str, str, str, str]]:
        """As SHOW VARIABLES lists them: name, value, default, and whether they differ."""
        for name, default in self.engine.variables.items():
            if shown := variables.listed(self.names.schema.version, name):
                value = self.variable(name)
                yield shown, value, default, "1" if value != default else "0"

    # --- statements

    async def execute(self, statement: str) -> Result | None:
        """Answer one statement; None where Doris answers OK. Raises MysqlError with Doris' number and words."""
        if not self.engine.ready:
            raise not_ready()
        if statement[:6].upper() == "SELECT":
            return await self._query(statement)
        for pattern, act in _ACTS:
            if found := pattern.fullmatch(statement):
                return act(self, found)
        if found := _EXPLAIN.fullmatch(statement):
            return await self._explain(found["query"])
        for pattern, show in _SHOWS:
            if found := pattern.fullmatch(statement):
                return results.text(show(Asked(found, self.names, self.place, self.engine.facts)))
        if re.match(r"(?i)(SHOW|DESC|DESCRIBE|EXPLAIN|HELP)\b", statement):
            raise not_supported(statement)
        return await self._query(statement)

    async def more(self) -> list[tuple[Any, ...]]:
        """The next rows of the query; fewer than `query.BATCH` are the last ones."""
        cursor = self._cursor
        assert cursor is not None
        return await self.running.in_thread(self.engine.threads, lambda: self._fetch(cursor), cursor)

    async def _query(self, statement: str) -> Result:
        asked = await self._translate(statement)
        self._limit(dict(asked.settings).get("query_timeout"))
        if asked.sleep:
            await self.running.sleep(asked.sleep)
        given = {name: self._value(name) for name in asked.parameters}
        if asked.constants is not None:
            return results.constant(asked, given)
        cursor = self._cursor = self._cursor or self.engine.cursor()

        def run() -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
            query.start(cursor, asked.sql, given)
            described = list(cursor.description or ())
            self._convert = results.converter(described, asked)
            return self._fetch(cursor), described

        rows, described = await self.running.in_thread(self.engine.threads, run, cursor)
        return Result(results.fields(described, asked), rows, more=len(rows) == query.BATCH)

    def _fetch(self, cursor: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
        rows = query.fetch(cursor)
        return [self._convert(row) for row in rows] if self._convert else rows

    async def _explain(self, statement: str) -> Result:
        asked = await self._translate(statement)
        self._limit(None)
        given = {name: self._value(name) for name in asked.parameters}
        cursor = self._cursor = self._cursor or self.engine.cursor()

        def run() -> str:
            query.start(cursor, f"EXPLAIN (FORMAT JSON) {asked.sql}", given)
            answer = cursor.fetchone()
            return str(answer[1]) if answer else "[]"

        lines = plan.lines(await self.running.in_thread(self.engine.threads, run, cursor))
        return results.text(Answer((plan.COLUMN,), [(line,) for line in lines]))

    async def _translate(self, statement: str) -> dialect.Query:
        if len(statement) < _LONG:
            return dialect.translate(statement, self.place, self.names)
        return await self.running.in_thread(
            self.engine.threads, lambda: dialect.translate(statement, self.place, self.names)
        )

    def _limit(self, hinted: str | None) -> None:
        self.running.limit(variables.number("query_timeout", hinted or self.variable("query_timeout")))

    def _value(self, parameter: str) -> Any:
        kind, _, name = parameter.partition("_")
        if kind == "var":
            if name not in self.engine.variables:
                raise fault(f"Unknown system variable '{name}'", UNKNOWN_VARIABLE)
            value = self.variable(name)
            return int(value) if value.isdigit() else value
        if kind == "live":
            return live.rows(parameter, self)
        if kind == "seen":
            return self.names.seen(name)
        return {
            "now": datetime.now(UTC).replace(tzinfo=None, microsecond=0),
            "database": self.place.database,
            "catalog": self.place.catalog,
            "user": self.names.user,
            "version": variables.VERSION,
            "connection_id": self.id,
            "last_query_id": self.running.query_id,
        }[parameter]

    # --- what a session answers itself

    def use_named(self, name: str) -> None:
        """USE of a bare `database` or `catalog.database`, as a handshake or COM_INIT_DB sends it."""
        catalog, _, database = name.rpartition(".")
        self._use_place(catalog, database)

    def _use(self, found: re.Match[str]) -> None:
        self._use_place(unquote(found["catalog"] or ""), unquote(found["database"]))

    def _use_place(self, catalog: str, database: str) -> None:
        catalog = self.names.find_catalog(catalog or self.place.catalog)
        self.place = Place(catalog, self.names.find_database(catalog, database))

    def _switch(self, found: re.Match[str]) -> None:
        self.place = Place(self.names.find_catalog(unquote(found["catalog"])), None)

    def _set(self, found: re.Match[str]) -> None:
        self._variables.update(dict(variables.assignments(found["rest"].strip())))

    def _nothing(self, found: re.Match[str]) -> None:
        """BEGIN, COMMIT, ROLLBACK: nothing is ever written."""

    def _kill(self, found: re.Match[str]) -> None:
        processes.kill(self, unquote(found["id"]), (found["kind"] or "CONNECTION").upper() == "CONNECTION")

    def _processlist(self, found: re.Match[str]) -> Result:
        columns = self.names.schema.show["processlist"]
        told = (processes.row(other, self) for other in processes.seen_by(self))
        rows = [tuple(str(row[live.folded(column)]) for column in columns) for row in told]
        return results.text(Answer(columns, rows))

    def _show_variables(self, found: re.Match[str]) -> Result:
        asked = Asked(found, self.names, self.place, self.engine.facts)
        rows = [row for row in self.variables_listed() if asked.like(row[0])]
        return results.text(asked.listing(self.names.schema.show["variables"], rows))

    def _grants(self, found: re.Match[str]) -> Result:
        """What it may do, in Doris' words: Admin_priv for everything, although all there is to do here is read."""
        account = self.names.account
        tables = [f"{grant}: Select_priv" for grant in account.grants if not grant.endswith("*")]
        databases = [f"{grant.removesuffix('.*')}: Select_priv" for grant in account.grants if grant.endswith(".*")]
        databases += [f"{INTERNAL}.{name}: Select_priv" for name in sorted(OPEN)]
        told = {
            "UserIdentity": f"'{account.name}'@'%'",
            "Password": "Yes" if account.password else "No",
            "GlobalPrivs": "Admin_priv" if account.is_admin else None,
            "DatabasePrivs": "; ".join(databases),
            "TablePrivs": "; ".join(tables) or None,
            "WorkloadGroupPrivs": "normal: Usage_priv",
        }
        columns = self.names.schema.show["grants"]
        return results.text(Answer(columns, [tuple(told.get(name) for name in columns)]))

    def _profile(self, found: re.Match[str]) -> Result:
        address = f"http://{nodes.HOST}:{self.engine.facts.http_port}/QueryProfile/{unquote(found['path'] or '')}"
        raise fault(f"try visit {address}, show query/load profile syntax is a deprecated feature")


_ACTS: tuple[tuple[re.Pattern[str], Callable[[Session, re.Match[str]], Result | None]], ...] = (
    (form(rf"USE (?:(?P<catalog>{NAME})\s*\.\s*)?(?P<database>{NAME})"), Session._use),
    (form(rf"SWITCH (?P<catalog>{NAME})"), Session._switch),
    (form(r"SET (?P<rest>.+)"), Session._set),
    (form(r"BEGIN|COMMIT|ROLLBACK|START TRANSACTION(?: READ ONLY)?"), Session._nothing),
    (form(r"KILL (?:(?P<kind>QUERY|CONNECTION) )?(?P<id>\d+|'[\w-]+'|\"[\w-]+\"|[\w-]+)"), Session._kill),
    (form(r"SHOW (?:FULL )?PROCESSLIST"), Session._processlist),
    (form(rf"SHOW (?:(?:GLOBAL|SESSION|LOCAL) )?VARIABLES{FILTER}"), Session._show_variables),
    (form(r"SHOW (?:ALL )?GRANTS"), Session._grants),
    (form(rf"SHOW (?:QUERY|LOAD) PROFILE(?: (?P<path>{TEXT}))?"), Session._profile),
)
_SHOWS = (*catalog.FORMS, *storage.FORMS, *nodes.FORMS, *features.FORMS)
_EXPLAIN = form(
    r"(?:EXPLAIN|DESC|DESCRIBE)"
    r"(?: (?:PARSED|ANALYZED|REWRITTEN|LOGICAL|OPTIMIZED|PHYSICAL|SHAPE|MEMO|DISTRIBUTED|ALL))?"
    r"(?: (?:PLAN|VERBOSE|TREE|GRAPH|DUMP))?(?: PROCESS)?\s+(?P<query>(?:SELECT\b|WITH\b|VALUES\b|\().*)"
)
