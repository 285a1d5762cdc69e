"""`python -m tests.fleet.load`: the load alone, for some seconds; exit code 0 when every request got its answer."""

import argparse
import asyncio
import sys
from pathlib import Path

from . import Load, Mix, Report


async def run(args: argparse.Namespace) -> Report:
    token = args.token_file.read_text().strip() if args.token_file else None
    mix = Mix(args.long, args.streams, longest=args.longest)
    load = Load(
        args.url,
        token,
        args.rate,
        mix=mix,
        seed=args.seed,
        comes_again=args.comes_again,
        history=args.history,
    )
    async with load:
        with load.phase("load"):
            await asyncio.sleep(args.seconds)
    return load.report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fleet.load", description="Load that checks every answer")
    parser.add_argument("--url", required=True, help="the whole address, with /mcp")
    parser.add_argument("--token-file", type=Path, help="file with the bearer token")
    parser.add_argument("--rate", type=float, default=40.0, help="requests a second (40)")
    parser.add_argument("--long", type=float, default=Mix.long, help=f"share of long calls ({Mix.long})")
    parser.add_argument("--streams", type=float, default=Mix.stream, help=f"share of streams ({Mix.stream})")
    parser.add_argument("--longest", type=float, default=Mix.longest, help=f"seconds of the longest ({Mix.longest:g})")
    parser.add_argument("--seed", type=int, default=1, help="of the arrivals (1)")
    parser.add_argument("--comes-again", action="store_true", help="after the seconds that a 503 or 429 names")
    parser.add_argument("--history", type=Path, help="file for one line a request")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long (30)")
    report = asyncio.run(run(parser.parse_args()))
    print(report)
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main())
