"""Expressions. Source: the rules booleanExpression, valueExpression and primaryExpression of DorisParser.g4."""

from collections.abc import Callable
from itertools import pairwise
from typing import Final

from doris_mcp_server.doris.guard.lexer import HINT, NAME, NUMBER, STRING
from doris_mcp_server.doris.guard.reading import Call, Role, Select, Shape, Within
from doris_mcp_server.doris.guard.types import TypeGrammar

SET_OPERATORS: Final = ("UNION", "INTERSECT", "EXCEPT", "MINUS")
BEGINS_QUERY: Final = ("SELECT", "WITH", "VALUES")
_BEGINS_ITEMS: Final = frozenset({"SELECT", "ALL", "DISTINCT", HINT})
_CONNECTIVES: Final = frozenset({"AND", "&&", "OR", "||", "XOR"})
# fmt: off
_OPERATORS: Final = frozenset({
    "^", "*", "/", "%", "DIV", "+", "-", "&", "|", "=", "==", "<=>", "<>", "!=", "<", "<=", "!>", ">", ">=", "!<",
    "->", "->>",
})
UNITS: Final = frozenset({
    "YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND", "MICROSECOND", "MILLISECOND",
    "DAY_HOUR", "DAY_MINUTE", "DAY_SECOND", "HOUR_MINUTE", "HOUR_SECOND", "MINUTE_SECOND", "YEAR_MONTH",
    "SECOND_MICROSECOND",
})
_LATER_UNITS: Final = UNITS - {"YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND"}
_PATTERNS: Final = frozenset({
    "MATCH", "MATCH_ANY", "MATCH_ALL", "MATCH_PHRASE", "MATCH_PHRASE_PREFIX", "MATCH_REGEXP", "MATCH_PHRASE_EDGE",
})
# Without parentheses behind them they are values, not columns.
_CURRENT: Final = frozenset({
    "CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "LOCALTIME", "LOCALTIMESTAMP", "CURRENT_USER", "SESSION_USER",
})
_LITERALS: Final = frozenset({
    STRING, "NULL", "TRUE", "FALSE", "DATE", "DATEV1", "DATEV2", "TIMESTAMP", "[", "]", "{", "}", ",", ":", "-",
})
_DATES: Final = frozenset({"DATE", "DATEV1", "DATEV2", "TIMESTAMP"})
# Reserved words that are names of functions nevertheless: functionNameIdentifier; XOR in Doris 2.1, TRY_CAST in 4.1.
_RESERVED_FUNCTIONS: Final = frozenset({
    "ADD", "CONNECTION_ID", "CURRENT_CATALOG", "DATABASE", "IF", "LEFT", "LIKE", "PASSWORD", "REGEXP", "RIGHT",
    "SCHEMA", "TRIM", "TRY_CAST", "USER", "XOR",
})
_BEGINS_VALUE: Final = _RESERVED_FUNCTIONS | {
    STRING, NUMBER, "(", "[", "{", "+", "-", "~", "@", "@@", "NULL", "TRUE", "FALSE", "CASE", "CAST",
    "INTERVAL", "BINARY", "KEY", "EXTRACT",
}
# fmt: on


