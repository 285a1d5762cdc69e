"""What the grammar finds in one statement: a flat account of it, and the cursor that goes through the tokens.

There is no tree. What is asked of a statement (which tables, which functions, which columns go where) is noted while
the grammar reads it; whether the rest fits Doris' grammar is all that remains.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from doris_mcp_server.doris.guard.budget import Budget
from doris_mcp_server.doris.guard.dialect import Dialect, Version
from doris_mcp_server.doris.guard.lexer import ONE_STATEMENT, STRING, Token, place
from doris_mcp_server.doris.guard.policy import Path
from doris_mcp_server.errors import Place, StatementRefused

_BEYOND: Final = 4  # tokens that the grammar looks ahead
UNREADABLE: Final = "The statement cannot be parsed"
# Reserved words behind which something must follow: what is refused is the token behind them.
_BEGIN: Final = frozenset(
    {"ALL", "BINARY", "CASE", "CAST", "DEFAULT", "DISTINCT", "EXTRACT", "INTERVAL", "KEY", "NOT", "TRY_CAST"}
)
# Words that queries consist of: mostly it is what stands before them that is wrong.
_STRUCTURE: Final = frozenset(
    {
        "FROM",
        "WHERE",
        "GROUP",
        "HAVING",
        "ORDER",
        "BY",
        "LIMIT",
        "ON",
        "JOIN",
        "UNION",
        "AS",
        "AND",
        "OR",
        "SELECT",
        "WHEN",
    }
)
CHECK_SYNTAX: Final = f"Check the syntax at that place. {ONE_STATEMENT}"


class Role(IntEnum):
    """What a token is to the grammar. A `NAME` is sent in backquotes where its word could be taken for more."""

    PLAIN = 0  # a keyword, a sign or a literal
    NAME = 1
    FUNCTION = 2


class Shape(IntEnum):
    """What an expression is as a whole."""

    OTHER = 0
    COLUMN = 1
    STAR = 2
    LITERAL = 3


class Within(IntEnum):
    """Where a query stands."""

    OUTERMOST = 0
    CTE = 1
    FROM = 2
    EXISTS = 3
    ELSEWHERE = 4


class Item(NamedTuple):
    """One item of a select list: its tokens are those from `start` to before `end`, its alias not among them."""

    start: int
    end: int
    shape: Shape
    has_alias: bool


@dataclass(slots=True)
class Select:
    """One SELECT. `is_combined`: DISTINCT, or GROUP BY. `sources`: how many tables and queries its FROM joins."""

    within: Within
    items: list[Item] = field(default_factory=list)
    is_combined: bool = False
    sources: int = 0


@dataclass(slots=True)
class Call:
    """A function that is called. `names`: its parts as written, without backquotes. `place` is where it stands: in an
    expression, in FROM, behind LATERAL VIEW, or "key" for an encryption key (KEY k), with the function around it.

    Its arguments begin at the tokens `arguments`; `end` is the token of the closing parenthesis.
    """

    index: int
    names: Path
    place: str
    around: "Call | None" = None
    arguments: list[int] = field(default_factory=list)
    end: int = 0


@dataclass(slots=True)
class Reading:
    """The account of a query. `tables` are (path, index of the first token), without those that are CTEs.

    `perhaps` are names that an older parser may take for tables. `stars` is how many * there are, `counted_stars` how
    many of them are what count() counts. `renames`: columns of a table get other names by their order.
    `orders_by_place`: ORDER BY has a literal.
    """

    kind: str = ""
    roles: list[int] = field(default_factory=list)
    tables: list[tuple[Path, int]] = field(default_factory=list)
    perhaps: list[Path] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    selects: list[Select] = field(default_factory=list)
    stars: int = 0
    counted_stars: int = 0
    renames: bool = False
    orders_by_place: bool = False


class Cursor:
    """A place in the tokens of a statement, and what was read so far."""

    def __init__(self, sql: str, found: list[Token], dialect: Dialect, budget: Budget) -> None:
        self._sql = sql
        self.tokens = found
        self.words = [token.word for token in found] + [""] * _BEYOND
        self.index = 0
        self.dialect = dialect
        self.reading = Reading(roles=[0] * len(found))
        self._budget = budget
        # Whether a token may be a name: it stands in backquotes, or is a word that is not reserved.
        self.may_name = [t.kind == "name" or (t.kind == "word" and t.word not in dialect.reserved) for t in found]
        self.may_name += [False] * _BEYOND

    @property
    def at(self) -> str:
        """The word of the next token, "" at the end."""
        return self.words[self.index]

    def take(self, *choices: str) -> bool:
        """Whether the next token is one of `choices`, which it then has passed."""
        if self.words[self.index] in choices:
            self.index += 1
            return True
        return False

    def take_all(self, *sequence: str) -> bool:
        """The same with all of `sequence`, one after the other, or none."""
        end = self.index + len(sequence)
        if tuple(self.words[self.index : end]) != sequence:
            return False
        self.index = end
        return True

    def need(self, *choices: str) -> None:
        if not self.take(*choices):
            raise self.unexpected()

    def name(self) -> str:
        """Pass a name; what it is without backquotes."""
        index = self.index
        if not self.may_name[index]:
            raise self.unexpected()
        self.reading.roles[index] = Role.NAME
        self.index = index + 1
        return bare(self.tokens[index])

    def word(self) -> None:
        """Pass the word of a hint in brackets or of a scan parameter, which is sent as it is."""
        token = self.tokens[self.index] if self.may_name[self.index] else None
        if token is None or (token.kind == "word" and not token.text.isascii()):
            raise self.unexpected()
        self.index += 1

    def name_or_text(self) -> str:
        if self.at == STRING:
            self.index += 1
            return self.tokens[self.index - 1].text
        return self.name()

    def part_of_path(self) -> str:
        """Pass a name of a catalog, database or table. Doris takes what stands before a colon off a database's."""
        index = self.index
        part = self.name()
        if ":" in part:
            words = f"The name {part[:64]} has a colon"
            raise StatementRefused(words, hint="Name the table without it.", at=self.place_of(index))
        return part

    def names(self) -> Path:
        """( a, b )"""
        self.need("(")
        found = [self.name()]
        while self.take(","):
            found.append(self.name())
        self.need(")")
        return tuple(found)

    def step(self) -> None:
        self._budget.step()

    def since(self, version: Version | None, what: str) -> None:
        """StatementRefused on a cluster whose first parser does not know `what` while an older one might."""
        if self.dialect.lacks(version):
            needs = f"needs Doris {version[0]}.{version[1]}" if version else "is not known to Doris"
            words = f"{what} {needs}, and this cluster runs {self.dialect.release}"
            raise StatementRefused(words, hint="Write the statement without it.", at=self.place_of(self.index))

    def unexpected(self) -> StatementRefused:
        """The refusal of the next token."""
        index = min(self.index, len(self.tokens) - 1)
        token = self.tokens[index]
        shown = token.text[:40]
        if self.index >= len(self.tokens):
            open_ = self.words.count("(") > self.words.count(")")
            hint = "A closing parenthesis is missing." if open_ else CHECK_SYNTAX
            return StatementRefused(f"{UNREADABLE}: it ends too early", hint=hint, at=self.place_of(index))
        words = f"{UNREADABLE}: {shown} is not expected"
        return StatementRefused(words, hint=self._advice(index), at=self.place_of(index))

    def _advice(self, index: int) -> str:
        named = self._meant_as_name(index)
        if named.upper() in _STRUCTURE:
            return f"Something is missing before {named}. As a name, write it in backquotes, `{named}`."
        if named:
            return f"{named} is a reserved word of Doris: as a name, write it in backquotes, `{named}`."
        return CHECK_SYNTAX

    def _meant_as_name(self, index: int) -> str:
        """The reserved word that may have been meant as a name: the token before `index` if that begins something that
        does not go on here, such as CASE in SELECT case FROM t, else the one there."""
        for token in self.tokens[max(index - 1, 0) : index + 1]:
            if token.word in self.dialect.reserved and (token.word in _BEGIN or token is self.tokens[index]):
                return token.text
        return ""

    def place_of(self, index: int) -> Place:
        return place(self._sql, self.tokens[min(index, len(self.tokens) - 1)].start)


def bare(token: Token) -> str:
    """A name without the backticks it was written in."""
    return token.text[1:-1].replace("``", "`") if token.kind == "name" else token.text
