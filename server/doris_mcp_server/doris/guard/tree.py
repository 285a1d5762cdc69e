"""Whether the tree of a query only reads: no effects anywhere, and in FROM only tables, queries and made-up rows."""

from typing import Final

from sqlglot import exp

from doris_mcp_server.doris.guard.budget import Budget
from doris_mcp_server.doris.guard.lexer import ONE_STATEMENT, Code
from doris_mcp_server.doris.guard.policy import Policy
from doris_mcp_server.doris.guard.verdicts import Path
from doris_mcp_server.errors import StatementRefused

QUERIES: Final = (exp.Select, exp.SetOperation, exp.Subquery)  # exp.Query has DDL below it, too
EFFECTS: Final = (
    exp.DML,
    exp.DDL,
    exp.Into,
    exp.Lock,
    exp.Command,
    exp.Set,
    exp.Use,
    exp.Kill,
    exp.Copy,
    exp.Describe,
    exp.Show,
    exp.Drop,
    exp.Alter,
    exp.TruncateTable,
    exp.Transaction,
    exp.Commit,
    exp.Rollback,
)
# Most of what a tree is made of: no need to ask each of the rules about it.
PLAIN: Final = frozenset({exp.Literal, exp.Identifier, exp.Column, exp.Alias, exp.Add, exp.EQ, exp.And, exp.Or})
LEAVE_OUT: Final = "Leave it out."
NAMED_TABLES: Final = "Read from tables and views only; numbers(), unnest() and LATERAL VIEW explode() also work."


def check(tree: exp.Expr, code: Code, policy: Policy, budget: Budget) -> tuple[Path, ...]:
    """The tables a query names, as written, sorted; without its own CTEs.

    StatementRefused for the first node that may not be there; OutOfTime.
    """
    looked = _Check(code, policy, budget)
    looked.whole(tree)
    return looked.tables()


def check_called(name: str, policy: Policy) -> tuple[str, str] | None:
    """What is wrong with calling the function `name` (as written, quotes included), and what would do; or None."""
    bare = name.strip("`'\"").lower()
    if bare in policy.table_functions:
        return f"The table function {bare}() is not allowed", NAMED_TABLES
    if bare in policy.refused_functions or bare.startswith(policy.refused_prefixes):
        return f"The function {bare}() is not allowed", LEAVE_OUT
    return None


