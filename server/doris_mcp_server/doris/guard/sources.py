"""What a query reads from: tables, joins, queries, and rows made of values. Source: DorisParser.g4, from the rule
fromClause to relationPrimary."""

from enum import IntEnum
from typing import Final

from doris_mcp_server.doris.guard.expressions import BEGINS_QUERY, SET_OPERATORS
from doris_mcp_server.doris.guard.functions import FunctionGrammar
from doris_mcp_server.doris.guard.lexer import NUMBER, STRING
from doris_mcp_server.doris.guard.policy import Path
from doris_mcp_server.doris.guard.reading import Call, Role, Within, bare
from doris_mcp_server.errors import StatementRefused

NAMED_TABLES: Final = "Read from tables and views only; numbers(), unnest() and LATERAL VIEW explode() also work."
MAX_PARTS: Final = 3  # catalog, database, table
_JOINS: Final = (
    ("JOIN",),
    ("INNER", "JOIN"),
    ("CROSS", "JOIN"),
    *((side, *kind, "JOIN") for side in ("LEFT", "RIGHT") for kind in ((), ("OUTER",), ("SEMI",), ("ANTI",))),
    ("FULL", "JOIN"),
    ("FULL", "OUTER", "JOIN"),
)
_ASOF_JOINS: Final = (("ASOF", "JOIN"), ("ASOF", "LEFT", "JOIN"), ("ASOF", "INNER", "JOIN"))
_BEGINS_JOIN: Final = frozenset(join[0] for join in _JOINS)
_ENDS_FROM: Final = frozenset({"", ")", "WHERE", "GROUP", "HAVING", "QUALIFY", "ORDER", "LIMIT", *SET_OPERATORS})


class Source(IntEnum):
    """What parentheses in FROM hold."""

    RELATIONS = 0
    QUERY = 1
    VALUES = 2


