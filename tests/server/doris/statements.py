"""The statements that the guard is tested and measured with, from the files beside this one."""

import json
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
SHARED = HERE.parents[3] / "shared" / "corpus" / "sql_guard.jsonl"
VERSIONS = ("unknown", "2.1", "3.0", "4.0", "4.1")
ACCEPTED = ("accept", "limit", "rbac")
# The shared corpus leaves it to the caller's own account; the guard closes such tables (patterns.CLOSED_TABLES).
CLOSED = ("SELECT * FROM information_schema.user_privileges",)


class Row(NamedTuple):
    """One statement: `name` is file and number, `accept` what must become of it."""

    name: str
    sql: str
    accept: bool


def corpus() -> list[Row]:
    """Our corpus, and the shared one where it is there."""
    return own() + (_rows(SHARED) if SHARED.is_file() else [])


def own() -> list[Row]:
    """Our corpus: the same wherever the project is."""
    return _rows(HERE / "statements.jsonl")


def legal() -> list[Row]:
    """Queries of Doris' manual, each ended by a `;` at the end of a line."""
    texts = (HERE / "legal.sql").read_text(encoding="utf-8").split(";\n")
    return [Row(f"legal:{number}", text, True) for number, text in enumerate(texts, 1) if text.strip()]


def illegal() -> list[Row]:
    """What was tried to get past the guard, one a line; lines that begin with `-- ` are headings."""
    lines = enumerate((HERE / "illegal.sql").read_text(encoding="utf-8").splitlines(), 1)
    return [Row(f"illegal:{number}", line, False) for number, line in lines if line and not line.startswith("-- ")]


def large() -> list[Row]:
    """Statements that are a lot of work, accepted or not."""
    return [
        Row("a chain of 19,999 ORs", "SELECT 1 WHERE" + " a=1 OR" * 19_999 + " a=1", False),
        Row("a chain of 12,000 sums", "SELECT " + "1+" * 12_000 + "1", True),
        Row("10,000 names in a list", "SELECT a FROM t WHERE a IN (0" + ", b" * 9_000 + ")", True),
        Row(
            "10,000 texts in a list",
            "SELECT a FROM t WHERE a IN ('x'" + ", 'a text of some length'" * 10_000 + ")",
            True,
        ),
        Row("8,000 tables", "SELECT 1 FROM a" + ", b" * 8_000, True),
        Row("1,500 joins", "SELECT * FROM a" + " JOIN b ON a.x = b.x" * 1_500, True),
        Row("3,000 queries in a union", "SELECT 1" + " UNION ALL SELECT 1" * 3_000, True),
        Row("1,200 lateral views", "SELECT 1 FROM t" + " LATERAL VIEW explode(a) x AS y" * 1_200, True),
        Row("a text of 1 MB", "SELECT '" + "a" * 1_000_000 + "'", True),
        Row("a text of 500,000 escapes", "SELECT '" + "\\a" * 500_000 + "'", True),
        Row("500,000 escaped quotes", "SELECT '" + "\\'" * 500_000 + "'", False),
        Row("200,000 comments", "SELECT 1" + "/**/" * 200_000, False),
        Row("5,000 parentheses", "SELECT " + "(" * 5_000 + "1" + ")" * 5_000, False),
        Row("a name of 1 MB", "SELECT `" + "a" * 1_000_000 + "`", False),
        Row("a statement of 2 MB", "SELECT '" + "a" * 2_000_000 + "'", False),
    ]


def _rows(path: Path) -> list[Row]:
    cases = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [
        Row(f"{path.stem}:{number}", sql, case["expect"] in ACCEPTED and sql not in CLOSED)
        for number, case in enumerate(cases, 1)
        for sql in [_text(case)]
    ]
    # Some rows of the shared corpus are arguments of other tools.
    return [row for row in rows if not row.sql.startswith("ARG ")]


def _text(case: dict[str, Any]) -> str:
    if case.get("sql") is not None:
        return str(case["sql"])
    build = case["build"]
    return str(build["prefix"] + build["unit"] * build["times"] + build["suffix"])


class SentRow(NamedTuple):
    """What becomes of `sql` at each of `versions`: `sent` is its text there, or `says` why it is refused.

    Rows of one `kind` are of one cause.
    """

    name: str
    kind: str
    sql: str
    versions: tuple[str, ...]
    sent: str | None
    says: str | None


def sent_rows() -> list[SentRow]:
    """Holes of an earlier guard, queries that it refused for nothing, and their like: what is sent instead."""
    return [
        SentRow(
            name=f"{name}:{number}",
            kind=row["id"],
            sql=row["sql"],
            versions=tuple(row.get("versions", VERSIONS)),
            sent=row.get("sent"),
            says=row.get("says"),
        )
        for name in ("guard_holes", "guard_false_refusals")
        for number, line in enumerate((HERE / f"{name}.jsonl").read_text(encoding="utf-8").splitlines(), 1)
        for row in [json.loads(line)]
    ]


def texts() -> list[str]:
    """All statements of our own corpora that are not made to get past the guard."""
    return [row.sql for row in (*own(), *legal())] + [row.sql for row in sent_rows()]
