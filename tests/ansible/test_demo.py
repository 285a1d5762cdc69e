"""The parts of `make demo` that need no fleet."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def demo() -> Any:
    sys.path.insert(0, str(ROOT / "tests" / "lab"))
    yield import_module("demo")
    sys.path.remove(str(ROOT / "tests" / "lab"))


def test_the_last_recap_is_read(demo: Any) -> None:
    output = """\
PLAY RECAP *****
app-1    : ok=1    changed=9    unreachable=0    failed=0
TASK [x] ****
PLAY RECAP *****
app-1    : ok=41   changed=0    unreachable=0    failed=0    skipped=3    rescued=0    ignored=0
lb-1     : ok=12   changed=2    unreachable=0    failed=1    skipped=0    rescued=0    ignored=0

"""
    read = demo.recap(output)
    assert {name: counts["changed"] for name, counts in read.items()} == {"app-1": 0, "lb-1": 2}
    assert read["lb-1"]["failed"] == 1


def test_no_recap_is_no_hosts(demo: Any) -> None:
    assert demo.recap("ERROR! the playbook could not be found\n") == {}


def test_numbers_stand_to_the_right(demo: Any) -> None:
    assert demo.table(["region", "n"], [["ASIA", 7], ["EUROPE", 1234]]).splitlines() == [
        "region     n",
        "──────  ────",
        "ASIA       7",
        "EUROPE  1234",
    ]


def test_a_failure_inside_a_group_is_named(demo: Any) -> None:
    error = BaseExceptionGroup("tasks", [BaseExceptionGroup("more", [ConnectionError("refused")])])
    assert demo.reason(error) == "refused"
