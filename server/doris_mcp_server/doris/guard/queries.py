"""Queries. Source: the rules query, querySpecification and queryOrganization of DorisParser.g4."""

from collections.abc import Callable
from typing import Final

from doris_mcp_server.doris.guard.expressions import SET_OPERATORS
from doris_mcp_server.doris.guard.lexer import HINT, NUMBER, STRING
from doris_mcp_server.doris.guard.reading import Item, Reading, Select, Within
from doris_mcp_server.doris.guard.sources import SourceGrammar

_KIND: Final = {"UNION": "union", "INTERSECT": "intersect", "EXCEPT": "except", "MINUS": "except"}


class QueryGrammar(SourceGrammar):
    """Reads a query, and notes in `reading` what it does."""

    _kind = ""

    def whole(self) -> Reading:
        """Reads the statement as one query. Raises StatementRefused if it is not a query."""
        found = self.query(Within.OUTERMOST)
        if self.at:
            raise self.unexpected()
        self.reading.kind = self._kind
        if self._kind != "select":
            for select in found:
                select.within = Within.ELSEWHERE
        return self.reading

    # --- queries

    def query(self, within: Within) -> list[Select]:
        """Reads WITH ... SELECT ... UNION ... ORDER BY ... LIMIT. Returns the SELECTs in it."""
        self._budget.step()
        outer = self.scope
        if self.take("WITH"):
            self._ctes()
        kind = "subquery" if self.at == "(" else "select"
        found = self.query_goes_on(self._query_primary(within), kind)
        self.scope = outer
        return found

    def query_goes_on(self, found: list[Select], kind: str = "subquery") -> list[Select]:
        """The rest of a query whose first part has been read."""
        operators = []
        while self.at in SET_OPERATORS:
            operators.append(_KIND[self.at])
            self.index += 1
            self.take("ALL", "DISTINCT")
            found += self._query_primary(Within.ELSEWHERE)
        if operators:
            loosest = [operator for operator in operators if operator != "intersect"]
            kind = loosest[-1] if loosest else "intersect"
            for select in found:
                select.within = Within.ELSEWHERE
        self.order_by()
        self._limit()
        self._kind = kind
        return found

    def _ctes(self) -> None:
        recursive = self.at == "RECURSIVE" and self.may_name[self.index + 1] and self.words[self.index + 1] != "AS"
        if recursive:
            self.index += 1
        while True:
            name = self.name()
            if self.at == "(":
                self.names()
                self.reading.renames = True
            self.need("AS")
            self.need("(")
            start, first = self.index, len(self.reading.tables)
            self.query(Within.CTE)
            if recursive and self._is_recursive(start):
                self._drop_itself(name, first)
            self.scope = self.scope | {name}
            self.need(")")
            if not self.take(","):
                return

    def _is_recursive(self, start: int) -> bool:
        """Whether a query of WITH RECURSIVE is two plain SELECTs with UNION between them. In any other form, Doris may
        take its own name in it for a table."""
        inside = self.words[start : self.index]
        if not {"WITH", "VALUES", "INTERSECT", "EXCEPT", "MINUS"}.isdisjoint(inside):
            return False
        return inside.count("UNION") == 1 and inside.count("SELECT") == 2 and inside[0] == "SELECT"

    def _drop_itself(self, name: str, first: int) -> None:
        """In the second SELECT, the name of the WITH query is not a table."""
        union = next(index for index in range(self.index, 0, -1) if self.words[index] == "UNION")
        tables = self.reading.tables
        tables[first:] = [(path, at) for path, at in tables[first:] if path != (name,) or at < union]

    def _query_primary(self, within: Within) -> list[Select]:
        if self.at == "SELECT":
            return [self._select(within)]
        if self.take("VALUES"):
            self._lists(self._row)
            return []
        self.need("(")
        found = self.query(within)
        self.need(")")
        return found

    def _lists(self, content: Callable[[], object]) -> None:
        """(1, 'a'), (), (2, 'b')"""
        while True:
            self.need("(")
            if self.at != ")":
                content()
            self.need(")")
            if not self.take(","):
                return

    def _row(self) -> None:
        while True:
            if not (self.at == "DEFAULT" and self.words[self.index + 1] in (",", ")")):
                self.expression()
                if self.take("AS") or self.may_name[self.index] or self.at == STRING:
                    self.name_or_text()
            else:
                self.index += 1
            if not self.take(","):
                return

    def _select(self, within: Within) -> Select:
        self._budget.step()
        self.need("SELECT")
        while self.take(HINT):
            pass
        select = Select(within)
        self.reading.selects.append(select)
        if self.take("DISTINCT"):
            select.is_combined = True
        else:
            self.take("ALL")
        self._items(select)
        if self.take("FROM"):
            select.sources = self.sources()
        if self.take("WHERE"):
            self.expression()
        if self.take("GROUP"):
            self.need("BY")
            select.is_combined = True
            self._grouping()
        if self.take("HAVING"):
            self.expression()
        self._qualify()
        if self.at == "WINDOW" and self.may_name[self.index + 1]:
            self._windows()
        self.order_by()
        self._limit()
        return select

    def _items(self, select: Select) -> None:
        while True:
            self._budget.step()
            start = self.index
            shape = self.expression()
            end = self.index
            named = self.take("AS")
            if named:
                self.name_or_text()
            elif self.at == STRING or (self.may_name[self.index] and not self.clause_begins()):
                self.name_or_text()
                named = True
            select.items.append(Item(start, end, shape, named))
            if not self.take(","):
                return

    def _grouping(self) -> None:
        if self.at in ("ROLLUP", "CUBE") and self.words[self.index + 1] == "(":
            self.index += 2
            if self.at != ")":
                self.expressions()
            self.need(")")
        elif self.take_all("GROUPING", "SETS"):
            self.need("(")
            self._lists(self.expressions)
            self.need(")")
        else:
            self._group_items()

    def _group_items(self) -> None:
        while True:
            self.expression()
            if self.at in ("ASC", "DESC"):
                self.since((4, 0, 0), "GROUP BY ... ASC or DESC")
                self.index += 1
            if not self.take(","):
                break
        if self.at == "WITH" and self.words[self.index + 1] == "ROLLUP":
            self.since((4, 0, 0), "WITH ROLLUP")
            self.index += 2

    def _qualify(self) -> None:
        if self.at == "QUALIFY" and self.clause_begins():
            self.since((4, 0, 0), "QUALIFY")
            self.index += 1
            self.expression()

    def _windows(self) -> None:
        self.since(None, "WINDOW")
        self.index += 1
        while True:
            self.name()
            self.need("AS")
            self.need("(")
            self.window_specification()
            self.need(")")
            if not self.take(","):
                return

    def order_by(self) -> None:
        if not self.take("ORDER"):
            return
        self.need("BY")
        while True:
            start = self.index
            self.expression()
            self.reading.orders_by_place |= self._is_place(start)
            self.take("ASC", "DESC")
            if self.at == "NULLS" and self.words[self.index + 1] in ("FIRST", "LAST"):
                self.index += 2
            if not self.take(","):
                return

    def _is_place(self, start: int) -> bool:
        """Whether what was read since may be the number of a column, however it is written: +5, (5), 5 COLLATE x."""
        found = self.tokens[start : self.index]
        ends = next((place for place, token in enumerate(found) if token.word == "COLLATE"), len(found))
        return all(token.kind in ("number", "sign", "string") for token in found[:ends])

    def _limit(self) -> None:
        if not self.take("LIMIT"):
            return
        self.need(NUMBER)
        if self.take("OFFSET", ","):
            self.need(NUMBER)
