"""Decides which statements may be sent to Doris: exactly one that only reads, by parsing it, never by patterns.

Layers, each of which can only refuse: our lexer (`lexer`), which counts statements as Doris does and refuses what
can be read in two ways; then for SHOW and DESC our own list of forms (`shows`), for everything else sqlglot's Doris
dialect (`reader`), whose tree must be a query without side effects and without table functions that reach out
(`tree`). The text itself is sent unchanged: sqlglot does not round-trip exactly.
"""

import asyncio
import gc
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Final

from doris_mcp_server.doris.guard import masked, shows, tree
from doris_mcp_server.doris.guard.budget import Budget, OutOfTime
from doris_mcp_server.doris.guard.lexer import ONE_STATEMENT, SHORTER, Code, Token, place, tokens
from doris_mcp_server.doris.guard.policy import POLICY, Policy
from doris_mcp_server.doris.guard.reader import reading
from doris_mcp_server.doris.guard.verdicts import Decision, Memory, Refusal, Verdict
from doris_mcp_server.errors import StatementRefused

MAX_SECONDS: Final = 0.2  # of CPU, for one statement
INLINE_SECONDS: Final = 0.005  # what the event loop can do without for one statement
HAND_OVER_SECONDS: Final = 0.001
INLINE_CHARACTERS: Final = 2_048

INSTEAD: Final = {
    "USE": "Give `catalog` and `database` as arguments, or write catalog.database.table.",
    "SWITCH": "Give `catalog` as an argument, or write catalog.database.table.",
    "SET": "Limits are arguments of the tool; other session variables cannot be set.",
    "VALUES": "Write SELECT * FROM (VALUES ...) AS t.",
    "TABLE": "Write SELECT * FROM and the table.",
}
ALLOWED: Final = "Only SELECT, WITH, EXPLAIN, DESC and some forms of SHOW are allowed"

_memory: Final = Memory()
# One thread: a second would not be quicker, they would only take turns on the interpreter with each other and the
# event loop. Callers with long statements wait for each other, nobody else does.
_thread: Final = ThreadPoolExecutor(1, thread_name_prefix="guard")


def check(sql: str, policy: Policy = POLICY) -> Verdict:
    """Accept one statement that only reads, or raise StatementRefused: the reason, the place and what would do.

    May take MAX_SECONDS; on an event loop use `judge`.
    """
    return _verdict(_memory.get(sql, policy) or _decide(sql, policy))


async def judge(sql: str, policy: Policy = POLICY) -> Verdict:
    """The same, and other tasks go on meanwhile: long statements are read in a thread, one after the other."""
    decision = _memory.get(sql, policy) or _decide_at_once(sql, policy)
    if decision is None:
        decision = await asyncio.get_running_loop().run_in_executor(_thread, _decide, sql, policy)
    return _verdict(decision)


def _verdict(decision: Decision) -> Verdict:
    if isinstance(decision, Refusal):
        raise decision.error()
    return decision


def _decide_at_once(sql: str, policy: Policy) -> Decision | None:
    """None for what takes longer, or needs a deeper stack than is left here."""
    if len(sql) > INLINE_CHARACTERS:
        return None
    try:
        return _remembered(sql, policy, INLINE_SECONDS)
    except (OutOfTime, RecursionError):
        return None


def _decide(sql: str, policy: Policy) -> Decision:
    try:
        with _standing_aside():
            return _remembered(sql, policy, MAX_SECONDS)
    except OutOfTime:
        refusal = Refusal(f"The statement takes more than {MAX_SECONDS:g} s to read", SHORTER, None)
    except RecursionError:
        refusal = Refusal("The statement is nested too deeply", "Break it up.", None)
    _memory.keep(sql, policy, refusal)
    return refusal


@contextmanager
def _standing_aside() -> Iterator[None]:
    """Other threads get the interpreter after HAND_OVER_SECONDS, and no garbage collection stops them all meanwhile.

    A big tree makes collections long; `reading` leaves no garbage.
    """
    collecting, interval = gc.isenabled(), sys.getswitchinterval()
    gc.disable()
    sys.setswitchinterval(HAND_OVER_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        if collecting:
            gc.enable()


def _remembered(sql: str, policy: Policy, seconds: float) -> Decision:
    try:
        decision: Decision = _read(sql, policy, Budget(seconds))
    except StatementRefused as refused:
        decision = Refusal(refused.message, refused.hint, refused.at)
    _memory.keep(sql, policy, decision)
    return decision


def _read(sql: str, policy: Policy, budget: Budget) -> Verdict:
    found = tokens(sql)
    _check_tokens(sql, found, policy)
    query = shows.explained(found)
    if query is None:
        return shows.read(sql, found, masked=bool(policy.masked))
    if query and policy.masked:
        raise StatementRefused("A plan can show values of columns that are masked", hint="Ask explain_query for it.")
    _check_start(sql, found[query:])
    code = Code(sql, found[query:])
    with reading(code, budget) as whole:
        tables = tree.check(whole, code, policy, budget)
        selected = masked.check(code, whole, policy.masked) if policy.masked else 0
        return Verdict("explain" if query else whole.key, tables, masked=selected)


def _check_start(sql: str, found: list[Token]) -> None:
    first = next((token for token in found if token.text != "("), found[0])
    word = first.text.upper()
    if first.kind == "word" and word in ("SELECT", "WITH"):
        return
    shown = word if first.kind == "word" and word.isascii() and len(word) <= 20 else "this"
    hint = INSTEAD.get(word, ONE_STATEMENT)
    raise StatementRefused(f"{ALLOWED}, not {shown}", hint=hint, at=place(sql, first.start))


def _check_tokens(sql: str, found: list[Token], policy: Policy) -> None:
    """What has no place in any statement, wherever the parser would put it."""
    for token in found:
        if token.kind == "assign":
            words, hint = "Variables cannot be assigned (:=)", "Use a CTE or a window function."
            raise StatementRefused(words, hint=hint, at=place(sql, token.start))
        if token.kind == "word" and token.text.upper() == "INTO":
            words, hint = "INTO is not allowed: results go to the caller only", "Leave INTO out."
            raise StatementRefused(words, hint=hint, at=place(sql, token.start))
    for token, following in pairwise(found):
        called = following.text == "(" and token.kind in ("word", "name", "string")
        if called and (wrong := tree.check_called(token.text, policy)):
            raise StatementRefused(wrong[0], hint=wrong[1], at=place(sql, token.start))
