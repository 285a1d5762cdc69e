"""What must be true of every text that the guard sends, held against a second reader of it."""

from dataclasses import replace
from typing import Final

from doris_mcp_server.doris import guard
from doris_mcp_server.doris.guard.dialect import Version, dialect_of
from doris_mcp_server.doris.guard.lexer import tokens
from doris_mcp_server.doris.guard.policy import POLICY, Policy
from doris_mcp_server.doris.guard.verdicts import Verdict
from doris_mcp_server.errors import StatementRefused

from .sent_reader import WORDS, Piece, Unreadable, ctes, cut, tables

VERSIONS: Final[dict[str, Version | None]] = {
    "unknown": None,
    "2.1": (2, 1, 8),
    "3.0": (3, 0, 4),
    "4.0": (4, 0, 1),
    "4.1": (4, 1, 0),
}
POLICIES: Final = {name: replace(POLICY, dialect=dialect_of(version)) for name, version in VERSIONS.items()}
# What a query has bare: each stands for itself in Doris' grammar of queries. Others of the table are names there.
_KEYWORDS: Final = """
    AGG_STATE ALL ANALYZED ANALYZER AND ANTI ARRAY AS ASC ASOF BETWEEN BIGINT BINARY BITMAP BOOLEAN BOTH BY CASE CAST
    CHAR COLLATE COMMENT CROSS CUBE CURRENT CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER DATE DATETIME
    DATETIMEV1 DATETIMEV2 DATEV1 DATEV2 DAY DAY_HOUR DAY_MINUTE DAY_SECOND DECIMAL DECIMALV2 DECIMALV3 DEFAULT DESC
    DESCRIBE DISTINCT DISTRIBUTED DIV DOUBLE DUAL ELSE END ESCAPE EXCEPT EXISTS EXPLAIN EXTRACT FALSE FILTER FIRST FLOAT
    FOLLOWING FOR FROM FULL GLOBAL GRAPH GROUP GROUPING HAVING HLL HOUR HOUR_MINUTE HOUR_SECOND IN INDEX INNER INT
    INTEGER INTERSECT INTERVAL IPV4 IPV6 IS JOIN JSON JSONB KEY LARGEINT LAST LATERAL LEADING LEFT LIKE LIMIT LOCAL
    LOCALTIME LOCALTIMESTAMP LOGICAL MAP MATCH MATCH_ALL MATCH_ANY MATCH_CONDITION MATCH_NAME MATCH_NAME_GLOB
    MATCH_PHRASE MATCH_PHRASE_EDGE MATCH_PHRASE_PREFIX MATCH_REGEXP MEMO MICROSECOND MILLISECOND MINUS MINUTE
    MINUTE_SECOND MOD MONTH NOT NULL NULLS OF OFFSET ON OPTIMIZED OR ORDER ORDINALITY OUTER OVER PARSED PARTITION
    PARTITIONS PERCENT PHYSICAL PLAN PRECEDING PROCESS PROPERTIES QUALIFY QUANTILE_STATE QUARTER RANGE RECURSIVE REGEXP
    REPEATABLE REPLACE REWRITTEN RIGHT RLIKE ROLLUP ROW ROWS SECOND SECOND_MICROSECOND SELECT SEMI SEPARATOR SESSION
    SESSION_USER SETS SHAPE SIGNED SMALLINT STRING STRUCT TABLESAMPLE TABLET TEMPORARY TEXT THEN TIME TIMESTAMP
    TIMESTAMPTZ TINYINT TRAILING TREE TRUE TRY_CAST UNBOUNDED UNION UNNEST UNSIGNED USING VALUES VARBINARY VARCHAR
    VARIANT VERBOSE VERSION VIEW WEEK WHEN WHERE WINDOW WITH XOR YEAR YEAR_MONTH
"""
KEYWORDS: Final = frozenset(_KEYWORDS.split())
_SHOWS: Final = ("SHOW", "DESC", "DESCRIBE")


def judged(sql: str, policy: Policy) -> Verdict | None:
    """The verdict; None for what is refused."""
    try:
        return guard.check(sql, policy)
    except StatementRefused:
        return None


