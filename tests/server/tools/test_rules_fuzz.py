"""Random statements on the demo engine: whatever runs, no masked value is in its answer."""

import random
from dataclasses import replace

import pytest

from doris_mcp_server.errors import ServerError
from doris_mcp_server.tools import Context
from doris_mcp_server.tools.rules import Rules

from .conftest import call

pytestmark = pytest.mark.asyncio(loop_scope="module")

COLUMNS = (
    "c_phone",
    "c_phone",
    "C_PHONE",
    "`c_phone`",
    "t.c_phone",
    "c_name",
    "t.c_name",
    "c_custkey",
    "*",
    "t.*",
    "*",
)
FORMS = ("{}",) * 6 + ("{} AS x", "{} AS c_name", "+{}", "({})", "upper({})", "max({}) OVER ()", "concat({}, 'x')")
ALIASES = ("t", "AS t", "t(a)", "t(a, b)", "t(c_name, c_city)")
WHERE = ("", "", "", " WHERE c_custkey < 9", " WHERE EXISTS (SELECT * FROM customer)", " WHERE c_phone LIKE '1%'")
GROUP = ("", "", "", "", " GROUP BY 1", " GROUP BY c_phone")
ORDER = ("", "", "", "", " ORDER BY 1", " ORDER BY c_custkey", " ORDER BY c_phone")


def item(draw: random.Random) -> str:
    column = draw.choice(COLUMNS)
    return column if column.endswith("*") else draw.choice(FORMS).format(column)


def select(draw: random.Random, depth: int) -> str:
    source = "customer t"
    if depth and draw.random() < 0.5:
        source = f"({query(draw, depth - 1)}) {draw.choice(ALIASES)}"
    if draw.random() < 0.15:
        source += " JOIN supplier s ON true"
    items = ", ".join(item(draw) for _ in range(draw.randint(1, 3)))
    distinct = draw.choice(("", "", "", "DISTINCT "))
    rest = "".join(draw.choice(choices) for choices in (WHERE, GROUP, ORDER))
    return f"SELECT {distinct}{items} FROM {source}{rest} LIMIT 20"


def query(draw: random.Random, depth: int) -> str:
    match draw.randint(0, 9):
        case 0:
            return f"({select(draw, depth)}) UNION ALL ({select(draw, depth)})"
        case 1:
            return f"WITH u{draw.choice(('', '(a, b)'))} AS ({select(draw, 0)}) SELECT {item(draw)} FROM u t"
        case _:
            return select(draw, depth)


async def test_no_statement_shows_a_masked_value(context: Context) -> None:
    rows = (await call(context, "execute_query", sql="SELECT c_phone FROM customer"))["rows"]
    secrets = {phone for (phone,) in rows if len(phone) > 5}
    assert len(secrets) > 50
    masked = replace(context, rules=Rules((), ("customer.c_phone",)))
    draw = random.Random(20)
    answered = 0
    for _ in range(2000):
        sql = query(draw, 2)
        try:
            answer = await call(masked, "execute_query", sql=sql)
        except ServerError:
            continue
        answered += 1
        values = [str(value) for row in answer["rows"] for value in row]
        assert not any(secret in value for value in values for secret in secrets), sql
    assert answered > 50
