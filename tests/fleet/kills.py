"""The proof of kills: the controller dies, with SIGKILL, where any task of a rolling deploy begins.

On a lab of its own, under load, for one boundary after the other: a deploy to three hosts is killed there, and the same
deploy, run again, must end well with every host on the new release. Two releases take turns, so that there is always
something to install and to roll. What must hold meanwhile: N-1 hosts serve, no host is out for longer than 120 s after
the kill, also where nobody runs anything again, and no request is lost.

    make prove-kills ARGS='--from 43 --to 155 --every 3'

Each boundary takes a deploy and a half, so all of them take hours. Every one leaves a line in a file, and a run goes on
where the last one ended. `--changed` leaves out those that find the fleet as the boundary before did.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from .fleet import ROOT, Fleet
from .kill import Kill, Proof, changing
from .load import Load, Mix
from .releases import release
from .serving import Serving

ROLL = "One host at a time"  # the play of ansible/playbooks/each.yml
RECORDS = ROOT / ".bench/kills.jsonl"
HEAD = (
    "play", "boundaries", "kills", "left a host out", "fewest serving", "longest out", "back by itself",
    "requests", "lost", "kept",
)  # fmt: skip


async def prove(fleet: Fleet, args: argparse.Namespace, file: Path) -> None:
    """Kill at every boundary that is asked for and not yet in `file`, on a fleet made for it."""
    done = {kill.at for kill in kills(file)}
    kept = (fleet.dir / "lab.json").exists()
    fleet.lab("up")
    if not kept:
        fleet.play("site.yml")  # fetches the wheels, too
    with tempfile.TemporaryDirectory() as work:
        releases = [release(Path(work) / name, "__init__.py", f"\nTURN = {name!r}\n") for name in ("a", "b")]
        fleet.play("site.yml", *releases[1][1])
        fleet.token = fleet.issue_token()
        ready = {host: f"http://{fleet.address(host)}:3000/readyz" for host in fleet.names("app")}
        load = Load(fleet.mcp, fleet.token, 15.0, mix=Mix(longest=4.0))
        async with Serving(ready) as serving, load:
            proof = Proof(fleet, load, serving, releases)
            left_out = 0
            for number, at in enumerate(await boundaries(proof, args), start=1):
                if at in done:
                    continue
                # One that finds no host out has nothing to wait for.
                wait = bool(args.wait_every) and left_out % args.wait_every == 0
                kill = await proof.kill(at, wait=wait, again=bool(args.again_every) and number % args.again_every == 0)
                if kill is None:
                    break
                left_out += bool(kill.left_out)
                with file.open("a", encoding="utf-8") as records:
                    records.write(json.dumps(asdict(kill)) + "\n")
                print(line(kill), flush=True)


async def boundaries(proof: Proof, args: argparse.Namespace) -> list[int]:
    """The tasks before which the controller is to die; more than there are, unless only changes count."""
    wanted = range(args.first, args.last + 1, args.every)
    if not args.changed:
        return list(wanted)
    found = await asyncio.to_thread(changing, proof.fleet, *proof.releases[0][1])
    proof.releases.reverse()
    return [at for at in wanted if at == args.first or at - 1 in found]


def kills(file: Path) -> list[Kill]:
    """Those in the file, in the order of the deploy."""
    if not file.exists():
        return []
    found = [Kill(**json.loads(record)) for record in file.read_text(encoding="utf-8").splitlines()]
    return sorted(found, key=lambda kill: kill.at)


def line(kill: Kill) -> str:
    """What a person reads while it runs."""
    out = f", {', '.join(kill.left_out)} out" if kill.left_out else ""
    alone = f", back by itself after {kill.by_itself} s" if kill.by_itself is not None else ""
    return "\n  ".join([f"{kill.at:4} {kill.play}, {kill.task}{out}{alone}; re-run {kill.rerun} s", *kill.problems])


def table(found: Iterable[Kill]) -> str:
    """A Markdown table, a row for each play (and each host of a play that goes host by host)."""
    rows = [cells(name, list(group)) for name, group in groupby(found, key=lambda kill: (kill.play, kill.batch))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [HEAD, ("---",) * len(HEAD), *rows])


def cells(name: tuple[str, int], group: Sequence[Kill]) -> tuple[str, ...]:
    play, batch = name
    waited = [kill.by_itself for kill in group if kill.by_itself is not None]
    return (
        f"{play}, host {batch}" if batch > 1 or play == ROLL else play,
        f"{group[0].at}–{group[-1].at}",
        str(len(group)),
        str(sum(bool(kill.left_out) for kill in group)),
        str(min(kill.fewest for kill in group)),
        f"{max(kill.longest_out for kill in group):.0f} s",
        f"{max(waited):.0f} s" if waited else "–",
        str(sum(kill.requests for kill in group)),
        str(sum(kill.lost for kill in group)),
        "**no**" if any(kill.problems for kill in group) else "yes",
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--from", dest="first", type=int, default=1, metavar="N", help="the first boundary (1)")
    parser.add_argument("--to", dest="last", type=int, default=9999, metavar="N", help="the last boundary (all)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th (1)")
    parser.add_argument(
        "--changed", action="store_true",
        help="only where the task before changed something: elsewhere a kill finds the fleet as one boundary earlier",
    )  # fmt: skip
    parser.add_argument(
        "--wait-every", type=int, default=5, metavar="N",
        help="at every N-th that leaves a host out, run nothing until it is back by itself (5; 0: never)",
    )  # fmt: skip
    parser.add_argument("--again-every", type=int, default=10, metavar="N", help="at every N-th, run once more (10)")
    parser.add_argument(
        "--records", type=Path, default=RECORDS, help="where the lines are, a run goes on where it ends"
    )
    parser.add_argument("--keep", action="store_true", help="leave the lab up for the next part")
    parser.add_argument("--table", action="store_true", help="print the table of what is there, and nothing else")
    args = parser.parse_args(argv)
    args.records.parent.mkdir(parents=True, exist_ok=True)
    if not args.table:
        name = os.environ.get("LAB_NAME") or "doris-mcp-kills"
        folder = Path(os.environ.get("LAB_DIR") or ROOT / ".lab" / name.removeprefix("doris-mcp-")).resolve()
        fleet = Fleet(name, os.environ.get("LAB_PREFIX") or "10.93.79", folder)
        try:
            asyncio.run(prove(fleet, args, args.records))
        finally:
            if not args.keep:
                fleet.lab("down")
    found = kills(args.records)
    print(table(found))
    return 0 if found and not any(kill.problems for kill in found) else 1


if __name__ == "__main__":
    sys.exit(main())
