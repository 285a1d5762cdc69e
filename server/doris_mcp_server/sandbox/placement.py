"""The tables of a query: where DuckDB has them, and what Doris would call the types of their columns."""

from sqlglot import exp

from doris_mcp_server.sandbox import sources
from doris_mcp_server.sandbox.doris_types import base
from doris_mcp_server.sandbox.faults import NOT_SUPPORTED, fault
from doris_mcp_server.sandbox.names import Names, Place
from doris_mcp_server.sandbox.table import Table

# What may stand in FROM as a function. DuckDB's own ones reach for files and settings.
_TABLE_FUNCTIONS = frozenset(["numbers", "explode", "explode_outer", "unnest", "posexplode"])
# Doris types that DuckDB's do not tell.
_TELLING = frozenset(["bitmap", "char", "hll", "largeint", "string", "variant"])


def place(tree: exp.Query, home: Place, names: Names) -> list[Table]:
    """Give every table its full DuckDB path, so that a query does not depend on a connection's USE; gives them all."""
    tables = []
    for node in list(tree.find_all(exp.Table)):
        if isinstance(node.this, exp.Func):
            _place_function(node, node.this)
        elif node.db or not _is_cte(node):
            table = names.source(node.catalog or home.catalog, node.db or home.database, node.name)
            tables.append(table)
            _place_table(node, table, names.account.is_admin)
    for column in tree.find_all(exp.Column):
        # `ssb.lineorder.lo_tax`: the table is known by its alias alone now.
        column.set("db", None)
        column.set("catalog", None)
    return tables


def _place_table(node: exp.Table, table: Table, sees_all: bool) -> None:
    if not node.args.get("alias"):
        node.set("alias", exp.TableAlias(this=exp.to_identifier(node.name, quoted=True)))
    if called := sources.reading(table, sees_all):
        macro, parameter = called
        node.set("this", exp.Anonymous(this=macro, expressions=[exp.Placeholder(this=parameter)]))
        node.set("db", None)
        node.set("catalog", None)
        return
    for part, name in zip(("catalog", "db", "this"), sources.duckdb_path(table), strict=True):
        node.set(part, exp.to_identifier(name, quoted=True))


def declared(tree: exp.Query, tables: list[Table]) -> dict[str, str]:
    """The Doris types that DuckDB's do not tell, by the names the columns are shown under."""
    stored = {
        column.name: column.type
        for table in tables
        for column in table.columns
        if base(column.type) in _TELLING or column.type.startswith("datetime(")
    }
    renamed = {
        item.alias: stored[item.this.name]
        for item in tree.selects
        if isinstance(item, exp.Alias) and isinstance(item.this, exp.Column) and item.this.name in stored
    }
    hidden = {item.alias for item in tree.selects if isinstance(item, exp.Alias)}
    return {**{name: kind for name, kind in stored.items() if name not in hidden}, **renamed}


def _place_function(table: exp.Table, function: exp.Func) -> None:
    name = function.name if isinstance(function, exp.Anonymous) else function.sql_name()
    if name.lower() not in _TABLE_FUNCTIONS:
        raise fault(f"Can not find table function '{name.lower()}' in the demo engine", NOT_SUPPORTED)
    if name.lower() == "numbers":
        given = {e.this.name.lower(): e.expression.name for e in function.expressions if isinstance(e, exp.EQ)}
        if not given.get("number", "").isdigit():
            raise fault('can not find `number` param, please specify `number`, like: "number" = "10"')
        table.set("this", exp.func("range", exp.Literal.number(given["number"])))
        alias = exp.to_identifier(table.alias or "numbers")
        table.set("alias", exp.TableAlias(this=alias, columns=[exp.to_identifier("number")]))


def _is_cte(table: exp.Table) -> bool:
    """Whether a bare name means a WITH query that is in scope where it stands."""
    below: exp.Expr = table
    node: exp.Expr | None = table.parent
    while node is not None:
        scope = node.args.get("with_") or node.args.get("with")
        if isinstance(scope, exp.With) and below is not scope and scope.find(exp.CTE):
            if any(cte.alias == table.name for cte in scope.expressions):
                return True
        elif isinstance(node, exp.With):
            at = next(i for i, cte in enumerate(node.expressions) if cte is below)
            visible = node.expressions if node.recursive else node.expressions[:at]
            if any(cte.alias == table.name for cte in visible):
                return True
        below, node = node, node.parent
    return False
