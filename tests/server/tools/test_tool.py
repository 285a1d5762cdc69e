"""What a client sees of the tools, pinned: a change here is a change for every agent.

To accept one: DORIS_MCP_ACCEPT=1 pytest tests/server/tools/test_tool.py, and read the diff.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from doris_mcp_server.tools import TOOLS, Tool, by_name

SNAPSHOT = Path(__file__).with_name("schemas.json")


def shown() -> list[dict[str, Any]]:
    return [
        {
            "name": tool.name,
            "title": tool.title,
            "description": tool.description,
            "scope": tool.scope,
            "annotations": tool.annotations,
            "input_schema": tool.input_schema,
            "output_schema": tool.output_schema,
        }
        for tool in TOOLS
    ]


def test_what_clients_see_is_pinned() -> None:
    if os.environ.get("DORIS_MCP_ACCEPT"):
        SNAPSHOT.write_text(json.dumps(shown(), indent=2, ensure_ascii=False) + "\n")
    assert shown() == json.loads(SNAPSHOT.read_text())


def test_order_and_names() -> None:
    names = [tool.name for tool in TOOLS]
    assert names == [
        "list_clusters",
        "list_catalogs",
        "list_databases",
        "list_tables",
        "get_table_context",
        "execute_query",
        "explain_query",
        "get_query_profile",
        "list_recent_queries",
        "get_cluster_health",
    ]
    assert list(by_name) == names


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_tool_only_reads_and_is_described(tool: Tool) -> None:
    assert tool.annotations["readOnlyHint"] is True
    assert tool.annotations["idempotentHint"] is True
    assert tool.annotations["destructiveHint"] is False
    assert tool.input_schema["additionalProperties"] is False
    for schema in (tool.input_schema, tool.output_schema):
        for part in (schema, *schema.get("$defs", {}).values()):
            for name, described in part.get("properties", {}).items():
                assert described.get("description"), f"{tool.name}.{name}"


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_schemas_are_built_once(tool: Tool) -> None:
    assert tool.input_schema is by_name[tool.name].input_schema
    assert tool.output_schema is by_name[tool.name].output_schema