class ExpressionGrammar(TypeGrammar):
    """Reads an expression. Returns its shape."""

    _around: Call | None = None

    # What an expression may hold, of classes that stand on this one: functions.FunctionGrammar, queries.QueryGrammar.

    def called(self, database: int | None = None) -> None:
        raise NotImplementedError

    def query(self, within: Within) -> list[Select]:
        raise NotImplementedError

    def query_goes_on(self, found: list[Select]) -> list[Select]:
        raise NotImplementedError

    def expression(self) -> Shape:
        shape = self.operand()
        return Shape.OTHER if self.connected() else shape

    def expressions(self) -> None:
        self.expression()
        while self.take(","):
            self.expression()

    def begins_value(self, index: int) -> bool:
        return self.may_name[index] or self.words[index] in _BEGINS_VALUE

    # --- conditions

    def connected(self) -> bool:
        """Reads AND, OR and the conditions after them. Returns whether there was one."""
        start = self.index
        while self.words[self.index] in _CONNECTIVES:
            if self.words[self.index] == "XOR":
                if self.may_name[self.index] and not self.begins_value(self.index + 1):
                    break  # an alias, to Doris 2.1
                self.since((3, 0, 0), "a XOR b")
            self.index += 1
            self.operand()
        return self.index > start

    def operand(self) -> Shape:
        self._budget.step()
        negated = False
        while self.words[self.index] in ("NOT", "!"):
            self.index += 1
            negated = True
        if self.take_all("EXISTS", "("):
            self.query(Within.EXISTS)
            self.need(")")
            return Shape.OTHER
        shape = self.binary(self.unary())
        return Shape.OTHER if self.predicate() or negated else shape

    def predicate(self) -> bool:
        """Reads at most one NOT IN (...), BETWEEN, LIKE or IS NULL after a value."""
        start = self.index
        if self.take("IS"):
            self.take("NOT")
            self.need("NULL", "TRUE", "FALSE")
            return True
        self.take("NOT")
        if self.take("IN"):
            self._set()
        elif self.take("BETWEEN"):
            self.binary(self.unary())
            self.need("AND")
            self.binary(self.unary())
        elif self.take("LIKE"):
            self.binary(self.unary())
            if self.at == "ESCAPE" and self.begins_value(self.index + 1):
                self.since((4, 0, 0), "LIKE ... ESCAPE")
                self.index += 1
                self.binary(self.unary())
        elif not self._pattern():
            if self.index > start:
                raise self.unexpected()
            return False
        return True

    def _pattern(self) -> bool:
        word = self.words[self.index]
        matches = word in _PATTERNS
        if not (matches or word in ("REGEXP", "RLIKE")) or not self.begins_value(self.index + 1):
            return False
        self.index += 1
        self.binary(self.unary())
        if matches and self.take_all("USING", "ANALYZER"):
            self.since((4, 1, 0), "USING ANALYZER")
            self.name_or_text()
        return True

    def _set(self) -> None:
        """Reads the query or the list after IN."""
        self.need("(")
        if self._in_parentheses() is not None:
            while self.take(","):
                self.expression()
        self.need(")")

    # --- values

    def binary(self, shape: Shape) -> Shape:
        """Reads the rest of a chain of operators after its first value."""
        while True:
            word = self.words[self.index]
            if word in _OPERATORS:
                self._budget.step()
                self.index += 1
                if word in ("->", "->>"):
                    self.since(None, f"The operator {word}")
                elif word in ("<", ">") and self.words[self.index] == word:
                    self.since(None, f"The operator {word}{word}")
                    self.index += 1
            elif word == "MOD" and self.begins_value(self.index + 1):
                self.since((4, 1, 0), "a MOD b")
                self.index += 1
            else:
                return shape
            self.unary()
            shape = Shape.OTHER

    def unary(self) -> Shape:
        signed = False
        while self.words[self.index] in ("+", "-", "~", "!"):
            self.index += 1
            signed = True
        shape = self._after_primary(self._primary())
        return Shape.OTHER if signed else shape

    def _after_primary(self, shape: Shape) -> Shape:
        """[i], [i:j], .field and COLLATE behind a value."""
        while True:
            word = self.words[self.index]
            if word == ".":
                self.index += 1
                if self.at == "*" and shape is Shape.COLUMN:
                    return self._star()
                self.name()
                shape = Shape.OTHER
            elif word == "[":
                self.index += 1
                self.binary(self.unary())
                if self.take(":") and self.at != "]":
                    self.binary(self.unary())
                self.need("]")
                shape = Shape.OTHER
            elif word == "COLLATE":
                self.index += 1
                if not self.take("DEFAULT"):
                    self.name_or_text()
                shape = Shape.OTHER
            else:
                return shape

    def _primary(self) -> Shape:
        word = self.words[self.index]
        if self.words[self.index + 1] == "(" and (self.may_name[self.index] or word in _RESERVED_FUNCTIONS):
            if word == "XOR" and not self.may_name[self.index]:
                self.since(None, "The function xor()")
            self.called()
            return Shape.OTHER
        read = _PRIMARIES.get(word)
        if read is not None and (shape := read(self)) is not None:
            return shape
        return self._column()

    def _column(self) -> Shape:
        start = self.index
        self.name()
        while self.words[self.index] == "." and self.may_name[self.index + 1]:
            if self.words[self.index + 2] == "(":
                if self.index != start + 1:
                    raise self.unexpected()
                self.reading.roles[start] = Role.NAME
                self.index += 1
                self.called(start)
                return Shape.OTHER
            self.index += 1
            self.name()
        return Shape.COLUMN

    def _literal(self) -> Shape:
        self.index += 1
        return Shape.LITERAL

    def _current(self) -> Shape:
        self.index += 1
        return Shape.OTHER

    def _date(self) -> Shape | None:
        if self.words[self.index + 1] != STRING:
            return None
        self.index += 2
        return Shape.LITERAL

    def _binary_string(self) -> Shape:
        self.index += 1
        if self.take(STRING):
            return Shape.LITERAL
        self._column()
        return Shape.OTHER

    def _array(self) -> Shape:
        """[1, 2], of literals only; an older parser takes columns as well."""
        start = self.index
        self.index += 1
        if not self.take("]"):
            self.expressions()
            self.need("]")
        self._check_literals(start, "An array of more than literals, which array(a, b) makes,")
        return Shape.OTHER

    def _check_literals(self, start: int, what: str) -> None:
        inside = self.tokens[start : self.index]
        for token, following in pairwise(inside):
            begins = following.word in ("[", "{", "-") and token.word not in ("[", "{", ",", ":")
            negates = token.word == "-" and following.kind != "number"
            if begins or negates or not (following.word in _LITERALS or following.kind == "number"):
                self.since(None, what)

    def _braces(self) -> Shape:
        """A map {'a': 1} or a struct {1, 'a'}."""
        start = self.index
        self.index += 1
        while not self.take("}"):
            self.expression()
            if self.take(":"):
                self.expression()
            if self.at != "}":
                self.need(",")
        self._check_literals(start, "A map or struct of more than literals, which map(a, b) and struct(a, b) make,")
        return Shape.OTHER

    def _star(self) -> Shape:
        self.index += 1
        self.reading.stars += 1
        self._except_or_replace()
        return Shape.STAR

    def _except_or_replace(self) -> None:
        start = self.index
        while self.words[self.index] in ("EXCEPT", "REPLACE") and self.words[self.index + 1] == "(":
            if self.at == "REPLACE" or self.index > start or self.tokens[start - 2].word not in _BEGINS_ITEMS:
                self.since((4, 0, 0), f"This * {self.at} (...)")
            self.index += 2
            self._named_expressions()
            self.need(")")
        if self.index > start and self.at == ",":
            self.since((4, 0, 0), "* EXCEPT (...) with other columns")

    def _named_expressions(self) -> None:
        while True:
            self.expression()
            if self.take("AS") or self.may_name[self.index] or self.at == STRING:
                self.name_or_text()
            if not self.take(","):
                return

    def _parentheses(self) -> Shape:
        self.index += 1
        shape = self._in_parentheses()
        if shape is not None and self.at == ",":
            self.since(None, "A row (a, b)")
            while self.take(","):
                self.expression()
            shape = Shape.OTHER
        self.need(")")
        return Shape.LITERAL if shape is Shape.LITERAL else Shape.OTHER

    def _in_parentheses(self) -> Shape | None:
        """Reads from an opening parenthesis to the closing one or a comma. Returns None for a query."""
        self._budget.step()
        if self.at in BEGINS_QUERY:
            self.query(Within.ELSEWHERE)
            return None
        if self.at != "(":
            return self.expression()
        self.index += 1
        if self._in_parentheses() is not None:
            if self.at == ",":
                self.since(None, "A row (a, b)")
                while self.take(","):
                    self.expression()
            self.need(")")
            return self._expression_goes_on()
        self.need(")")
        if self.at in SET_OPERATORS or self.at in ("ORDER", "LIMIT"):
            self.query_goes_on([])
            return None
        return None if self.at == ")" else self._expression_goes_on()

    def _expression_goes_on(self) -> Shape:
        """The rest of an expression that began with something in parentheses."""
        self.binary(self._after_primary(Shape.OTHER))
        self.predicate()
        self.connected()
        return Shape.OTHER

    def _case(self) -> Shape:
        self.index += 1
        if self.at != "WHEN":
            self.expression()
        self.need("WHEN")
        while True:
            self.expression()
            self.need("THEN")
            self.expression()
            if not self.take("WHEN"):
                break
        if self.take("ELSE"):
            self.expression()
        self.need("END")
        return Shape.OTHER

    def _cast(self) -> Shape:
        self.index += 1
        self.need("(")
        self.expression()
        self.need("AS")
        self.cast_type()
        self.need(")")
        return Shape.OTHER

    def _interval(self) -> Shape:
        self.index += 1
        self.expression()
        if self.at == "QUARTER":
            self.since((4, 0, 0), "INTERVAL ... QUARTER")
        elif self.at in _LATER_UNITS:
            self.since((4, 1, 0), f"INTERVAL ... {self.at}")
        self.need(*UNITS)
        return Shape.OTHER

    def _extract(self) -> Shape:
        self.index += 1
        self.need("(")
        if not self.take(*UNITS):
            self.name()
        self.need("FROM")
        if self.at in ("DATE", "TIMESTAMP") and self.begins_value(self.index + 1) and self.words[self.index + 1] != "(":
            self.index += 1
        self.binary(self.unary())
        if self.words[self.index] in _CONNECTIVES:
            self.since(None, "EXTRACT of a condition without parentheses")
            self.connected()
        self.need(")")
        return Shape.OTHER

    def _user_variable(self) -> Shape:
        self.index += 1
        self.name_or_text()
        return Shape.OTHER

    def _system_variable(self) -> Shape:
        """@@name, @@session.name: its name is sent as it is."""
        self.index += 1
        if self.words[self.index + 1] == ".":
            self.need("GLOBAL", "SESSION", "LOCAL")
            self.index += 1
        if self.at == NAME:
            raise self.unexpected()
        self.word()
        return Shape.OTHER

    def _key(self) -> Shape:
        """KEY k or KEY d.k: an encryption key, of which Doris makes its text."""
        call = Call(self.index, ("key",), "key", self._around)
        self.index += 1
        self.name()
        if self.take("."):
            self.name()
        call.end = self.index
        self.reading.calls.append(call)
        return Shape.OTHER

    def _default(self) -> Shape:
        """DEFAULT(column)"""
        self.index += 1
        self.need("(")
        self.name()
        while self.take("."):
            self.name()
        self.need(")")
        return Shape.OTHER


_PRIMARIES: Final[dict[str, Callable[[ExpressionGrammar], Shape | None]]] = {
    **dict.fromkeys((STRING, NUMBER, "NULL", "TRUE", "FALSE"), ExpressionGrammar._literal),
    **dict.fromkeys(_CURRENT, ExpressionGrammar._current),
    **dict.fromkeys(_DATES, ExpressionGrammar._date),
    "(": ExpressionGrammar._parentheses,
    "[": ExpressionGrammar._array,
    "{": ExpressionGrammar._braces,
    "*": ExpressionGrammar._star,
    "@": ExpressionGrammar._user_variable,
    "@@": ExpressionGrammar._system_variable,
    "CASE": ExpressionGrammar._case,
    "CAST": ExpressionGrammar._cast,
    "INTERVAL": ExpressionGrammar._interval,
    "BINARY": ExpressionGrammar._binary_string,
    "EXTRACT": ExpressionGrammar._extract,
    "KEY": ExpressionGrammar._key,
    "DEFAULT": ExpressionGrammar._default,
}
