"""A statement's tree as sqlglot reads it, with what Doris takes and sqlglot does not, and with an end to it.

Only for reading: the dialect here writes no SQL. Source of the grammar: DorisParser.g4 of the frontend.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Final, NoReturn, TypeVar

from sqlglot import exp
from sqlglot.dialects.doris import Doris
from sqlglot.errors import ParseError
from sqlglot.parsers.doris import DorisParser
from sqlglot.parsers.mysql import MySQLParser
from sqlglot.tokenizer_core import Token, TokenType

from doris_mcp_server.doris.guard.budget import Budget, OutOfTime
from doris_mcp_server.doris.guard.lexer import ONE_STATEMENT, Code
from doris_mcp_server.errors import StatementRefused

# sqlglot warns about what it parses as a bare Command; that is refused here and needs no line in the log.
logging.getLogger("sqlglot").setLevel(logging.ERROR)

T = TypeVar("T")
E = TypeVar("E", bound=exp.Expr)

UNREADABLE: Final = "The statement cannot be parsed"
CHECK_SYNTAX: Final = f"Check the syntax at that place. {ONE_STATEMENT}"


class Unreadable(ParseError):
    """sqlglot's ParseError with the place: `start` is an offset in the text that was parsed."""

    def __init__(self, message: str, start: int) -> None:
        super().__init__(message, [{"description": message}])
        self.start = start


class DorisReader(Doris):
    """sqlglot's Doris dialect, widened to what Doris takes."""

    SUPPORTS_USER_DEFINED_TYPES = True  # LARGEINT, BITMAP, HLL, ...: any name may stand for a type

    class Tokenizer(Doris.Tokenizer):
        KEYWORDS: ClassVar = {
            **Doris.Tokenizer.KEYWORDS,
            "MINUS": TokenType.EXCEPT,
            "ASOF": TokenType.ASOF,
            "MATCH_CONDITION": TokenType.MATCH_CONDITION,
        }

    class Parser(DorisParser):
        # sqlglot's builders count arguments as other databases do, and drop what they do not know, with any subquery
        # in it. Without them every argument stays in the tree.
        FUNCTIONS: ClassVar = {}
        FUNCTION_PARSERS: ClassVar = {
            **DorisParser.FUNCTION_PARSERS,
            "GROUP_CONCAT": MySQLParser.FUNCTION_PARSERS["GROUP_CONCAT"],
        }
        # None in the parsers that sqlglot makes by itself, for the name of a type.
        budget: Budget | None = None

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self._made: list[exp.Expr] = []

        def take_apart(self) -> None:
            """Free the nodes one by one: parent and child hold each other, and the collector would stop all threads."""
            known = {id(node) for node in self._made}
            for node in self._made:  # and, at its end, those that were made past `expression`
                for child in node.iter_expressions():
                    if id(child) not in known:
                        known.add(id(child))
                        self._made.append(child)
            for node in self._made:
                node.args.clear()
            while self._made:
                self._made.pop()

        def expression(self, instance: E, *args: Any, **options: Any) -> E:
            self._made.append(instance)
            return super().expression(instance, *args, **options)

        def _advance(self, times: int = 1) -> None:
            if self.budget is not None:
                self.budget.step()
            super()._advance(times)

        def raise_error(self, message: str, token: Token | None = None) -> NoReturn:
            """Without sqlglot's excerpt: it is thrown away on each of many attempts, and costs a copy of the text."""
            token = token or self._curr or self._prev
            # Some of its messages show its own classes, which help nobody.
            words = message if "<" not in message else f"{token.text[:40]} is not expected"
            raise Unreadable(words, token.start)

        def _parse_disjunction(self) -> exp.Expr | None:
            # Most of a long list is literals; the way down to one through all operators costs ten times as much.
            if self._curr.token_type in _LITERALS and self._next.token_type in _AFTER_AN_ITEM:
                self._advance()
                return exp.Literal(this=self._prev.text, is_string=self._prev.token_type == TokenType.STRING)
            return super()._parse_disjunction()

        def _parse_table(self, *args: Any, **rest: Any) -> exp.Expr | None:
            self._match_text_seq("[", "SHUFFLE", "]") or self._match_text_seq("[", "BROADCAST", "]")
            return super()._parse_table(*args, **rest)

        def _parse_table_parts(self, *args: Any, **rest: Any) -> exp.Table | exp.Dot | None:
            table = super()._parse_table_parts(*args, **rest)
            if table is not None and isinstance(table.this, exp.Identifier):
                while self._pass_table_clause():
                    pass
            return table

        def _parse_joins(self, *args: Any, **rest: Any) -> Iterator[exp.Join]:
            """LATERAL VIEW stands between joins as well, not only behind them all."""
            yield from super()._parse_joins(*args, **rest)
            while (lateral := self._parse_lateral()) is not None:
                yield self.expression(exp.Join(this=lateral))
                yield from super()._parse_joins(*args, **rest)

        def _pass_table_clause(self) -> bool:
            """What Doris takes between a table and its alias: names and literals that decide nothing here."""
            if self._match_text_seq("TABLET", "("):
                self._pass_list()
            elif self._match_text_seq("FOR", "TIME", "AS", "OF") or self._match_text_seq("FOR", "VERSION", "AS", "OF"):
                self._pass_one(self._match_set(_LITERALS))
            elif self._match_text_seq("INDEX"):
                self._pass_one(self._match_set(_NAMES))
            elif self._match(TokenType.PARAMETER):  # t@branch(b1), t@incr('k' = 'v')
                self._pass_one(self._parse_id_var() and self._match(TokenType.L_PAREN))
                self._pass_list()
            else:
                return self._pass_partitions()
            return True

        def _pass_partitions(self) -> bool:
            start = self._index
            self._match_text_seq("TEMPORARY")
            if not (self._match(TokenType.PARTITION) or self._match_text_seq("PARTITIONS")):
                self._retreat(start)
                return False
            if self._match(TokenType.L_PAREN):
                self._pass_list()
            else:
                self._pass_one(self._parse_id_var())
            return True

        def _pass_one(self, found: object) -> None:
            if not found:
                self.raise_error(f"{self._curr.text[:40]} is not expected")

        def _pass_list(self) -> None:
            while not self._match(TokenType.R_PAREN):
                if not self._curr or self._curr.token_type in _BEGINS_MORE:
                    self.raise_error("Expecting )")
                self._advance()

        def _parse_wrapped(self, parse_method: Callable[[], T], optional: bool = False) -> T:
            bare = self._prev.text.upper() == "REPEATABLE"  # TABLESAMPLE(...) REPEATABLE 2
            return parse_method() if bare else super()._parse_wrapped(parse_method, optional)

        def _parse_function(self, *args: Any, **rest: Any) -> exp.Expr | None:
            key = self._parse_encryption_key() if self._curr.text.upper() == "KEY" else None
            return key or super()._parse_function(*args, **rest)

        def _parse_encryption_key(self) -> exp.Expr | None:
            """KEY k or KEY d.k as an argument, of which Doris makes a string."""
            start = self._index
            self._advance()
            named = self._match_set(_NAMES) and (not self._match(TokenType.DOT) or self._match_set(_NAMES))
            if named and self._curr.token_type in _AFTER_AN_ITEM:
                return self.expression(exp.Var(this="KEY"))
            self._retreat(start)
            return None