class SourceGrammar(FunctionGrammar):
    """Reads the sources after FROM. `scope` holds the names of the visible CTEs."""

    scope: frozenset[str] = frozenset()

    def clause_begins(self) -> bool:
        """Whether a word that could be an alias begins a clause of its own."""
        word = self.words[self.index]
        follows = self.index + 1
        if word == "QUALIFY":
            return self.begins_value(follows) or self.words[follows] in ("NOT", "EXISTS")
        if word == "WINDOW":
            return self.may_name[follows] and self.words[follows + 1] == "AS"
        return word == "MATCH_CONDITION" and self.words[follows] == "("

    def sources(self) -> int:
        """Reads the sources after FROM. Returns how many tables and queries they are."""
        if self.at == "DUAL" and self.words[self.index + 1] in _ENDS_FROM:
            # Not a table to Doris, which has no other way to write it; one to us, should somebody have closed it.
            self.reading.tables.append(((self.tokens[self.index].text,), self.index))
            self.index += 1
            return 1
        return self._relations()

    def _relations(self) -> int:
        count = self._relation()
        while self.take(","):
            count += self._relation()
        return count

    def _relation(self) -> int:
        self._budget.step()
        self._source()
        return self._joins()

    def _joins(self) -> int:
        """Reads the joins after a source. Returns the number of all sources."""
        count = 1
        while self.at in _BEGINS_JOIN or self.at == "ASOF":
            asof = any(self.take_all(*join) for join in _ASOF_JOINS)
            if asof:
                self.since((4, 1, 0), "ASOF JOIN")
            elif not any(self.take_all(*join) for join in _JOINS):
                break
            self._budget.step()
            if self.at == "[":
                self._bracket_hint()
            self._source()
            count += 1
            if asof and self.take_all("MATCH_CONDITION", "("):
                self.expression()
                self.need(")")
            if self.take("ON"):
                self.expression()
            elif self.take("USING"):
                self.names()
        return count

    def _bracket_hint(self) -> None:
        """[shuffle], [shuffle[skew(t.c('x'))]]: its words are sent as they are."""
        self.need("[")
        self.word()
        if self.take("["):
            self._skewed()
        self.need("]")

    def _skewed(self) -> None:
        self.since((4, 0, 0), "[skew(...)]")
        self.word()
        self.need("(")
        self.name()
        while self.take("."):
            self.name()
        self.need("(")
        self.expressions()
        self.need(")")
        self.need(")")
        self.need("]")

    def _source(self) -> None:
        """A table, a query, a function that makes rows, or some of these in parentheses."""
        if self.take("("):
            source = self._in_from()
            self.need(")")
            if source is not Source.RELATIONS:
                self._alias(source)
                self._lateral_views()
        elif self.at == "LATERAL" or (self.may_name[self.index] and self.words[self.index + 1] == "("):
            self._table_function()
        else:
            self._table()

    def _in_from(self) -> Source:
        """Reads from an opening parenthesis in FROM to the closing one."""
        self._budget.step()
        if self.at in BEGINS_QUERY:
            return Source.QUERY if self.query(Within.FROM) else Source.VALUES
        if self.at != "(":
            self._relations()
            return Source.RELATIONS
        self.index += 1
        first = len(self.reading.selects)
        source = self._in_from()
        self.need(")")
        if source is not Source.RELATIONS:
            if self.at in SET_OPERATORS or self.at in ("ORDER", "LIMIT"):
                self.query_goes_on(self.reading.selects[first:])
                return Source.QUERY
            if self.at == ")":
                return source
            self._alias(source)
            self._lateral_views()
        self._joins()
        while self.take(","):
            self._relation()
        return Source.RELATIONS

    def _table(self) -> None:
        start = self.index
        path = self._path()
        if self.words[self.index] == "(":
            shown = ".".join(path)
            raise StatementRefused(f"{shown[:80]}() cannot be read from", hint=NAMED_TABLES, at=self.place_of(start))
        if not (len(path) == 1 and path[0] in self.scope):
            self.reading.tables.append((path, start))
        self._scan_parameters()
        if self.take("INDEX"):
            self.name()
        self._snapshot()
        self._partitions()
        if self.take_all("TABLET", "("):
            self.need(NUMBER)
            while self.take(","):
                self.need(NUMBER)
            self.need(")")
        self._alias(Source.QUERY)
        self._sample()
        if self.take("["):
            self.word()
            while self.take(","):
                self.word()
            self.need("]")
        self._lateral_views()

    def _path(self) -> Path:
        parts = [self.part_of_path()]
        while self.take("."):
            if len(parts) == MAX_PARTS:
                raise self.unexpected()
            parts.append(self.part_of_path())
        return tuple(parts)

    def _scan_parameters(self) -> None:
        """t@branch(b1), t@incr('k' = 'v')"""
        if not self.take("@"):
            return
        self.word()
        self.need("(")
        while self.at != ")":
            if self.at == STRING or self.words[self.index + 1] == "=":
                self._property()
            else:
                self.since((4, 0, 0), "t@branch(...)")
                self.name()
            if self.at != ")":
                self.need(",")
        self.need(")")

    def _property(self) -> None:
        """'k' = 'v': a name or a literal on both sides."""
        for sign in ("=", ""):
            if self.take_all("-", NUMBER):
                pass
            elif self.at in (STRING, NUMBER):
                self.index += 1
            else:
                self.name()
            if sign:
                self.need(sign)

    def _snapshot(self) -> None:
        if self.take_all("FOR", "VERSION", "AS", "OF") or self.take_all("FOR", "TIME", "AS", "OF"):
            if self.at != (NUMBER if self.words[self.index - 3] == "VERSION" else STRING):
                self.since((4, 0, 0), "FOR VERSION AS OF a name")
            self.need(NUMBER, STRING)

    def _partitions(self) -> None:
        if self.at == "TEMPORARY" and self.words[self.index + 1] in ("PARTITION", "PARTITIONS"):
            self.index += 1
        if self.at == "PARTITIONS" and self.words[self.index + 1] == "(":
            self.index += 1
            self.names()
        elif self.take("PARTITION"):
            if self.at == "(":
                self.names()
            else:
                self.name()

    def _alias(self, source: Source) -> None:
        """AS t (a, b)"""
        if self.take("AS") or (self.may_name[self.index] and not self.clause_begins() and not self._asof_join_begins()):
            self.name()
            if self.at == "(":
                self.names()
                # VALUES have no columns of a table: new names for them hide none that is masked.
                self.reading.renames |= source is Source.QUERY

    def _asof_join_begins(self) -> bool:
        return self.at == "ASOF" and any(tuple(self.words[self.index : self.index + len(j)]) == j for j in _ASOF_JOINS)

    def _sample(self) -> None:
        """TABLESAMPLE(10 PERCENT) REPEATABLE 2"""
        if not self.take("TABLESAMPLE"):
            return
        self.need("(")
        if self.take(NUMBER):
            self.need("PERCENT", "ROWS")
        self.need(")")
        if self.take("REPEATABLE"):
            self.need(NUMBER)

    def _lateral_views(self) -> None:
        while self.take_all("LATERAL", "VIEW"):
            self._budget.step()
            index = self.index
            if not self.may_name[index]:
                raise self.unexpected()
            self.reading.roles[index] = Role.FUNCTION
            self._row_function(index, "lateral view")
            self.name()
            self.need("AS")
            self.name()
            while self.take(","):
                # An older parser takes one column only, and the next name for a table.
                self.reading.perhaps.append((self.name(),))

    def _table_function(self) -> None:
        self.take("LATERAL")
        index = self.index
        if not self.may_name[index] or self.words[index + 1] != "(":
            raise self.unexpected()
        self.reading.roles[index] = Role.FUNCTION
        if self.at == "UNNEST":
            self.since((4, 1, 0), "unnest() in FROM")
        self._row_function(index, "from")
        self.take_all("WITH", "ORDINALITY")
        self._alias(Source.VALUES)
        self._lateral_views()

    def _row_function(self, index: int, place: str) -> None:
        call = Call(index, (bare(self.tokens[index]),), place)
        self.reading.calls.append(call)
        self.index += 1
        self.need("(")
        outer, self._around = self._around, call
        if self.at != ")":
            while True:
                self._argument()
                if not self.take(","):
                    break
        self._around = outer
        call.end = self.index
        self.need(")")
