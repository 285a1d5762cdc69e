"""Doris SQL → DuckDB SQL: splits a packet into statements and translates queries, both remembered by text.

A translation does not depend on a session except through the current catalog and database: what a session answers
(DATABASE(), @@x, NOW()) becomes a parameter of the DuckDB statement.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import sqlglot
from sqlglot import Token, TokenType, exp
from sqlglot.dialects.doris import Doris
from sqlglot.dialects.mysql import MySQL
from sqlglot.errors import SqlglotError

from doris_mcp_server.sandbox import placement
from doris_mcp_server.sandbox.faults import NOT_SUPPORTED, fault, read_only
from doris_mcp_server.sandbox.names import Names, Place

MAX_STATEMENT_CHARACTERS = 200_000
_WRITES = frozenset(
    re.findall(
        r"\w+",
        "INSERT UPDATE DELETE TRUNCATE CREATE DROP ALTER REPLACE MERGE LOAD EXPORT COPY GRANT REVOKE BACKUP RESTORE "
        "CANCEL RECOVER REFRESH ADMIN ANALYZE INSTALL UNINSTALL CALL SYNC PAUSE RESUME STOP CLEAN WARM LOCK UNLOCK "
        "ATTACH DETACH PRAGMA IMPORT VACUUM CHECKPOINT PREPARE EXECUTE",
    )
)


class DemoDoris(Doris):
    """sqlglot's doris dialect plus what real queries need and it lacks."""

    class Tokenizer(Doris.Tokenizer):
        KEYWORDS = {**Doris.Tokenizer.KEYWORDS, "LARGEINT": TokenType.INT128}  # noqa: RUF012 (sqlglot's way)

    class Parser(Doris.Parser):  # type: ignore[misc, valid-type]
        FUNCTION_PARSERS = {  # noqa: RUF012
            **Doris.Parser.FUNCTION_PARSERS,
            "GROUP_CONCAT": MySQL.Parser.FUNCTION_PARSERS["GROUP_CONCAT"],
        }


@dataclass(frozen=True, slots=True)
class Query:
    """A translated query.

    `parameters` are the session values the SQL names ($database, $now, $var_x). `labels` are the column names where
    Doris' differ from DuckDB's, `names` all of them as written. `constants`, when set, answer the query without
    DuckDB: each is a literal or a parameter. `sleep` is the seconds of SLEEP() in it; `settings` come from its
    SET_VAR hint; `largeint` tells that it asks for one. `declared` are the Doris types of columns that are shown as
    they are stored, by the name they are shown under, where DuckDB's type does not tell as much.
    """

    sql: str
    parameters: tuple[str, ...]
    labels: tuple[str | None, ...]
    names: tuple[str, ...]
    constants: tuple["Constant", ...] | None
    sleep: float
    settings: tuple[tuple[str, str], ...]
    largeint: bool
    declared: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Constant:
    value: Any = None
    parameter: str | None = None


@lru_cache(maxsize=1024)
def split(text: str) -> tuple[str, ...]:
    """The statements of one packet, without comments at their start; Doris runs every one of them."""
    if ";" not in text.rstrip().rstrip(";"):
        pieces = [text.rstrip().rstrip(";")]
    else:
        cuts = [-1, *(t.start for t in _tokens(text) if t.token_type is TokenType.SEMICOLON), len(text)]
        pieces = [text[a + 1 : b] for a, b in pairwise(cuts)]
    return tuple(s for piece in pieces if (s := _LEADING.sub("", piece).strip()))


_LEADING = re.compile(r"^(?:\s+|--[^\n]*(?:\n|$)|#[^\n]*(?:\n|$)|/\*(?![!+]).*?\*/)+", re.DOTALL)


@lru_cache(maxsize=2048)
def translate(text: str, place: Place, names: Names) -> Query:
    """One query in DuckDB's words. Raises Doris' errors: not a query, unknown table or not for this account, syntax."""
    tree = _parse(text)
    labels = _labels(tree, text)
    declared = placement.declared(tree, placement.place(tree, place, names))
    tree, sleep = _rewrite(tree)
    select = tree if isinstance(tree, exp.Select) else None
    return Query(
        sql=tree.sql(dialect="duckdb", unsupported_level=sqlglot.ErrorLevel.IGNORE),
        parameters=tuple(dict.fromkeys(str(p.this) for p in tree.find_all(exp.Placeholder))),
        labels=labels,
        names=tuple((labels and labels[at]) or item.alias_or_name for at, item in enumerate(tree.selects)),
        constants=_constants(select) if select is not None else None,
        sleep=sleep,
        settings=tuple((k.lower(), v) for k, v in _SET_VAR.findall(text)),
        largeint="largeint" in text.lower(),
        declared=declared,
    )


