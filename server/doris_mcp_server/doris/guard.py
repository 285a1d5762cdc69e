"""Decides which statements may be sent to Doris: exactly one that only reads, by parsing it, never by patterns.

Two readers must agree: our lexer (`lexer`), which counts statements as Doris does and refuses what can be read in
two ways, and sqlglot's Doris dialect, whose tree must be a query without side effects and without table functions
that reach out. The text itself is sent unchanged: sqlglot does not round-trip exactly.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final

import sqlglot
from sqlglot import exp
from sqlglot.dialects.doris import Doris
from sqlglot.parsers.doris import DorisParser
from sqlglot.parsers.mysql import MySQLParser
from sqlglot.tokenizer_core import TokenType

from doris_mcp_server.doris.lexer import ONE_STATEMENT, Token, for_parser, tokens
from doris_mcp_server.errors import StatementRefused

# sqlglot warns about what it parses as a bare Command; that is refused here and needs no line in the log.
logging.getLogger("sqlglot").setLevel(logging.ERROR)

CACHED_CHARACTERS: Final = 16_384
SLOW_CHARACTERS: Final = 4_096  # from here on parsing takes milliseconds: do it off the event loop
MAX_SLEEP_SECONDS: Final = 60
MAX_NUMBERS: Final = 1_000_000

# https://doris.apache.org/docs/sql-manual/sql-functions/table-valued-functions/ : they read files and other
# systems, or show what other people run. Also refused outside FROM, in case the parser misreads a position.
# fmt: off
TABLE_FUNCTIONS: Final = frozenset({
    "s3", "hdfs", "local", "file", "http", "http_stream",
    "group_commit", "query", "cdc_stream", "iceberg_meta", "hudi_meta", "paimon_meta",
    "parquet_meta", "parquet_metadata", "parquet_schema", "parquet_file_metadata", "parquet_kv_metadata", "backends",
    "frontends", "frontends_disks", "catalogs", "jobs", "tasks", "mv_infos",
    "partition_values", "active_queries", "active_be_tasks", "workload_groups", "workload_sched_policy", "gcs",
    "azure", "oss", "cos", "obs",
})
# fmt: on
ROW_FUNCTIONS: Final = ("explode", "posexplode", "unnest")
REFUSED_FUNCTIONS: Final = frozenset({"benchmark", "load_file", "get_lock", "release_lock", "master_pos_wait"})
REACHING_OUT: Final = ("ai_", "llm_")  # Doris 4 sends their arguments to a language model
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

INSTEAD: Final = {
    "SHOW": "Use list_catalogs, list_databases, list_tables or get_table_context.",
    "DESC": "Use get_table_context for the columns of a table.",
    "DESCRIBE": "Use get_table_context for the columns of a table.",
    "EXPLAIN": "Use explain_query with the SELECT alone.",
    "USE": "Give `catalog` and `database` as arguments, or write catalog.database.table.",
    "SWITCH": "Give `catalog` as an argument, or write catalog.database.table.",
    "SET": "Limits are arguments of the tool; other session variables cannot be set.",
}
NAMED_TABLES: Final = "Read from tables and views only; numbers(), unnest() and LATERAL VIEW explode() also work."


@dataclass(frozen=True, slots=True)
class Verdict:
    """An accepted statement: `statement_kind` ("select", "union", ...) and the tables it names, as written, sorted."""

    statement_kind: str
    tables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Refusal:
    message: str
    hint: str | None


class DorisReader(Doris):
    """sqlglot's dialect plus what Doris takes and it does not. Only for reading: it writes no SQL."""

    SUPPORTS_USER_DEFINED_TYPES = True  # LARGEINT, BITMAP, HLL, ...: any name may stand for a type

    class Tokenizer(Doris.Tokenizer):
        KEYWORDS: ClassVar = {**Doris.Tokenizer.KEYWORDS, "MINUS": TokenType.EXCEPT}

    class Parser(DorisParser):
        FUNCTION_PARSERS: ClassVar = {
            **DorisParser.FUNCTION_PARSERS,
            "GROUP_CONCAT": MySQLParser.FUNCTION_PARSERS["GROUP_CONCAT"],
        }


def check(sql: str) -> Verdict:
    """Accept one statement that only reads, or raise StatementRefused with the reason and what would be accepted.

    Verdicts on texts of up to 16 KiB are cached, refusals too. Longer texts than SLOW_CHARACTERS take
    milliseconds: call it from a thread.
    """
    decision = _cached(sql) if len(sql) <= CACHED_CHARACTERS else _decide(sql)
    if isinstance(decision, _Refusal):
        raise StatementRefused(decision.message, hint=decision.hint)
    return decision


def check_explainable(sql: str) -> Verdict:
    """The same for a statement that EXPLAIN is put before: planning reads files and external catalogs, too."""
    return check(sql)


def _decide(sql: str) -> Verdict | _Refusal:
    try:
        found = tokens(sql)
        _check_tokens(found)
        tree = _parse(for_parser(sql, found))
        _check_tree(tree)
        return Verdict(tree.key, _tables(tree))
    except StatementRefused as refused:
        return _Refusal(refused.message, refused.hint)
    except RecursionError:
        return _Refusal("The statement is nested too deeply", "Break it up.")


_cached = lru_cache(maxsize=1024)(_decide)


