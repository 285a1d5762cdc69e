"""All tools, in the order they are listed, and by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from doris_mcp_server.tools import catalog, cluster, query
from doris_mcp_server.tools.tool import Context, Tool

__all__ = ["TOOLS", "Context", "Tool", "by_name"]

TOOLS: Final[tuple[Tool, ...]] = (*catalog.TOOLS, *query.TOOLS, *cluster.TOOLS)
by_name: Final[Mapping[str, Tool]] = MappingProxyType({tool.name: tool for tool in TOOLS})
