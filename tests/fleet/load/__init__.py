"""The load that shows whether a request was lost: its clients, the history they leave, the verdict on a history.

    python -m tests.fleet.load --url http://10.93.7.11/mcp --token-file .lab/token --rate 40 --seconds 60 --history FILE
    python -m tests.fleet.load.verdict FILE

Imports go one way: clients → report → history → arrivals, clients → calls; verdict → history.
"""

from .arrivals import SHORT, Mix
from .calls import execute
from .clients import Load
from .report import Report

__all__ = ["SHORT", "Load", "Mix", "Report", "execute"]
