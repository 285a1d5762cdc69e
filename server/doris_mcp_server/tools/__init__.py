"""All tools, in the order they are listed, and by name."""

import difflib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from doris_mcp_server.errors import ConfigError
from doris_mcp_server.tools import catalog, cluster, query
from doris_mcp_server.tools.tool import Context, Tool

__all__ = ["TOOLS", "Context", "Tool", "by_name", "check_disabled"]

TOOLS: Final[tuple[Tool, ...]] = (*catalog.TOOLS, *query.TOOLS, *cluster.TOOLS)
by_name: Final[Mapping[str, Tool]] = MappingProxyType({tool.name: tool for tool in TOOLS})


def check_disabled(names: Iterable[str]) -> None:
    """Raises: ConfigError for a name in DORIS_MCP_DISABLED_TOOLS that no tool has: the one meant would stay."""
    for name in names:
        if name not in by_name:
            near = difflib.get_close_matches(name, by_name, n=1)
            hint = f"did you mean {near[0]}?" if near else f"tools are {', '.join(by_name)}"
            raise ConfigError(f"DORIS_MCP_DISABLED_TOOLS: there is no tool {name!r}", hint=hint)