_SET_VAR = re.compile(r"(?i)SET_VAR\(\s*(\w+)\s*=\s*'?([\w.]+)'?")


def _tokens(text: str) -> list[Token]:
    try:
        return DemoDoris().tokenize(text)
    except SqlglotError as e:
        raise fault(f"syntax error: {_first_line(e)}") from None


def _first_line(e: Exception) -> str:
    return re.sub(r"\x1b\[\d*m", "", str(e)).split("\n", 1)[0]


def _parse(text: str) -> exp.Query:
    if len(text) > MAX_STATEMENT_CHARACTERS:
        raise fault(f"the demo engine takes statements up to {MAX_STATEMENT_CHARACTERS} characters", NOT_SUPPORTED)
    word = (re.match(r"\w+", text) or [text[:20]])[0].upper()
    if word in _WRITES:
        raise read_only(word)
    if word not in ("SELECT", "WITH", "VALUES") and not text.startswith("("):
        raise fault(f"mismatched input '{word.lower()}' (line 1, pos 0): the demo engine knows no such statement")
    try:
        trees = sqlglot.parse(text, read=DemoDoris)
    except SqlglotError as e:
        if re.search(r"(?i)\bINTO\s+OUTFILE\b", text):
            raise read_only("SELECT INTO OUTFILE") from None
        raise fault(f"syntax error: {_first_line(e)}") from None
    except RecursionError:
        raise fault("the statement is nested too deeply for the demo engine", NOT_SUPPORTED) from None
    tree = trees[0] if len(trees) == 1 else None
    if isinstance(tree, (exp.DML, exp.DDL)) and not isinstance(tree, exp.Query):
        raise read_only(tree.key.upper())
    if not isinstance(tree, exp.Query):
        raise fault(f"syntax error near '{text[:40]}'")
    tree.set("locks", None)
    for node in tree.walk():
        if isinstance(node, (exp.Placeholder, exp.Parameter)):
            # Ours are put in later, and what they stand for is not for every account.
            raise fault(f"mismatched input '{node.sql()}': the demo engine takes no parameters")
        if isinstance(node, (exp.DML, exp.DDL, exp.Into)) and not isinstance(node, exp.Query):
            raise read_only(node.key.upper())
    return tree


def _labels(tree: exp.Query, text: str) -> tuple[str | None, ...]:
    """Doris names an unnamed column by the text it was written as: `count(*)`, `@@version_comment`."""
    select = tree
    while not isinstance(select, exp.Select):
        inner = select.this
        if not isinstance(inner, exp.Query):
            return ()
        select = inner
    items = select.expressions
    if any(item.is_star for item in items):
        return ()
    if all(isinstance(item, (exp.Alias, exp.Column)) for item in items):
        return ()
    written = list(_select_list(text))
    if len(written) != len(items):
        written = [item.sql(dialect="doris") for item in items]
    return tuple(
        None if isinstance(item, (exp.Alias, exp.Column)) else label for item, label in zip(items, written, strict=True)
    )


_OPEN = frozenset([TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE])
_CLOSE = frozenset([TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE])
_SELECT_LIST_ENDS = frozenset(
    [TokenType.FROM, TokenType.WHERE, TokenType.UNION, TokenType.ORDER_BY, TokenType.LIMIT, TokenType.SEMICOLON]
)


def _select_list(text: str) -> Iterator[str]:
    """The items of the outermost SELECT, as they are written."""
    depth, start = 0, None
    for token in _tokens(text):
        if start is None:
            if token.token_type in _OPEN:
                depth += 1
            elif token.token_type in _CLOSE:
                depth -= 1
            elif token.token_type is TokenType.SELECT and depth == 0:
                start = token.end + 1
        elif depth == 0 and token.token_type in _SELECT_LIST_ENDS:
            yield _item(text[start : token.start])
            return
        elif depth == 0 and token.token_type is TokenType.COMMA:
            yield _item(text[start : token.start])
            start = token.end + 1
        elif token.token_type in _OPEN:
            depth += 1
        elif token.token_type in _CLOSE:
            depth -= 1
    if start is not None:
        yield _item(text[start:])


