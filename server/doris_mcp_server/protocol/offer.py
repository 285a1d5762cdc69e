"""The tools on offer: all that there are, but for those an operator has taken out. Both ways into a tool look here."""

from collections.abc import Collection, Hashable, Iterable
from typing import Any

from doris_mcp_server.tools import Tool


class Offer:
    """`tools` are on offer, by name; `lists` keeps what is made of them until that changes."""

    def __init__(self, tools: Iterable[Tool], disabled: Collection[str] = ()) -> None:
        self._all = {tool.name: tool for tool in tools}
        self.tools = dict(self._all)
        self.lists: dict[Hashable, Any] = {}
        self.without(disabled)

    def without(self, disabled: Collection[str]) -> bool:
        """Offer all but these; whether that is another offer than before."""
        offered = {name: tool for name, tool in self._all.items() if name not in disabled}
        if offered.keys() == self.tools.keys():
            return False
        self.tools = offered
        self.lists.clear()
        return True