class _Check:
    def __init__(self, code: Code, policy: Policy, budget: Budget) -> None:
        self._code = code
        self._policy = policy
        self._budget = budget
        self._named: set[Path] = set()
        self._ctes: dict[int, dict[str | int, int]] = {}

    def tables(self) -> tuple[Path, ...]:
        return tuple(sorted(self._named))

    def whole(self, tree: exp.Expr) -> None:
        if not isinstance(tree, QUERIES):
            raise StatementRefused("Only SELECT and WITH are allowed", hint=ONE_STATEMENT)
        selects = 0
        for node in tree.walk():
            self._budget.step()
            if type(node) in PLAIN:
                continue
            selects += isinstance(node, exp.Select)
            if isinstance(node, EFFECTS):
                raise self._refused(node, f"{node.key.upper()} is not allowed in a query", ONE_STATEMENT)
            if isinstance(node, exp.From | exp.Join):
                self._source(node, node.this)
            elif isinstance(node, exp.Table):
                self._source(node, node)
                if isinstance(node.this, exp.Identifier):
                    self._table(node)
            elif isinstance(node, exp.Lateral):
                self._lateral(node)
            elif isinstance(node, exp.Func):
                self._function(node)
        if selects != self._code.selects:
            # The parser left out, or made up, a query: what it did not read cannot be judged.
            raise StatementRefused("The statement can be read in two ways", hint=ONE_STATEMENT)

    def _table(self, table: exp.Table) -> None:
        path = tuple(part.name for part in table.parts)
        if path not in self._named and not (len(path) == 1 and self._is_cte(table)):
            self._named.add(path)

    def _is_cte(self, table: exp.Table) -> bool:
        """Whether a bare name means a CTE of a query around it; in a WITH, one before it. To the letter: Doris may tell
        small letters from capitals, and then another one is a table."""
        inner: exp.Expr = table
        outer = table.parent
        through: exp.Expr | None = None  # the CTE that the table stands in
        while outer is not None:
            self._budget.step()
            if isinstance(outer, exp.With):
                through = inner
            elif isinstance(with_ := outer.args.get("with_"), exp.With):
                places = self._places(with_)
                end = len(with_.expressions)
                if inner is with_ and through is not None:
                    end = places[id(through)] + bool(with_.args.get("recursive"))
                if places.get(table.name, end) < end:
                    return True
            inner, outer = outer, outer.parent
        return False

    def _places(self, with_: exp.With) -> dict[str | int, int]:
        """Of a WITH: where each CTE stands in it, by its name and by its node's id."""
        places = self._ctes.get(id(with_))
        if places is None:
            places = self._ctes[id(with_)] = {}
            for place, cte in enumerate(with_.expressions):
                places.setdefault(cte.alias, place)
                places[id(cte)] = place
        return places

    def _source(self, place: exp.Expr, source: object) -> None:
        """Whatever stands in FROM or JOIN must be a named table, a query, or rows made from values."""
        if not isinstance(source, exp.Table):
            if not isinstance(source, exp.Query | exp.Lateral | exp.Unnest | exp.Values):
                raise self._refused(place, "This cannot be read from", NAMED_TABLES)
            return
        made = source.this
        if isinstance(made, exp.Identifier | exp.Query | exp.Table):
            return
        name = called(made) if isinstance(made, exp.Func) else ""
        if name == "numbers":
            self._numbers(made)
        elif name not in self._policy.row_functions:
            raise self._refused(source, f"{name or 'This'}() cannot be read from", NAMED_TABLES)

    def _lateral(self, lateral: exp.Lateral) -> None:
        source = lateral.this
        if isinstance(source, exp.Query | exp.Unnest):
            return
        if not (isinstance(source, exp.Func) and called(source) in self._policy.row_functions):
            raise self._refused(lateral, "LATERAL takes a subquery, unnest() or explode() only", NAMED_TABLES)

    def _function(self, function: exp.Func) -> None:
        name = called(function)
        if wrong := check_called(name, self._policy):
            raise self._refused(function, *wrong)
        if name == "sleep":
            seconds = function.expressions[0] if len(function.expressions) == 1 else None
            if not _is_literal_up_to(seconds, self._policy.max_sleep):
                words = f"sleep() takes a literal of 0 to {self._policy.max_sleep} seconds"
                raise self._refused(function, words, LEAVE_OUT)

    def _numbers(self, function: exp.Func) -> None:
        # All that could be meant: of a key given twice Doris takes one, and we would not know which.
        given = [argument for argument in function.expressions if isinstance(argument, exp.EQ)]
        numbers = [argument.expression for argument in given if argument.this.name.lower() == "number"]
        if len(numbers) != 1 or not _is_literal_up_to(numbers[0], self._policy.max_numbers):
            hint = f"Up to {self._policy.max_numbers:,} rows."
            raise self._refused(function, "numbers() needs one literal 'number'", hint)

    def _refused(self, node: exp.Expr, words: str, hint: str) -> StatementRefused:
        # Only names and literals know where they stand: the first of them below the node is near enough.
        start = next((part.meta["start"] for part in node.walk() if part.meta.get("start") is not None), None)
        return StatementRefused(words, hint=hint, at=None if start is None else self._code.place(start))


def called(function: exp.Expr) -> str:
    """The name of a function, in lower case."""
    if isinstance(function, exp.Func) and not isinstance(function, exp.Anonymous | exp.AnonymousAggFunc):
        return function.sql_name().lower()
    return function.name.strip("`'\"").lower()


def _is_literal_up_to(value: object, maximum: int) -> bool:
    if not isinstance(value, exp.Literal):
        return False
    try:
        return 0 <= float(value.this) <= maximum
    except ValueError:
        return False