_LITERALS = (TokenType.NUMBER, TokenType.STRING)
_NAMES = (TokenType.VAR, TokenType.IDENTIFIER)
_AFTER_AN_ITEM = (TokenType.COMMA, TokenType.R_PAREN)
_BEGINS_MORE = (TokenType.L_PAREN, TokenType.SELECT, TokenType.WITH, TokenType.FROM)
_DIALECT: Final = DorisReader()


@contextmanager
def reading(code: Code, budget: Budget) -> Iterator[exp.Expr]:
    """The one tree in `code`, to be looked at inside `with` only.

    StatementRefused for what cannot be read; OutOfTime and RecursionError go through.
    """
    parser = DorisReader.Parser(dialect=_DIALECT)
    parser.budget = budget
    try:
        yield _read(parser, code)
    finally:
        parser.take_apart()


def _read(parser: DorisReader.Parser, code: Code) -> exp.Expr:
    try:
        trees = parser.parse(_DIALECT.tokenize(code.text), code.text)
    except (OutOfTime, RecursionError):
        raise
    except Unreadable as error:
        raise StatementRefused(f"{UNREADABLE}: {error}", hint=CHECK_SYNTAX, at=code.place(error.start)) from None
    except Exception as error:
        # Not only ParseError: odd input breaks the parser in other ways, and what it cannot read is not sent.
        reason = str(error).split("\n", 1)[0][:200]
        raise StatementRefused(f"{UNREADABLE}: {reason}", hint=CHECK_SYNTAX) from None
    whole = [tree for tree in trees if tree is not None and not isinstance(tree, exp.Semicolon)]
    if len(whole) != 1:
        raise StatementRefused("There must be exactly one statement", hint=ONE_STATEMENT)
    return whole[0]
