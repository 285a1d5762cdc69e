"""Decides which statements may be sent to Doris: exactly one that only reads, by a grammar, never by patterns.

What is sent is what was judged. The text is cut into tokens (`lexer`). A grammar that takes no more than Doris' own
reads them (`types`, `expressions`, `functions`, `sources`, `queries`, each standing on the one before; `shows` for SHOW
and DESC) and notes what they do (`reading`); the policy decides about that (`calls`, `masked`). Then the statement is
rewritten from its tokens (`writer`), so that nothing is left that another reader could take for something else. The
rewritten statement is read once more, and must give the same verdict.
"""

import asyncio
import gc
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Final

from doris_mcp_server.doris.guard import calls, masked, shows
from doris_mcp_server.doris.guard.budget import Budget, OutOfTime
from doris_mcp_server.doris.guard.lexer import ONE_STATEMENT, SHORTER, Token, place, tokens
from doris_mcp_server.doris.guard.policy import POLICY, Policy
from doris_mcp_server.doris.guard.queries import QueryGrammar
from doris_mcp_server.doris.guard.verdicts import Decision, Memory, Refusal, Verdict
from doris_mcp_server.doris.guard.writer import Sent, is_placed, written
from doris_mcp_server.doris.names import fold
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


async def in_words_of_caller(sql: str, policy: Policy, words: str, before: int = 0) -> str:
    """What Doris says about the text sent for `sql`, with the places that the caller's text has instead.

    `before`: characters that were sent in front of it.
    """
    if not is_placed(words):
        return words
    judged = asyncio.get_running_loop().run_in_executor(_thread, _judged, sql, policy, Budget(MAX_SECONDS))
    try:
        _, sent = await judged
    except (StatementRefused, OutOfTime, RecursionError):
        return words  # too busy to read it again: the places of the sent text are better than no answer
    return sent.in_words_of_caller(words, before)


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
    verdict, sent = _judged(sql, policy, budget)
    if sent.text == sql:
        return replace(verdict, sent=sql)  # one text is remembered, not two
    again, _ = _judged(sent.text, policy, budget)
    if again != verdict:
        raise StatementRefused("The statement can be read in two ways", hint="Write it in a plainer way.")
    return verdict


def _judged(sql: str, policy: Policy, budget: Budget) -> tuple[Verdict, Sent]:
    found = tokens(sql, policy.dialect)
    _check_tokens(sql, found, policy)
    first = shows.explained(found)
    if first is None:
        return shows.read(sql, found, policy, budget)
    _check_start(sql, found[first:])
    reading = _grammar(sql, found, first, policy, budget).whole()
    for call in reading.calls:
        if wrong := calls.wrong(call, found, reading.roles, policy, budget.step):
            raise StatementRefused(wrong[0], hint=wrong[1], at=place(sql, found[call.index].start))
    kind = "explain" if first else reading.kind
    tables = tuple(sorted({path for path, _ in reading.tables}))
    perhaps = tuple(reading.perhaps) if policy.dialect.two_parsers else ()
    hidden = policy.tables(kind, tables, perhaps, budget.step)
    if hidden and first:
        raise StatementRefused("A plan can show values of columns that are masked", hint="Ask explain_query for it.")
    selected = masked.check(sql, found, reading, hidden) if hidden else 0
    sent = written(sql, found, reading, policy.dialect)
    definitions = any(fold(path[-1]) == "views" for path in tables)  # information_schema.views has a column of them
    return Verdict(kind, tables, sent.text, definitions, hidden, selected), sent


def _grammar(sql: str, found: list[Token], first: int, policy: Policy, budget: Budget) -> QueryGrammar:
    grammar = QueryGrammar(sql, found, policy.dialect, budget)
    grammar.index = first
    return grammar


def _check_start(sql: str, found: list[Token]) -> None:
    first = next((token for token in found if token.text != "("), found[0])
    if first.word in ("SELECT", "WITH") or (first.word == "VALUES" and _is_united(found)):
        return
    shown = first.word if first.kind == "word" and first.text.isascii() and len(first.text) <= 20 else "this"
    hint = INSTEAD.get(first.word, ONE_STATEMENT)
    raise StatementRefused(f"{ALLOWED}, not {shown}", hint=hint, at=place(sql, first.start))


def _is_united(found: list[Token]) -> bool:
    """Whether VALUES are a part of a set operation: alone they are no query to every version."""
    return any(token.word in ("UNION", "INTERSECT", "EXCEPT", "MINUS") for token in found)


def _check_tokens(sql: str, found: list[Token], policy: Policy) -> None:
    """What has no place in any statement, wherever the grammar would put it."""
    for token, following in pairwise(found):
        called = following.word == "(" and token.kind in ("word", "name", "string")
        if called and (wrong := calls.refused(token.text.strip("`'\"").lower(), policy)):
            raise StatementRefused(wrong[0], hint=wrong[1], at=place(sql, token.start))
    for token in found:
        if token.word == "INTO":
            words, hint = "INTO is not allowed: results go to the caller only", "Leave INTO out."
            raise StatementRefused(words, hint=hint, at=place(sql, token.start))
