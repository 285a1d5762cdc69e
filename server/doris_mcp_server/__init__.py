"""A Doris MCP server for a fleet of your own machines."""

import sys
from importlib.metadata import version
from pathlib import Path

__version__ = version("doris-mcp-server")


def _release() -> str:
    """The release this process runs: the RELEASE file beside its virtual environment, else the version.

    Resolved once at import: `current` may be flipped to another release while this process lives.
    """
    stamp = Path(sys.prefix).resolve().parent / "RELEASE"
    return stamp.read_text(encoding="utf-8").strip() if stamp.is_file() else f"{__version__}-dev"


RELEASE = _release()