def broken(sql: str, version: str) -> tuple[bool, str]:
    """Whether `sql` is sent to this version, and what is wrong with that: "" if nothing is."""
    policy = POLICIES[version]
    verdict = judged(sql, policy)
    if verdict is None:
        return False, ""
    try:
        pieces = _pieces(verdict.sent, version)
    except Unreadable as reason:
        return True, f"cannot be read: {reason}"
    rules = (_other_tokens(sql, pieces, policy), _bare_names(pieces), _other_tables(verdict, pieces))
    return True, "; ".join(filter(None, (*rules, _judged_again(verdict, policy))))


def _pieces(sent: str, version: str) -> list[Piece]:
    """Where nobody knows whether r'..' is a raw string, both readings must agree."""
    both = [cut(sent, raw=raw) for raw in ((True, False) if version == "unknown" else (version in ("2.1", "3.0"),))]
    if both[0] != both[-1]:
        raise Unreadable("the end of a raw string is not clear")
    return both[0]


def _other_tokens(sql: str, pieces: list[Piece], policy: Policy) -> str:
    """The sent pieces are the caller's tokens: some in backquotes now, some hints less, some aliases more."""
    rest = list(reversed(pieces))
    for token in tokens(sql, policy.dialect):
        for text in (token.text[0], token.text[1:]) if token.kind in ("raw", "hex") else (token.text,):
            if not (rest and rest[-1].text in (text, f"`{text}`")):
                _pass_alias(sql, rest)
            if rest and (rest[-1].text == text or (token.kind == "word" and rest[-1].text == f"`{text}`")):
                rest.pop()
            elif token.kind != "hint":
                return f"{text!r} became {rest[-1].text if rest else 'nothing'!r}"
    _pass_alias(sql, rest)
    return f"{rest[-1].text!r} was never there" if rest else ""


def _pass_alias(sql: str, rest: list[Piece]) -> None:
    if len(rest) > 1 and rest[-1].text == "AS" and rest[-2].kind == "name" and rest[-2].called in sql:
        del rest[-2:]


def _bare_names(pieces: list[Piece]) -> str:
    """Words of the table that stand where a name stands."""
    if pieces[0].word in _SHOWS and not any(piece.word == "SELECT" for piece in pieces):
        return ""
    edge = Piece("sign", "")
    around = [edge, edge, edge, *pieces, edge]
    wrong = []
    for index, piece in enumerate(pieces, 3):
        before, after = around[index - 1], around[index + 1]
        is_variable = "@@" in (before.text, around[index - 3].text if before.text == "." else "")
        if piece.kind != "word" or piece.word not in WORDS.known:
            continue
        if is_variable or after.text == "(" or before.text == "[":
            continue
        names = before.text == "." or (after.text == "." and not _ends_value(before) and not _is_value(piece))
        if names or piece.word not in KEYWORDS:
            wrong.append(piece.text)
    return f"bare: {' '.join(wrong)}" if wrong else ""


def _ends_value(piece: Piece) -> bool:
    """INTERVAL 5 MINUTE.a: behind a value stands no other."""
    bare = piece.kind == "word" and piece.word not in WORDS.known
    return bare or piece.kind in ("number", "text", "name") or piece.text == ")"


def _is_value(piece: Piece) -> bool:
    """NULL.a and current_date.a: what is before the dot is no name."""
    return piece.word in WORDS.always or piece.word.startswith(("CURRENT_", "LOCALTIME", "SESSION_"))


def _other_tables(verdict: Verdict, pieces: list[Piece]) -> str:
    if not verdict.is_query and verdict.kind != "explain":
        return ""
    found, named = tables(pieces), set(verdict.paths)
    unnamed = {path for path in found - named if not (len(path) == 1 and path[0] in ctes(pieces))}
    if unnamed or named - found:
        return f"tables: {sorted(unnamed)} are not named, {sorted(named - found)} are not there"
    return ""


def _judged_again(verdict: Verdict, policy: Policy) -> str:
    again = judged(verdict.sent, policy)
    return "" if again == verdict else f"judged again: {again}"
