"""EXPLAIN: DuckDB's plan, laid out the way Doris lays out a plan fragment."""

import json
from typing import Any

from doris_mcp_server.sandbox.versions import DEMO

COLUMN = "Explain String(Nereids Planner)"
_NODES = {
    "SEQ_SCAN": "VOlapScanNode",
    "TABLE_SCAN": "VOlapScanNode",
    "HASH_JOIN": "VHASH JOIN",
    "NESTED_LOOP_JOIN": "VNESTED LOOP JOIN",
    "CROSS_PRODUCT": "VNESTED LOOP JOIN",
    "HASH_GROUP_BY": "VAGGREGATE",
    "PERFECT_HASH_GROUP_BY": "VAGGREGATE",
    "UNGROUPED_AGGREGATE": "VAGGREGATE",
    "ORDER_BY": "VSORT",
    "TOP_N": "VTOP-N",
    "FILTER": "VSELECT",
    "PROJECTION": "VPROJECT",
    "UNION": "VUNION",
    "WINDOW": "VANALYTIC",
    "STREAMING_WINDOW": "VANALYTIC",
    "STREAMING_LIMIT": "VLIMIT",
    "LIMIT": "VLIMIT",
}
_DETAILS = {
    "Filters": "PREDICATES",
    "Expression": "PREDICATES",
    "Join Type": "join op",
    "Conditions": "equal join conjunct",
    "Groups": "group by",
    "Aggregates": "output",
    "Order By": "order by",
    "Top": "limit",
    "Projections": "projections",
    "Estimated Cardinality": "cardinality",
}


def lines(plan: str) -> list[str]:
    """The rows of EXPLAIN, one line each, from DuckDB's `EXPLAIN (FORMAT JSON)`."""
    roots: list[dict[str, Any]] = json.loads(plan)
    total = sum(_count(root) for root in roots)
    text = [DEMO, "PLAN FRAGMENT 0", "  PARTITION: UNPARTITIONED", "", "  VRESULT SINK", "     MYSQL_PROTOCOL", ""]
    for root in roots:
        total -= _write(root, total - 1, "  ", text)
    return text


def _count(node: dict[str, Any]) -> int:
    return 1 + sum(_count(child) for child in node.get("children", ()))


def _write(node: dict[str, Any], number: int, indent: str, text: list[str]) -> int:
    """Write a node and what it reads from; gives how many nodes that were."""
    name = str(node["name"]).strip()
    info: dict[str, Any] = node.get("extra_info") or {}
    children = node.get("children") or []
    bar = f"{indent}|  " if children else f"{indent}     "
    text.append(f"{indent}{number}:{_NODES.get(name, name)}({number})")
    if table := info.get("Table"):
        text.append(f"{bar}TABLE: {table}({str(table).rsplit('.', 1)[-1]}), PREAGGREGATION: ON")
    for key, label in _DETAILS.items():
        value = info.get(key)
        if value not in (None, "", []):
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            if "__internal_" not in shown:  # DuckDB's own packing of columns
                text.append(f"{bar}{label}={shown}" if label == "cardinality" else f"{bar}{label}: {shown}")
    text.append(f"{indent}|" if children else "")
    used = 1
    for at, child in enumerate(children):
        last = at == len(children) - 1
        if not last:
            text.append(f"{indent}|----")
        used += _write(child, number - used, indent if last else f"{indent}|    ", text)
    return used
