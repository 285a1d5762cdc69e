"""What a Doris account may do beyond reading, as its own SHOW GRANTS tells it: the defence behind the guard.

The columns and their text are those of the frontend's Auth.getUserAuthInfo, the same in 2.1, 3.0 and 4.0 but for the
columns that came with a line. Whatever is written in a way not known here is never taken for harmless.
"""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from doris_mcp_server.doris.names import quote_name, quote_text
from doris_mcp_server.doris.rows import Rows
from doris_mcp_server.errors import QueryFailed

# To read, to see how a view is made, to use a workload group, a compute group, a resource or a storage vault.
HARMLESS: Final = frozenset({"select_priv", "show_view_priv", "usage_priv", "cluster_usage_priv"})
# How many of a name's three parts (catalog, database, table) stand in each column.
LEVELS: Final = {"globalprivs": 0, "catalogprivs": 1, "databaseprivs": 2, "tableprivs": 3, "colprivs": 3}
# What else privileges can be on, as a statement calls it.
KINDS: Final = {
    "resourceprivs": "RESOURCE",
    "workloadgroupprivs": "WORKLOAD GROUP",
    "cloudclusterprivs": "COMPUTE GROUP",
    "computegroupprivs": "COMPUTE GROUP",
    "cloudstageprivs": "STAGE",
    "storagevaultprivs": "STORAGE VAULT",
}
BUILT_IN: Final = ("root", "admin")  # accounts that Doris takes nothing from
OWN_ACCOUNT: Final = "give this server an account of its own that only reads (docs/doris.md, What the account may do)"
SHOWN: Final = 10  # privileges, and statements, that are told one by one
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Excess(NamedTuple):
    """A privilege that nobody needs for reading, and what it is on, as a statement names both."""

    privilege: str
    where: str


@dataclass(frozen=True, slots=True)
class Grants:
    """The privileges an account (`'mcp'@'%'`) has too many. `unknown`: why its grants are not known, or None."""

    account: str = ""
    roles: tuple[str, ...] = ()
    too_much: tuple[Excess, ...] = ()
    unknown: str | None = None

    @property
    def only_reads(self) -> bool | None:
        """None where it is not known."""
        return None if self.unknown is not None else not self.too_much

    @property
    def told(self) -> tuple[Any, ...]:
        """What is worth telling again when it changes; Doris' words for why it does not say are not."""
        return self.only_reads, self.account, frozenset(self.too_much)

    @property
    def problem(self) -> str | None:
        """What is wrong, in words; None when it only reads."""
        if self.unknown is not None:
            return f"what its Doris account may do is not known: {self.unknown}"
        if not self.too_much:
            return None
        listed = ", ".join(f"{privilege} on {where}" for privilege, where in self.too_much[:SHOWN])
        more = len(self.too_much) - SHOWN
        return (
            f"the Doris account {self.account} may do more than read: {listed}{f' and {more} more' if more > 0 else ''}"
        )

    @property
    def fixes(self) -> list[str]:
        """The REVOKE statements for these privileges, one for each object. Without one, what to do in words."""
        if not self.too_much:
            return []
        if self.account.startswith(tuple(f"'{user}'@" for user in BUILT_IN)):
            return [OWN_ACCOUNT]
        places: dict[str, list[str]] = {}
        for privilege, where in self.too_much:
            places.setdefault(where, []).append(privilege)
        account = self.account.replace("['", "('").replace("']", "')")  # a domain, as REVOKE writes it
        revoked = [f"REVOKE {', '.join(names)} ON {where} FROM {account};" for where, names in places.items()]
        roles = [f"REVOKE {quote_text(role)} FROM {account}; -- where it comes with that role" for role in self.roles]
        return revoked[:SHOWN] + roles[:SHOWN]

    def report(self) -> dict[str, Any]:
        """For the log and `ctl status`. Its length has a limit."""
        too_much = [{"privilege": each.privilege, "on": each.where} for each in self.too_much[:SHOWN]]
        return {
            "account": self.account,
            "only_reads": self.only_reads,
            "too_much": too_much,
            "problem": self.problem,
            "fixes": self.fixes,
        }


NOT_ASKED: Final = Grants(unknown="it was not asked")


async def ask(query: Callable[[str], Awaitable[Rows]]) -> Grants:
    """The grants of the account that `query` logs in as. Raises what `query` raises, except errors of Doris itself."""
    try:
        answer = await query("SHOW GRANTS")
    except QueryFailed as error:
        return Grants(unknown=error.message)
    if answer.truncated:
        return Grants(unknown="SHOW GRANTS answers with more than this server takes in")
    return read(answer.dicts())


def read(rows: Sequence[Mapping[str, Any]]) -> Grants:
    """What rows of SHOW GRANTS, by column name, say beyond HARMLESS. Whatever cannot be read is unknown."""
    if len(rows) != 1:
        return Grants(unknown=f"SHOW GRANTS answers with {len(rows)} rows where one is due")
    row = {name.lower(): _text(value) for name, value in rows[0].items()}
    if missing := [name for name in ("useridentity", *LEVELS) if name not in row]:
        return Grants(unknown=f"SHOW GRANTS has no column {missing[0]}")
    try:
        found = [each for name, text in row.items() if name.endswith("privs") for each in _granted(name, text)]
    except ValueError as error:
        return Grants(account=row["useridentity"], unknown=str(error))
    if not row["useridentity"] or not found:  # every account of Doris may read information_schema, and is shown so
        return Grants(unknown="SHOW GRANTS names no account, or no privilege at all")
    too_much = [each for each in found if each.privilege.partition("(")[0].lower() not in HARMLESS]
    roles = tuple(role for role in re.split(r",\s*", row.get("roles", "")) if role)
    return Grants(row["useridentity"], roles, tuple(dict.fromkeys(too_much)))


def _text(value: Any) -> str:
    """Doris writes \\N where there is nothing, which its frontend mostly sends as NULL."""
    return "" if value is None or str(value) in (r"\N", "NULL") else str(value)


def _granted(column: str, text: str) -> Iterator[Excess]:
    """Each privilege of a column: `Node_priv,Admin_priv`, or `internal.crm: Select_priv,Load_priv; internal.hr: …`."""
    if column == "globalprivs":
        yield from (Excess(word, "*.*.*") for word in _words(text))
        return
    for entry in text.split("; ") if text.strip() else ():
        name, colon, words = entry.rpartition(": ")
        if not colon or not name:
            raise ValueError(f"SHOW GRANTS has something in {column} that is no privilege: {entry[:80]!r}")
        if column == "colprivs":  # internal.crm.people: Select_priv[name, city]
            privilege, _, columns = words.partition("[")
            listed = columns.removesuffix("]")
            yield Excess(f"{privilege.strip()}({listed})" if listed else privilege.strip(), _where(column, name))
            continue
        yield from (Excess(word, _where(column, name)) for word in _words(words))


def _words(text: str) -> list[str]:
    return re.findall(r"[^,\s]+", text)


def _where(column: str, name: str) -> str:
    """What GRANT and REVOKE call it."""
    level = LEVELS.get(column)
    if level is None:
        return f"{KINDS.get(column, column.removesuffix('privs').upper())} {quote_text(name)}"
    parts = [part if _PLAIN.fullmatch(part) else quote_name(part) for part in name.split(".", level - 1)]
    return ".".join(parts + ["*"] * (3 - level))
