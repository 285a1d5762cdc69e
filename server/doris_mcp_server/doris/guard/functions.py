"""Calls of functions. Source: the rules functionCallExpression and windowSpec of DorisParser.g4, and those of functions
whose arguments have a form of their own."""

from collections.abc import Callable
from typing import Final

from doris_mcp_server.doris.guard.expressions import UNITS, ExpressionGrammar
from doris_mcp_server.doris.guard.lexer import STRING
from doris_mcp_server.doris.guard.reading import Call, Role, Shape, bare

# Their first argument may be a unit, which 2.1 and 3.0 take for one only without backquotes.
_WITH_UNIT: Final = frozenset({"TIMESTAMPDIFF", "TIMESTAMPADD", "DATEDIFF", "DATEADD"})


class FunctionGrammar(ExpressionGrammar):
    """Reads the arguments after the name of a function."""

    def order_by(self) -> None:
        raise NotImplementedError  # of queries.QueryGrammar, which stands on this class

    def called(self, database: int | None = None) -> None:
        """A function by its name, or by its database's and its own; the cursor is at the last."""
        index = self.index
        self.reading.roles[index] = Role.FUNCTION
        first = index if database is None else database
        names = tuple(bare(part) for part in self.tokens[first : index + 1 : 2])
        self.index += 2
        call = Call(first, names, "expression", self._around)
        self.reading.calls.append(call)
        outer, self._around = self._around, call
        read = _ARGUMENTS.get(self.words[index]) if database is None else None
        (read or FunctionGrammar._arguments)(self)
        self._around = outer
        call.end = self.index
        self.need(")")
        if self.at == "FILTER" and self.words[self.index + 1] == "(":
            self._filter()
        if self.take("OVER"):
            self._window()

    def _argument_begins(self) -> None:
        assert self._around is not None
        self._around.arguments.append(self.index)

    def _arguments(self) -> None:
        if self.at == ")":
            return
        self.take("DISTINCT", "ALL")
        if self.at == "[" and self.words[self.index + 2] == "]" and self.begins_value(self.index + 3):
            self._skew()
        while True:
            self._argument()
            if not self.take(","):
                break
        self.order_by()
        if self.at == "SEPARATOR" and self.begins_value(self.index + 1):
            self.since((4, 0, 0), "SEPARATOR")
            self.index += 1
            self.expression()

    def _skew(self) -> None:
        """[skew], a hint in brackets; its word is sent as it is."""
        self.since((4, 0, 0), "[skew]")
        self.index += 1
        self.word()
        self.need("]")

    def _argument(self) -> None:
        self._argument_begins()
        if self._lambda():
            self.expression()
        elif self.expression() is Shape.STAR and self._around and self._around.names[-1].lower() == "count":
            self.reading.counted_stars += 1

    def _lambda(self) -> bool:
        """x -> or (x, y) ->, in front of the body."""
        if self.may_name[self.index] and self.words[self.index + 1] == "->" and self._body_follows(self.index + 2):
            self.name()
            self.index += 1
            return True
        if self.at != "(" or not self.may_name[self.index + 1]:
            return False
        end = self.index + 2
        while self.words[end] == "," and self.may_name[end + 1]:
            end += 2
        if self.words[end] != ")" or self.words[end + 1] != "->":
            return False
        self.names()
        self.need("->")
        return True

    def _body_follows(self, index: int) -> bool:
        """Not a string: doc -> '$.a' is a path into JSON."""
        return self.words[index] != STRING

    def _with_unit(self) -> None:
        if self.at in UNITS and self.words[self.index + 1] == ",":
            self._argument_begins()
            self.index += 2
        self._arguments()

    def _position(self) -> None:
        """POSITION(a IN b)"""
        self._argument_begins()
        self.binary(self.unary())
        if self.at == "IN" and self.words[self.index + 1] != "(":
            self.index += 1
            self._argument()
            return
        self._rest_of_arguments()

    def _substring(self) -> None:
        """SUBSTRING(a FROM b FOR c)"""
        self._argument_begins()
        self.expression()
        if not self.take("FROM"):
            self._rest_of_arguments()
            return
        self.since((4, 1, 0), "SUBSTRING(a FROM b)")
        self._argument()
        if self.take("FOR"):
            self._argument()

    def _rest_of_arguments(self) -> None:
        self.predicate()
        self.connected()
        while self.take(","):
            self._argument()

    def _trim(self) -> None:
        """TRIM(BOTH 'x' FROM a)"""
        self._argument_begins()
        sided = self.at in ("BOTH", "LEADING", "TRAILING") and self.words[self.index + 1] not in (",", ")", ".")
        if sided:
            self.index += 1
        if not (sided and self.at == "FROM"):
            self.expression()
        if sided or self.at == "FROM":
            self.need("FROM")
            self.since((4, 0, 0), "TRIM(... FROM ...)")
            self._argument()
            return
        while self.take(","):
            self._argument()

    def _char(self) -> None:
        """CHAR(65, 66 USING utf8)"""
        while True:
            self._argument()
            if not self.take(","):
                break
        if self.take("USING"):
            self.name_or_text()

    def _try_cast(self) -> None:
        """TRY_CAST(a AS INT); before Doris 4.1 a function like others"""
        self._argument()
        if self.take("AS"):
            self.since((4, 1, 0), "TRY_CAST")
            self.cast_type()
        else:
            self._rest_of_arguments()

    def _convert(self) -> None:
        """CONVERT(a USING utf8), CONVERT(a, INT)"""
        self._argument()
        if self.take("USING"):
            self.name_or_text()
        else:
            self.need(",")
            self.cast_type()

    def _filter(self) -> None:
        """FILTER (WHERE a > 1)"""
        self.since(None, "FILTER")
        self.index += 2
        self.need("WHERE")
        self.expression()
        self.need(")")

    def _window(self) -> None:
        """Reads the window after OVER."""
        if self.at != "(":
            self.since(None, "OVER a named window")
            self.name()
            return
        self.need("(")
        self.window_specification()
        self.need(")")

    def window_specification(self) -> None:
        if self.take_all("PARTITION", "BY"):
            if self.at == "[" and self.words[self.index + 2] == "]" and self.begins_value(self.index + 3):
                self._skew()
            self.expressions()
        self.order_by()
        if self.take("ROWS", "RANGE"):
            if self.take("BETWEEN"):
                self._boundary()
                self.need("AND")
            self._boundary()

    def _boundary(self) -> None:
        if self.take("UNBOUNDED"):
            self.need("PRECEDING", "FOLLOWING")
        elif self.take("CURRENT"):
            self.need("ROW")
        else:
            self.expression()
            self.need("PRECEDING", "FOLLOWING")


_ARGUMENTS: Final[dict[str, Callable[[FunctionGrammar], None]]] = {
    **dict.fromkeys(_WITH_UNIT, FunctionGrammar._with_unit),
    **dict.fromkeys(("SUBSTR", "SUBSTRING", "MID"), FunctionGrammar._substring),
    **dict.fromkeys(("CHAR", "CHARACTER"), FunctionGrammar._char),
    "CONVERT": FunctionGrammar._convert,
    "POSITION": FunctionGrammar._position,
    "TRIM": FunctionGrammar._trim,
    "TRY_CAST": FunctionGrammar._try_cast,
}
