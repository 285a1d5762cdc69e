"""The module that looks at the store and moves its primary, against three real Redis and Sentinels."""

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from ..conftest import LIMIT
from ..ports import free_port
from ..redis_server import PASSWORD, daemon
from .plugins import plugin

MODULE = plugin("redis_sentinel/library/redis_set.py")
NODES = {"redis-1": "127.0.1.1", "redis-2": "127.0.1.2", "redis-3": "127.0.1.3"}


class Set:
    """Three nodes, each a Redis and a Sentinel, on loopback addresses of their own and the same two ports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = free_port(), free_port()
        self._stacks: dict[str, contextlib.ExitStack] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.fleet = MODULE.Fleet({
            "name": "fleet",
            "nodes": [{"name": name, "address": address} for name, address in NODES.items()],
            "redis_port": self.ports[0],
            "sentinel_port": self.ports[1],
            "ca": "",
            "admin_password": PASSWORD,
            "sentinel_password": PASSWORD,
            "max_lag": 2,
        })  # fmt: skip

    def start(self, name: str, kind: str, config: str = "", *options: str) -> None:
        stack = self._stacks[name + kind] = contextlib.ExitStack()
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        self.processes[name + kind] = stack.enter_context(daemon(folder, kind, config, *options))

    def stop(self, name: str, kind: str) -> None:
        self._stacks.pop(name + kind).close()

    def start_redis(self, name: str) -> None:
        follows = f"replicaof {NODES['redis-1']} {self.ports[0]}" if name != "redis-1" else ""
        self.start(name, "redis", f"""
            bind {NODES[name]}
            port {self.ports[0]}
            requirepass {PASSWORD}
            user admin on >{PASSWORD} ~* &* +@all
            user sentinel on >{PASSWORD} allchannels +@all
            user app on >{PASSWORD} ~* &* +@all
            masterauth {PASSWORD}
            repl-diskless-sync-delay 0
            replica-announce-ip {NODES[name]}
            {follows}""")  # fmt: skip

    def start_sentinel(self, name: str) -> None:
        self.start(name, "sentinel", f"""
            bind {NODES[name]}
            port {self.ports[1]}
            requirepass {PASSWORD}
            sentinel sentinel-pass {PASSWORD}
            sentinel announce-ip {NODES[name]}
            sentinel monitor fleet {NODES["redis-1"]} {self.ports[0]} 2
            sentinel auth-user fleet sentinel
            sentinel auth-pass fleet {PASSWORD}
            sentinel down-after-milliseconds fleet 3000
            sentinel failover-timeout fleet 10000""", "--sentinel")  # fmt: skip

    def followed(self) -> bool:
        """Whether both replicas follow the first node."""
        with contextlib.suppress(OSError):
            return len(MODULE.online_replicas(self.fleet.info(NODES["redis-1"]))) == 2
        return False

    def look(self) -> dict[str, Any]:
        return dict(MODULE.look(self.fleet))

    def whole(self, primary: str | None = None) -> dict[str, Any]:
        """Wait until nothing is wrong, with this primary."""

        def seen() -> Any:
            found = self.look()
            return found if not found["faults"] and primary in (None, found["primary"]) else None

        return dict(eventually(seen, lambda: str(self.look())))

    def client(self, name: str, user: str | None = None) -> Any:
        common: dict[str, Any] = {"password": PASSWORD, "decode_responses": True, "socket_timeout": 30}
        return redis.Redis(NODES[name], self.ports[0], username=user, **common)

    def close(self) -> None:
        for stack in self._stacks.values():
            stack.close()


def eventually(condition: Callable[[], Any], why: Callable[[], str] = str) -> Any:
    deadline = time.monotonic() + LIMIT
    while not (value := condition()):
        assert time.monotonic() < deadline, why()
        time.sleep(0.1)
    return value


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Set]:
    made = Set(tmp_path)
    try:
        for name in NODES:
            made.start_redis(name)
        # A Sentinel that has not found the replicas at its first look does so ten seconds later.
        eventually(made.followed)
        for name in NODES:
            made.start_sentinel(name)
        made.whole("redis-1")
        yield made
    finally:
        made.close()


def test_what_is_wrong_is_said_in_words(nodes: Set) -> None:
    assert nodes.look() == {"primary": "redis-1", "replicas": ["redis-2", "redis-3"], "faults": []}
    nodes.stop("redis-3", "redis")
    nodes.stop("redis-2", "sentinel")
    seen = eventually(lambda: found if len((found := nodes.look())["faults"]) == 2 else None, lambda: str(nodes.look()))
    assert seen["replicas"] == ["redis-2"]
    assert seen["faults"][0].startswith("the Sentinel of redis-2 does not answer")
    assert seen["faults"][1].startswith("the Redis of redis-3 does not answer")
    nodes.fleet.access["admin_password"] = "another"
    assert any("WRONGPASS" in fault for fault in nodes.look()["faults"])


def test_a_replica_that_follows_nobody_is_no_replica(nodes: Set) -> None:
    nodes.client("redis-2").replicaof("NO", "ONE")
    assert "redis-2 is a second primary" in nodes.look()["faults"]
    nodes.client("redis-2").replicaof(NODES["redis-3"], nodes.ports[0])
    assert f"redis-2 follows {NODES['redis-3']} and not the primary" in nodes.look()["faults"]


def test_a_move_loses_nothing_of_clients_that_stay_where_they_are(nodes: Set) -> None:
    acknowledged: list[int] = []
    ended = threading.Event()

    def write() -> None:
        stays = nodes.client("redis-1", "app")
        for number in range(1_000_000):
            try:
                stays.set(f"n{number}", number)
            except redis.RedisError:
                break  # sent off, or told that this is a replica now
            acknowledged.append(number)
        ended.set()

    threading.Thread(target=write, daemon=True).start()
    eventually(lambda: len(acknowledged) > 100)
    moved = MODULE.move(nodes.fleet, NODES["redis-1"])
    assert ended.wait(LIMIT)
    nodes.whole(moved["to"])
    there = nodes.client(moved["to"])
    assert [n for n in acknowledged if there.get(f"n{n}") is None] == []
    there.set("written", "there")
    assert moved["to"] != "redis-1" and moved["seconds"] < LIMIT


def test_a_sentinel_is_answered_while_writes_are_held(nodes: Set) -> None:
    """It publishes over the connection of its PINGs: held with all that writes, it would take the primary for dead."""
    sentinel, app = nodes.client("redis-1", "sentinel"), nodes.client("redis-1")
    written = threading.Thread(target=app.set, args=("written", "afterwards"), daemon=True)
    with nodes.fleet.redis(NODES["redis-1"]) as door, MODULE.writes_held(door):
        written.start()
        with pytest.raises(redis.exceptions.NoPermissionError):
            sentinel.publish("__sentinel__:hello", "x")
        assert sentinel.ping() and app.get("written") is None
    written.join(LIMIT)
    assert app.get("written") == "afterwards" and sentinel.publish("__sentinel__:hello", "x") >= 3


def test_a_move_that_no_replica_may_take_is_undone(nodes: Set) -> None:
    for name in ("redis-2", "redis-3"):
        nodes.client(name).config_set("replica-priority", 0)
    asker = redis.Redis(NODES["redis-1"], nodes.ports[1], password=PASSWORD, decode_responses=True)
    eventually(lambda: {r["slave-priority"] for r in asker.sentinel_slaves("fleet")} == {0})
    with pytest.raises(MODULE.Undone, match="NOGOODSLAVE"):
        MODULE.move(nodes.fleet, NODES["redis-1"])
    assert nodes.client("redis-1").set("written", "at once")
    nodes.whole("redis-1")


def test_a_move_that_takes_too_long_ends_one_way_or_the_other(nodes: Set, monkeypatch: pytest.MonkeyPatch) -> None:
    def restart(command: list[str]) -> None:
        assert command == ["systemctl", "restart", "redis-sentinel"]
        nodes.stop("redis-1", "sentinel")
        remembered = (nodes.folder / "redis-1/sentinel.conf").read_text()
        nodes.start("redis-1", "sentinel", remembered, "--sentinel")

    monkeypatch.setattr(MODULE.subprocess, "run", restart)
    monkeypatch.setattr(MODULE, "FAILOVER_SECONDS", 0.0)
    nodes.client("redis-1").set("before", "x")
    with contextlib.suppress(MODULE.Undone):
        MODULE.move(nodes.fleet, NODES["redis-1"])
    primary = nodes.whole()["primary"]
    assert nodes.client(primary).get("before") == "x"
    assert nodes.client(primary).set("after", "x")
