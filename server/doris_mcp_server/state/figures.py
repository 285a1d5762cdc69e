"""The store in the metrics."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from doris_mcp_server.state import Store

if TYPE_CHECKING:
    from doris_mcp_server.observe import Instruments


class Figures:
    """`up` says whether the store answers, as far as this worker knows."""

    def __init__(self, store: Store, up: Callable[[], bool]) -> None:
        self._store = store
        self._up = up

    def show(self, to: "Instruments") -> None:
        """Bring the metrics up to date."""
        to.store_up.set(self._up())
        operations = self._store.operations
        while operations:
            labels, count = operations.popitem()
            to.store_operations.labels(*labels).inc(count)
