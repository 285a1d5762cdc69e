"""`python -m doris_mcp_server`."""

import sys

from doris_mcp_server.cli import main

sys.exit(main())
