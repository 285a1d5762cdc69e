"""`python -m doris_mcp_server.sandbox`: the demo engine alone, without the rest of the command line."""

import argparse
import sys

from doris_mcp_server import sandbox
from doris_mcp_server.errors import ConfigError


def main() -> int:
    parser = argparse.ArgumentParser(prog="doris-mcp-server sandbox", description=sandbox.__doc__)
    sandbox.add_arguments(parser)
    try:
        return sandbox.run(parser.parse_args())
    except ConfigError as error:
        print(f"doris-mcp-server: {error.message}\n  fix: {error.hint}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
