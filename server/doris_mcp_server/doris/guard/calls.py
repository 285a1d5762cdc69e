"""Whether the functions that a query calls may be called, and from where."""

import math
import re
from collections.abc import Sequence
from typing import Final

from doris_mcp_server.doris.guard.lexer import NUMBER, STRING, Token
from doris_mcp_server.doris.guard.policy import Policy, Step
from doris_mcp_server.doris.guard.reading import Call, Role, bare
from doris_mcp_server.doris.guard.sources import NAMED_TABLES

LEAVE_OUT: Final = "Leave it out."
_WITH_KEYS: Final = re.compile(r"(?:aes|sm4)_(?:en|de)crypt(?:_v2)?")
_WRITES_NUMBER: Final = re.compile(r"\d{1,12}")
_AROUND: Final = "'\" \t\r\n"  # what may stand around a number in a text
_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def wrong(
    call: Call, tokens: Sequence[Token], roles: Sequence[int], policy: Policy, step: Step
) -> tuple[str, str] | None:
    """Why a call is refused and what to use instead. None if it is allowed."""
    if call.place == "key":
        return _wrong_key(call)
    name = call.names[-1].lower()
    if found := refused(name, policy):
        return found
    if call.place == "from" and name == "numbers":
        return _wrong_numbers(call, tokens, policy)
    if call.place != "expression" and name not in policy.row_functions:
        if call.place == "from":
            return f"{call.names[-1][:80]}() cannot be read from", NAMED_TABLES
        return "LATERAL VIEW takes explode() and its like only", NAMED_TABLES
    if name == "sleep":
        return _wrong_sleep(call, tokens, policy)
    return _wrong_amount(call, name, tokens, roles, policy, step)


def refused(name: str, policy: Policy) -> tuple[str, str] | None:
    """What is wrong with calling a function of this name, in lower case, wherever it is called."""
    if name in policy.table_functions:
        return f"The table function {name}() is not allowed", NAMED_TABLES
    if name in policy.refused_functions or name.startswith(policy.refused_prefixes):
        return f"The function {name}() is not allowed", LEAVE_OUT
    return None


def _wrong_key(call: Call) -> tuple[str, str] | None:
    """KEY alone as the second argument: as a part of one, what comes out would tell about its text."""
    around = call.around
    with_key = around is not None and len(around.names) == 1 and _WITH_KEYS.fullmatch(around.names[0].lower())
    if around is not None and with_key and (call.index, call.end) in arguments(around)[1:2]:
        return None
    return "KEY shows an encryption key", "A key may be the second argument of aes_... and sm4_... functions only."


def _wrong_sleep(call: Call, tokens: Sequence[Token], policy: Policy) -> tuple[str, str] | None:
    given = [tokens[start:end] for start, end in arguments(call)]
    is_literal = len(given) == 1 and len(given[0]) == 1 and given[0][0].word == NUMBER
    if is_literal and float(given[0][0].text) <= policy.max_sleep:
        return None
    return f"sleep() takes a literal of 0 to {policy.max_sleep} seconds", LEAVE_OUT


def _wrong_numbers(call: Call, tokens: Sequence[Token], policy: Policy) -> tuple[str, str] | None:
    """Each key once, and plainly: of two Doris takes one, or lets its older parser choose."""
    given: dict[str, Sequence[Token]] = {}
    for start, end in arguments(call):
        key, value = _text_of(tokens[start]).lower(), tokens[start + 2 : end]
        plain = len(value) == 1 and tokens[start + 1].text == "=" and key in ("number", "const_value")
        if not plain or key in given:
            return "numbers() takes 'number' = '10' and the like", f"Up to {policy.max_numbers:,} rows."
        given[key] = value
    text = _text_of(given["number"][0]) if "number" in given else ""
    if _WRITES_NUMBER.fullmatch(text) and int(text) <= policy.max_numbers:
        return None
    return "numbers() needs one literal 'number'", f"Up to {policy.max_numbers:,} rows."


def _wrong_amount(
    call: Call, name: str, tokens: Sequence[Token], roles: Sequence[int], policy: Policy, step: Step
) -> tuple[str, str] | None:
    """A function that makes many values of one: the literals that say how many are bounded, also those of functions
    inside of each other together."""
    if name not in {maker for maker, _ in policy.row_makers}:
        return None
    amount = 1.0
    making: Call | None = call
    while making is not None:
        amount *= _amount(making, tokens, roles, policy, step)
        making = making.around
    if amount <= policy.max_numbers:
        return None
    return f"{name}() takes one literal of up to {policy.max_numbers:,}, or a column", "Ask for less at a time."


def _amount(call: Call, tokens: Sequence[Token], roles: Sequence[int], policy: Policy, step: Step) -> float:
    """How many values the literals in a call ask for. 1 if there is no such literal."""
    name = call.names[-1].lower()
    most = 1.0
    for number, (start, end) in enumerate(arguments(call)):
        if (name, number) in policy.row_makers:
            for token in tokens[start:end]:
                step()
                most = max(most, _number_of(token))
            names_column = Role.NAME in roles[start:end]
            most = math.inf if not names_column and _is_multiplied(tokens[start:end]) else most
    return most


def _number_of(token: Token) -> float:
    """The number that Doris reads from a text. For a text with a backslash, more than the limit."""
    if token.word == NUMBER:
        return float(token.text)
    if token.word != STRING:
        return 0.0
    if _reads_as_number(token):
        return float(token.text.strip(_AROUND))
    return math.inf if "\\" in token.text else 0.0


def _reads_as_number(token: Token) -> bool:
    return token.word == NUMBER or (token.word == STRING and _NUMBER.fullmatch(token.text.strip(_AROUND)) is not None)


def _is_multiplied(inside: Sequence[Token]) -> bool:
    """Whether a number is an operand of an operator other than + and -, or an argument of a function."""
    numbers = [token for token in inside if _reads_as_number(token)]
    return len(numbers) > 1 and any(token.text not in "+-" for token in inside if token.kind == "sign")


def arguments(call: Call) -> list[tuple[int, int]]:
    """For each argument, the index of its first token and the index after its last."""
    ends = (*(start - 1 for start in call.arguments[1:]), call.end)
    return list(zip(call.arguments, ends, strict=False))


def _text_of(token: Token) -> str:
    return token.text[1:-1] if token.kind == "string" else bare(token)
