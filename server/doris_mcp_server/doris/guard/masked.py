"""Whether a query shows masked columns as they are, and nothing of them in any other way.

Doris does not say where a value of a result comes from, so it has to follow from the names: a masked column may stand
in the select list of the outermost SELECT, bare, or come out of a `*`; then it has its own name in the result, by which
`tools.rules` masks it. Everything else that could use it, or carry it under another name, is refused. Two readings
must agree: that of our tokens, which sees every name, and that of the tree, which knows what it stands for.
"""

from typing import Final

from sqlglot import exp

from doris_mcp_server.doris.guard.forms import bare
from doris_mcp_server.doris.guard.lexer import Code, Token
from doris_mcp_server.doris.guard.tree import called
from doris_mcp_server.errors import StatementRefused

PLAINLY: Final = (
    "Select it by its bare name in the outermost SELECT, where it is shown as ***, or leave it out: no alias, no "
    "expression, no filter, no subquery."
)
BY_NAME: Final = "This reads a table with masked columns: name the columns you need, and write it in a plainer way."


def fold(name: str) -> str:
    """A name as Doris compares those of columns: no upper and lower case, in Java's sense of it."""
    return name.upper().lower().replace("\u0307", "")


def check(code: Code, whole: exp.Expr, masked: frozenset[str]) -> int:
    """How many masked columns the query selects by name. StatementRefused where it uses one in any other way."""
    outermost = whole.expressions if isinstance(whole, exp.Select) else []
    plain = sum(isinstance(item, exp.Column) and fold(item.name) in masked for item in outermost)
    named = [index for index, token in enumerate(code.tokens) if _is_named(token, masked)]
    wrong = next((i for i in named if not _stands_alone(code.tokens, i)), named[0] if len(named) > plain else None)
    if wrong is not None:
        token = code.tokens[wrong]
        words = f"The column {bare(token)[:64]} is masked, and used for more than to be shown"
        raise StatementRefused(words, hint=PLAINLY, at=code.place_of(token))
    if len(named) != plain:
        raise StatementRefused("The columns of the statement can be read in two ways", hint=BY_NAME)
    for node in whole.walk():
        if (how := _wrong(node, plain > 0)) is not None:
            raise StatementRefused(f"{how} could show what is masked", hint=BY_NAME)
    return plain


def _is_named(token: Token, masked: frozenset[str]) -> bool:
    """Also what holds whole rows under names of its own: hidden columns, and the indexes of a table."""
    if token.kind not in ("word", "name"):
        return False
    name = fold(bare(token))
    if token.kind == "word" and not masked.isdisjoint(name.split("@")):  # which is no part of a name to Doris
        return True
    return name in masked or name.startswith("__doris_") or (token.kind == "word" and name == "index")


def _stands_alone(tokens: list[Token], index: int) -> bool:
    """Whether a column, with its table before it, is an item of a list by itself. The tree leaves a `+` out."""
    first = index
    while first >= 2 and tokens[first - 1].text == ".":
        first -= 2
    before = tokens[first - 1].text.upper() if first else ""
    after = tokens[index + 1].text.upper() if index + 1 < len(tokens) else ""
    return before in ("SELECT", ",") and after in (",", "FROM")


def _wrong(node: exp.Expr, plain: bool) -> str | None:
    """What in this node could carry a masked value under another name, count it or put it in order."""
    if isinstance(node, exp.Star):
        return None if _is_item(node) or _is_counted(node) else "A * in an expression"
    if isinstance(node, exp.Select):
        stars = [item for item in node.expressions if item.is_star]
        if stars and not _keeps_names(node):
            return "A * where columns go by their place"
        if stars and node.parent is not None and not _is_of_one_table(node, stars):
            return "A * in a subquery with two columns of one name"
        if (stars or (plain and node.parent is None)) and (node.args.get("distinct") or node.args.get("group")):
            return "DISTINCT or GROUP BY"
    if isinstance(node, exp.TableAlias) and node.columns and not _is_made_up(node.parent):
        return "Another name for columns"
    if isinstance(node, exp.Ordered) and isinstance(node.this.unnest(), exp.Literal):
        return "ORDER BY the place of a column"
    if isinstance(node, exp.Join) and node.method == "NATURAL":
        return "NATURAL JOIN"
    return "PIVOT" if isinstance(node, exp.Pivot) else None


def _is_item(star: exp.Star) -> bool:
    item = star.parent if isinstance(star.parent, exp.Column) else star
    return isinstance(item.parent, exp.Select) and item.arg_key == "expressions"


def _is_counted(star: exp.Star) -> bool:
    return isinstance(star.parent, exp.Func) and called(star.parent) == "count"


def _keeps_names(select: exp.Select) -> bool:
    """Whether it is the outermost one, a CTE, a derived table, or only asked whether there is a row."""
    within = select.parent
    while isinstance(within, exp.Subquery):
        within = within.parent
    return within is None or isinstance(within, exp.CTE | exp.From | exp.Join | exp.Exists)


def _is_of_one_table(select: exp.Select, stars: list[exp.Expr]) -> bool:
    """Two columns of one name would get other names, if such a subquery runs at all."""
    return len(stars) == 1 and (isinstance(stars[0], exp.Column) or not select.args.get("joins"))


def _is_made_up(source: exp.Expr | None) -> bool:
    """Whether rows come from values, not from a table or query."""
    if isinstance(source, exp.Lateral):
        return not isinstance(source.this, exp.Query)
    return isinstance(source, exp.Values | exp.Unnest)
