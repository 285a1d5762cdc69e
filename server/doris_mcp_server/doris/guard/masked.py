"""Whether a query shows masked columns as they are, and nothing of them in any other way.

Doris does not say where a value of a result comes from, so it has to follow from the names: a masked column may stand
in the select list of the outermost SELECT, bare, or come out of a `*`; then it has its own name in the result, by which
`tools.rules` masks it. Everything else that could use it, or carry it under another name, is refused. Two readings
must agree: that of the tokens, which sees every name, and that of the grammar, which knows what it stands for.
"""

from collections.abc import Sequence
from typing import Final

from doris_mcp_server.doris.guard.lexer import Token, place
from doris_mcp_server.doris.guard.reading import Reading, Select, Shape, Within, bare
from doris_mcp_server.doris.names import fold
from doris_mcp_server.errors import StatementRefused

PLAINLY: Final = (
    "Select it by its bare name in the outermost SELECT, where it is shown as ***, or leave it out: no alias, no "
    "expression, no filter, no subquery."
)
BY_NAME: Final = "This reads a table with masked columns: name the columns you need, and write it in a plainer way."


def check(sql: str, tokens: Sequence[Token], reading: Reading, masked: frozenset[str]) -> int:
    """How many masked columns the query selects by name. StatementRefused where it uses one in any other way."""
    outermost = [select for select in reading.selects if select.within is Within.OUTERMOST]
    items = [item for select in outermost for item in select.items if item.shape is Shape.COLUMN and not item.has_alias]
    plain = sum(fold(bare(tokens[item.end - 1])) in masked for item in items)
    named = [index for index, token in enumerate(tokens) if _is_named(token, masked)]
    wrong = next((i for i in named if not _stands_alone(tokens, i)), named[0] if len(named) > plain else None)
    if wrong is not None:
        token = tokens[wrong]
        words = f"The column {bare(token)[:64]} is masked, and used for more than to be shown"
        raise StatementRefused(words, hint=PLAINLY, at=place(sql, token.start))
    if len(named) != plain:
        raise StatementRefused("The columns of the statement can be read in two ways", hint=BY_NAME)
    if (how := _shown_otherwise(tokens, reading, plain > 0)) is not None:
        raise StatementRefused(f"{how} could show what is masked", hint=BY_NAME)
    return plain


def _is_named(token: Token, masked: frozenset[str]) -> bool:
    """Also what holds whole rows under names of its own: hidden columns, and the indexes of a table."""
    if token.kind in ("raw", "hex"):  # to some versions a name, and a string behind it
        return token.text[0].lower() in masked
    if token.kind not in ("word", "name"):
        return False
    name = fold(bare(token))
    return name in masked or name.startswith("__doris_") or (token.kind == "word" and name == "index")


def _stands_alone(tokens: Sequence[Token], index: int) -> bool:
    """Whether a column, with its table before it, is an item of a list by itself."""
    first = index
    while first >= 2 and tokens[first - 1].text == ".":
        first -= 2
    before = tokens[first - 1].word if first else ""
    after = tokens[index + 1].word if index + 1 < len(tokens) else ""
    return before in ("SELECT", ",") and after in (",", "FROM")


def _shown_otherwise(tokens: Sequence[Token], reading: Reading, plain: bool) -> str | None:
    """What could carry a masked value under another name, count it or put it in order."""
    listed = 0
    for select in reading.selects:
        stars = [item for item in select.items if item.shape is Shape.STAR]
        listed += len(stars)
        if stars and select.within is Within.ELSEWHERE:
            return "A * where columns go by their place"
        if stars and select.within is not Within.OUTERMOST and not _is_of_one_table(tokens, select):
            return "A * in a subquery with two columns of one name"
        if (stars or (plain and select.within is Within.OUTERMOST)) and select.is_combined:
            return "DISTINCT or GROUP BY"
    if reading.stars != listed + reading.counted_stars:
        return "A * in an expression"
    if reading.renames:
        return "Another name for columns"
    return "ORDER BY the place of a column" if reading.orders_by_place else None


def _is_of_one_table(tokens: Sequence[Token], select: Select) -> bool:
    """Two columns of one name would get other names, if such a subquery runs at all."""
    stars = [item for item in select.items if item.shape is Shape.STAR]
    return len(stars) == 1 and (tokens[stars[0].start].word != "*" or select.sources <= 1)