def _check_tokens(found: list[Token]) -> None:
    first = next((token for token in found if token.text != "("), found[0])
    word = first.text.upper()
    if word not in ("SELECT", "WITH") or first.kind != "word":
        shown = word if first.kind == "word" and word.isascii() and len(word) <= 20 else "this"
        raise StatementRefused(f"Only SELECT and WITH are allowed, not {shown}", hint=INSTEAD.get(word, ONE_STATEMENT))
    for token, following in zip(found, [*found[1:], None], strict=True):
        if token.kind == "assign":
            raise StatementRefused("Variables cannot be assigned (:=)", hint="Use a CTE or a window function.")
        if token.kind == "word" and token.text.upper() == "INTO":
            raise StatementRefused("INTO is not allowed: results go to the caller only", hint="Leave INTO out.")
        if following is not None and following.text == "(" and token.kind in ("word", "name", "string"):
            _check_called(token.text.strip("`'\"").lower())


def _check_called(name: str) -> None:
    if name in TABLE_FUNCTIONS:
        raise StatementRefused(f"The table function {name}() is not allowed", hint=NAMED_TABLES)
    if name in REFUSED_FUNCTIONS or name.startswith(REACHING_OUT):
        raise StatementRefused(f"The function {name}() is not allowed", hint="Leave it out.")


def _parse(sql: str) -> exp.Expr:
    try:
        trees = sqlglot.parse(sql, read=DorisReader)
    except RecursionError:
        raise
    except Exception as error:
        # Not only ParseError: odd input breaks the parser in other ways, and what it cannot read is not sent.
        reason = str(error).split("\n", 1)[0][:200]
        raise StatementRefused(f"The statement cannot be parsed: {reason}", hint=ONE_STATEMENT) from None
    whole = [tree for tree in trees if tree is not None and not isinstance(tree, exp.Semicolon)]
    if len(whole) != 1:
        raise StatementRefused("There must be exactly one statement", hint=ONE_STATEMENT)
    tree = whole[0]
    if not isinstance(tree, exp.Select | exp.SetOperation | exp.Subquery):  # exp.Query has DDL below it, too
        raise StatementRefused("Only SELECT and WITH are allowed", hint=ONE_STATEMENT)
    return tree


def _check_tree(tree: exp.Expr) -> None:
    for node in tree.walk():
        if isinstance(node, EFFECTS):
            raise StatementRefused(f"{node.key.upper()} is not allowed in a query", hint=ONE_STATEMENT)
        if isinstance(node, exp.From | exp.Join):
            _check_source(node.this)
        elif isinstance(node, exp.Table):
            _check_source(node)
        elif isinstance(node, exp.Lateral):
            _check_lateral(node)
        elif isinstance(node, exp.Func):
            _check_function(node)


def _check_source(source: object) -> None:
    """Whatever stands in FROM or JOIN must be a named table, a query, or rows made from values."""
    if isinstance(source, exp.Table):
        if isinstance(source.this, exp.Identifier | exp.Query | exp.Table):
            return
        if isinstance(source.this, exp.Func) and _called(source.this) == "numbers":
            _check_numbers(source.this)
            return
        if isinstance(source.this, exp.Func) and _called(source.this).startswith(ROW_FUNCTIONS):
            return
        name = _called(source.this) if isinstance(source.this, exp.Func) else type(source.this).__name__
        raise StatementRefused(f"{name or 'This'}() cannot be read from", hint=NAMED_TABLES)
    if not isinstance(source, exp.Query | exp.Lateral | exp.Unnest | exp.Values):
        raise StatementRefused("This cannot be read from", hint=NAMED_TABLES)


def _check_lateral(lateral: exp.Lateral) -> None:
    source = lateral.this
    if isinstance(source, exp.Query | exp.Unnest):
        return
    if not (isinstance(source, exp.Func) and _called(source).startswith(ROW_FUNCTIONS)):
        raise StatementRefused("LATERAL takes a subquery, unnest() or explode() only", hint=NAMED_TABLES)


def _check_function(function: exp.Func) -> None:
    name = _called(function)
    _check_called(name)
    if name == "sleep":
        seconds = function.expressions[0] if len(function.expressions) == 1 else None
        if not isinstance(seconds, exp.Literal) or not 0 <= _number(seconds) <= MAX_SLEEP_SECONDS:
            words = f"sleep() takes a literal of 0 to {MAX_SLEEP_SECONDS} seconds"
            raise StatementRefused(words, hint="Leave it out.")


def _check_numbers(function: exp.Func) -> None:
    for argument in function.expressions:
        if isinstance(argument, exp.EQ) and argument.this.name.lower() == "number":
            value = argument.expression
            if isinstance(value, exp.Literal) and 0 <= _number(value) <= MAX_NUMBERS:
                return
    raise StatementRefused("numbers() needs a literal 'number'", hint=f"Up to {MAX_NUMBERS:,} rows.")


def _called(function: exp.Func) -> str:
    name = function.name if isinstance(function, exp.Anonymous | exp.AnonymousAggFunc) else function.sql_name()
    return name.strip("`'\"").lower()


def _number(literal: exp.Literal) -> float:
    try:
        return float(literal.this)
    except ValueError:
        return -1


def _tables(tree: exp.Expr) -> tuple[str, ...]:
    own = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    named: Iterable[exp.Table] = (table for table in tree.find_all(exp.Table) if isinstance(table.this, exp.Identifier))
    parts = (tuple(part.name for part in table.parts) for table in named)
    return tuple(sorted({".".join(p) for p in parts if len(p) > 1 or p[0].lower() not in own}))
