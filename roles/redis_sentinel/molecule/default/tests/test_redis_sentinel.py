"""What the set does, asked on each of its hosts.

That the role leaves a primary where a failover put it is shown before: run again after the side effect, it
changes nothing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import testinfra

LAB = Path(__file__).resolve().parents[5] / ".lab" / os.environ["LAB_NAME"]

NODES = ("10.93.104.31", "10.93.104.32", "10.93.104.33")
CLI = "doris-mcp-redis-cli"


def wait_for(what: str, condition: Callable[[], Any], limit: float = 60) -> Any:
    """The first true value of `condition`."""
    deadline = time.monotonic() + limit
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {limit} s: {what}"
        time.sleep(0.2)
    return value


def master(host: Any, node: str = "127.0.0.1") -> dict[str, str]:
    """What the Sentinel of `node` knows about the primary; empty while it does not answer."""
    done = host.run(f"{CLI} sentinel@{node} --json sentinel master doris-mcp")
    return json.loads(done.stdout) if done.rc == 0 else {}


def as_app(host: Any, node: str, *commands: str) -> list[str]:
    """The application's answers from the Redis of `node`, one for each command."""
    lines = "\\n".join(commands)
    shell = f"printf '{lines}\\n' | REDISCLI_AUTH=molecule-app-password redis-cli -h {node} --user app"
    return [line for line in host.run(shell).stdout.splitlines() if line]


def agreed(host: Any) -> str | None:
    """The primary's address if every Sentinel names the same one and two replicas follow it."""
    seen = [master(host, node) for node in NODES]
    if len({m.get("ip") for m in seen}) > 1 or any(m.get("flags") != "master" for m in seen):
        return None
    state = host.run(f"{CLI} redis@{seen[0]['ip']} info replication").stdout
    return seen[0]["ip"] if "role:master" in state and state.count("state=online") == 2 else None


@pytest.fixture(scope="module")
def one() -> Any:
    """One host, for what need not be asked of each."""
    return testinfra.get_host("ssh://redis-2", ssh_config=str(LAB / "ssh_config"), sudo=True)


@pytest.fixture
def primary(one: Any) -> str:
    """The primary's address, once all is well; asked anew, for on a busy machine it may move at any time."""
    return wait_for("one primary with two replicas", lambda: agreed(one))


def test_sentinel_knows_its_primary_and_the_others(host: Any, primary: str) -> None:
    known = master(host)
    assert known["ip"] == primary
    assert (known["num-slaves"], known["num-other-sentinels"], known["quorum"]) == ("2", "2", "2")
    assert host.run(f"{CLI} sentinel sentinel ckquorum doris-mcp").stdout.startswith("OK 3 usable")


def test_a_write_of_the_application_is_on_every_replica(one: Any, primary: str) -> None:
    mark = str(time.time_ns())
    assert as_app(one, primary, f"set doris-mcp:probe {mark}") == ["OK"]
    for node in NODES:
        wait_for(f"the write on {node}", lambda node=node: as_app(one, node, "get doris-mcp:probe") == [mark])


def test_the_application_is_confined_to_its_prefix(one: Any, primary: str) -> None:
    refused = ("flushall", "config get dir", "keys *", "get other:key", "publish other:channel x", "acl list",
               "shutdown", "client list", "replicaof no one")  # fmt: skip
    answers = dict(zip(refused, as_app(one, primary, *refused), strict=True))
    assert {c: a for c, a in answers.items() if not a.startswith("NOPERM")} == {}
    assert as_app(one, primary, "publish doris-mcp:channel x") == ["0"]


def test_nobody_else_comes_in(host: Any) -> None:
    for port in (6379, 26379):
        assert host.run(f"redis-cli -p {port} ping").stdout.startswith("NOAUTH")
        refused = host.run(f"REDISCLI_AUTH=guess redis-cli -p {port} ping")
        assert "WRONGPASS" in refused.stdout + refused.stderr and "PONG" not in refused.stdout


def test_passwords_are_for_root_and_redis_only(host: Any) -> None:
    open_to_others = host.check_output("find /etc/redis /etc/doris-mcp-redis /var/lib/redis -type f -perm /o=rwx")
    assert open_to_others == ""
    assert host.file("/etc/doris-mcp-redis").mode == 0o700


@pytest.mark.parametrize("service", ["redis", "sentinel"])
def test_a_killed_daemon_comes_back(one: Any, service: str) -> None:
    unit = {"redis": "redis-server", "sentinel": "redis-sentinel"}[service]

    def pid() -> str:
        return one.check_output(f"systemctl show --property MainPID --value {unit}")

    killed = pid()
    one.check_output(f"systemctl kill --signal=KILL {unit}")
    wait_for(
        f"{unit} after kill -9",
        lambda: pid() not in ("0", killed) and "PONG" in one.run(f"{CLI} {service} ping").stdout,
    )
    wait_for("the set to be whole again", lambda: agreed(one))