def _item(text: str) -> str:
    return re.sub(r"(?is)^\s*(?:/\*\+.*?\*/\s*)?(?:(?:DISTINCT|ALL)\b)?", "", text).strip()


def _rewrite(tree: exp.Query) -> tuple[exp.Query, float]:
    """Session functions become parameters, SLEEP is taken out, and some of Doris' own forms get DuckDB's."""
    sleep = 0.0

    def visit(node: exp.Expr) -> exp.Expr:
        nonlocal sleep
        name = node.name.lower() if isinstance(node, exp.Anonymous) else ""
        if name == "sleep":
            sleep += _seconds(node)
            return exp.true()
        if isinstance(node, exp.SessionParameter):
            return exp.Placeholder(this=f"var_{node.name.lower()}")
        if isinstance(node, exp.CurrentDate):
            return exp.cast(exp.Placeholder(this="now"), "date")
        parameter = _SESSION_NODES.get(type(node)) or _SESSION_FUNCTIONS.get(name)
        if parameter and not node.expressions:
            return exp.Placeholder(this=parameter)
        if name == "unix_timestamp" and not node.expressions:
            return exp.Anonymous(this="unix_timestamp", expressions=[exp.Placeholder(this="now")])
        if isinstance(node, exp.Match):
            return _match(node)
        if isinstance(node, exp.AddMonths):
            return exp.Anonymous(this="months_add", expressions=[node.this, node.expression])
        if isinstance(node, exp.UnixToTime):
            return exp.Anonymous(this="from_unixtime", expressions=[node.this])
        if isinstance(node, exp.Like):
            node.set("this", exp.cast(node.this, "text"))
        return node

    rewritten = tree.transform(visit)
    assert isinstance(rewritten, exp.Query)
    return rewritten, sleep


_SESSION_NODES: dict[type[exp.Expr], str] = {
    exp.CurrentSchema: "database",
    exp.CurrentVersion: "version",
    exp.CurrentUser: "user",
    exp.CurrentCatalog: "catalog",
    exp.CurrentTimestamp: "now",
    exp.Localtime: "now",
    exp.Localtimestamp: "now",
    exp.UtcTimestamp: "now",
}
_SESSION_FUNCTIONS = {
    "connection_id": "connection_id",
    "current_catalog": "catalog",
    "database": "database",
    "now": "now",
    "session_user": "user",
    "user": "user",
    "version": "version",
    "last_query_id": "last_query_id",
}


def _seconds(node: exp.Expr) -> float:
    arguments = node.expressions
    try:
        return max(0.0, float(arguments[0].name))
    except (IndexError, ValueError):
        raise fault("sleep() of the demo engine takes a number of seconds", NOT_SUPPORTED) from None


def _match(node: exp.Match) -> exp.Expr:
    """Doris' inverted index operators, as regular expressions over the text."""
    words = [re.escape(w) for w in re.findall(r"\w+", node.expression.name.lower())]
    kind = str(node.args.get("kind") or "ANY").upper()
    text = exp.func("lower", node.this)

    def holds(pattern: str) -> exp.Expr:
        return exp.Anonymous(this="regexp_matches", expressions=[text.copy(), exp.Literal.string(pattern)])

    if kind.startswith("PHRASE"):
        return holds(r"\W+".join(words))
    if kind.startswith("ALL"):
        return exp.and_(*(holds(rf"\b{w}\b") for w in words))
    return holds(rf"\b({'|'.join(words)})\b")


def _constants(select: exp.Select) -> tuple[Constant, ...] | None:
    """The answer of `SELECT 1, DATABASE()`-like statements, or None when DuckDB has to be asked."""
    if any(
        value
        for name, value in select.args.items()
        if name not in ("expressions", "hint", "kind", "operation_modifiers")
    ):
        return None
    found = []
    for item in select.expressions:
        node = item.unalias()
        if isinstance(node, exp.Placeholder):
            found.append(Constant(parameter=str(node.this)))
        elif isinstance(node, exp.Boolean):
            found.append(Constant(bool(node.this)))
        elif isinstance(node, exp.Literal) and node.is_string:
            found.append(Constant(node.name))
        elif node.is_int:
            found.append(Constant(int(node.to_py())))
        else:
            return None
    return tuple(found)
