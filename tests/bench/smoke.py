"""`make bench-smoke`: does the bench work, and does the server still cost what it is meant to, roughly?

Few requests, all answers checked, and judged only by ratios of CPU time, far from what is asked of the real bench:
they break when requests leave the lean path, not when the machine is busy.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from . import bench, report, systems
from .bench import Bench, Plan
from .calls import ECHO, ERAS
from .databases import end_in_order
from .measure import record
from .verdicts import Rows, pick, ratio

PLAN = Plan(requests=500, rounds=5, workers=(1,), connections=(16,), calls=(ECHO.name,), starts=1, balances=())
LEAST = {"sdk": 2.0, "bare": 0.35}  # requests per CPU-second: ours over theirs


def problems(rows: Rows) -> Iterator[str]:
    """What is wrong, in words; nothing when all is well."""
    for row in rows:
        if row["errors"]["max"]:
            yield f"{row['system']}, {row['call']}, {row['era']}: {row['errors']['max']:g} wrong answers in one run"
    for era in ERAS:
        for system, least in LEAST.items():
            found = ratio(pick(rows, "ours", "echo", era), pick(rows, system, "echo", era))
            if found is None:
                yield f"ours / {system}, {era}: not measured (has the server the test fixtures' tool echo?)"
            elif found < least:
                yield f"ours / {system}, {era}: {found:.2f} of its requests per CPU-second, at least {least:g} is asked"


def main() -> int:
    """Exit code: 0 all is well, 1 not."""
    end_in_order()
    with tempfile.TemporaryDirectory(prefix="doris-mcp-bench-") as temporary:
        folder = Path(temporary)
        ours, answers = record({}, folder)
        small = Bench(PLAN, folder, [systems.bare(answers), ours, systems.sdk(answers)], {})
        samples = small.cells()
        starts = small.startups()
        rows = bench.rows(samples, starts)
        facts = bench.facts(PLAN, "make bench-smoke", {}) | {"startup_s": starts, "balance": []}
        report.write(folder / "report", rows, facts)
    print(report.summary(rows, facts))
    found = list(problems(rows))
    print("\n".join(f"bench-smoke: {words}" for words in found), file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
