"""The set as a whole, asked at its own doors: whether all is well, and the planned move of its primary.

`look` changes nothing and never fails; it gives `primary` (a node's name, or None), `replicas` (names of those in
step) and `faults`, in words. `move` runs on the primary's host and gives `to` and `seconds`, how long writes were held:

    hold writes on the primary (CLIENT PAUSE, a lease) → every replica has every byte → SENTINEL FAILOVER → the Sentinel
    names another address → the old primary follows it at once, its clients are sent off → writes go on

Without holding, clients that stay on the old primary go on writing there, and all of that is lost. All Sentinels must
see both primaries well the whole time: a second failover beside this one takes what was written to the new primary
with it. What cannot be done within the limits is undone: the Sentinel is restarted, which forgets a failover under way,
and writes go on where they were.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

ANSWER_SECONDS = 2.0
# Longer than all steps together, so that writes are held until it is known who is the primary.
LEASE_SECONDS = 20
CATCH_UP_SECONDS = 2.0
# A Sentinel asks the replica it promotes once a second whether it is done.
FAILOVER_SECONDS = 6.0


class Refused(Exception):
    """What a server answered instead of doing it."""


class Late(Exception):
    """A step that was not done within its limit."""


class Undone(Exception):
    """The move could not be made, for this reason; nothing is left of it."""


class Door:
    """A connection to one Redis or Sentinel, in its own protocol (RESP2)."""

    def __init__(self, host: str, port: int, ca: str) -> None:
        plain = socket.create_connection((host, port), ANSWER_SECONDS)
        self._socket = ssl.create_default_context(cafile=ca).wrap_socket(plain, server_hostname=host) if ca else plain
        self._answers = self._socket.makefile("rb")

    def ask(self, *words: str | int) -> Any:
        """The answer: text, number, list or None. Raises Refused, or OSError when nothing can be heard."""
        parts = [str(word).encode() for word in words]
        self._socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
        return self._answer()

    def _answer(self) -> Any:
        line = self._answers.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("it closed the connection")
        kind, rest = line[:1], line[1:-2].decode()
        if kind == b"-":
            raise Refused(rest)
        if kind == b":":
            return int(rest)
        if kind == b"+":
            return rest
        size = int(rest)
        if kind == b"*":
            return None if size < 0 else [self._answer() for _ in range(size)]
        return None if size < 0 else self._answers.read(size + 2)[:-2].decode()

    def info(self) -> dict[str, str]:
        """INFO replication and persistence as {field: value}."""
        lines = (self.ask("INFO", "replication") + self.ask("INFO", "persistence")).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def close(self) -> None:
        self._answers.close()
        self._socket.close()


class Fleet:
    """The nodes, and how to reach them."""

    def __init__(self, access: dict[str, Any]) -> None:
        self.access = access
        self.nodes: dict[str, str] = {node["address"]: node["name"] for node in access["nodes"]}

    def redis(self, address: str) -> AbstractContextManager[Door]:
        return self._door(address, self.access["redis_port"], "admin", self.access["admin_password"])

    def sentinel(self, address: str) -> AbstractContextManager[Door]:
        return self._door(address, self.access["sentinel_port"], self.access["sentinel_password"])

    @contextlib.contextmanager
    def _door(self, address: str, port: int, *login: str) -> Iterator[Door]:
        with contextlib.closing(Door(address, port, self.access["ca"])) as door:
            door.ask("AUTH", *login)
            yield door

    def named(self, address: str) -> str:
        """Whom the Sentinel of this node names as the primary."""
        with self.sentinel(address) as door:
            found = door.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.access["name"])
        if not found:
            raise Refused(f"it does not know {self.access['name']}")
        return str(found[0])

    def info(self, address: str) -> dict[str, str]:
        with self.redis(address) as door:
            return door.info()


def sentinel_faults(fleet: Fleet, address: str, seen: dict[str, str]) -> Iterator[str]:
    """What keeps one Sentinel from moving the primary; `seen` is what it knows about it."""
    who, others = f"the Sentinel of {fleet.nodes[address]}", len(fleet.nodes) - 1
    if seen["flags"] != "master":
        yield f"{who} sees the primary as {seen['flags']}"
    for what, field in (("replicas", "num-slaves"), ("other Sentinels", "num-other-sentinels")):
        if int(seen[field]) < others:
            yield f"{who} knows {seen[field]} {what} instead of {others}"


def replica_fault(fleet: Fleet, address: str, info: dict[str, str], primary: str, online: dict[str, int]) -> str | None:
    """Why this node is no replica in step; `online` is what the primary says: seconds since each replica was heard."""
    name = fleet.nodes[address]
    if info["role"] != "slave":
        return f"{name} is a second primary"
    if info["master_host"] != primary:
        return f"{name} follows {info['master_host']} and not the primary"
    if info["master_link_status"] != "up" or info["master_sync_in_progress"] != "0" or address not in online:
        return f"{name} has not caught up with the primary"
    if online[address] > fleet.access["max_lag"]:
        return f"{name} was last heard by the primary {online[address]} s ago"
    return None


def online_replicas(info: dict[str, str]) -> dict[str, int]:
    """{address: seconds since it was heard} from the primary's INFO: slave0:ip=…,port=…,state=online,offset=…,lag=…"""
    rows = [dict(pair.split("=", 1) for pair in value.split(","))
            for field, value in info.items() if field.startswith("slave") and value.startswith("ip=")]  # fmt: skip
    return {row["ip"]: int(row["lag"]) for row in rows if row["state"] == "online"}


def ask_sentinels(fleet: Fleet, faults: list[str]) -> str:
    """The address that most Sentinels name as the primary; empty when none does."""
    named: dict[str, str] = {}
    for address, name in fleet.nodes.items():
        try:
            with fleet.sentinel(address) as door:
                flat = door.ask("SENTINEL", "MASTER", fleet.access["name"])
        except (OSError, Refused) as error:
            faults.append(f"the Sentinel of {name} does not answer ({error})")
            continue
        seen = dict(zip(flat[::2], flat[1::2], strict=True))
        named[name] = seen["ip"]
        faults += sentinel_faults(fleet, address, seen)
    primary = max(named.values(), key=list(named.values()).count, default="")
    for name, address in named.items():
        if address != primary:
            faults.append(f"the Sentinel of {name} names {address} as the primary, others {primary}")
    return primary


def ask_redises(fleet: Fleet, faults: list[str]) -> dict[str, dict[str, str]]:
    """INFO of those that answer and have read their data, by address."""
    found = {}
    for address, name in fleet.nodes.items():
        try:
            info = fleet.info(address)
        except (OSError, Refused) as error:
            faults.append(f"the Redis of {name} does not answer ({error})")
            continue
        if info["loading"] == "0":
            found[address] = info
        else:
            faults.append(f"{name} is still reading its data")
    return found


def look(fleet: Fleet) -> dict[str, Any]:
    """primary, replicas, faults: as the module's docstring says."""
    faults: list[str] = []
    primary = ask_sentinels(fleet, faults)
    found = ask_redises(fleet, faults)
    leads = found.get(primary, {"role": "?"})
    if primary in found and leads["role"] != "master":
        faults.append(f"{fleet.nodes[primary]} should be the primary and is none")
    online = online_replicas(leads)
    replicas = []
    for address, info in found.items():
        if address == primary:
            continue
        if fault := replica_fault(fleet, address, info, primary, online):
            faults.append(fault)
        else:
            replicas.append(fleet.nodes[address])
    return {"primary": fleet.nodes.get(primary), "replicas": replicas, "faults": faults}


def until(what: str, seconds: float, condition: Callable[[], Any]) -> Any:
    """The first true value of `condition`; raises Late."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise Late(f"{what} within {seconds:g} s")
        time.sleep(0.05)
    return value


def caught_up(fleet: Fleet, door: Door, replicas: list[str]) -> None:
    """Wait until every replica has every byte that the primary wrote."""
    offset = int(door.info()["master_repl_offset"])
    missing = set(replicas)

    def all_have_it() -> bool:
        missing.difference_update([r for r in missing if int(fleet.info(r)["slave_repl_offset"]) >= offset])
        return not missing

    until("the replicas did not catch up", CATCH_UP_SECONDS, all_have_it)


def settle(fleet: Fleet, old: str) -> str:
    """After a failover that did not end in time: end it one way or the other; the address of the primary that holds."""
    subprocess.run(["systemctl", "restart", "redis-sentinel"])
    others = [address for address in fleet.nodes if address != old]
    for address in others:
        with contextlib.suppress(OSError, Refused):
            if (named := fleet.named(address)) != old:
                return named
    for address in others:
        with contextlib.suppress(OSError, Refused), fleet.redis(address) as door:
            # Promoted, but no Sentinel has told anybody: nothing was written there.
            if door.info()["role"] == "master":
                door.ask("REPLICAOF", old, fleet.access["redis_port"])
    return old


def hold(door: Door) -> None:
    door.ask("CLIENT", "PAUSE", LEASE_SECONDS * 1000, "WRITE")


@contextlib.contextmanager
def writes_held(door: Door) -> Iterator[None]:
    """No client writes to this primary meanwhile, and the Sentinels go on being answered.

    PAUSE holds PUBLISH as well. A Sentinel publishes every 2 s over the connection of its PINGs, so it would hear
    nothing more and hold this primary for dead. A PUBLISH that is refused is not held (processCommand of Redis 7 looks
    at permissions first); meanwhile the Sentinels hear of each other through the replicas.
    """
    try:
        door.ask("ACL", "SETUSER", "sentinel", "-publish")
        hold(door)
        yield
    finally:
        door.ask("CLIENT", "UNPAUSE")
        # Not in the file: whatever happens before this line, the role's next run loads that.
        door.ask("ACL", "SETUSER", "sentinel", "+publish")


def follow(door: Door, new: str, port: int) -> None:
    """Make the old primary a replica, and send the application off to ask who is the primary."""
    door.ask("REPLICAOF", new, port)
    door.ask("CONFIG", "REWRITE")
    # The Sentinels stay: one that has just lost a connection waits before it makes the next, also to the new primary.
    door.ask("CLIENT", "KILL", "USER", "app")


def move(fleet: Fleet, old: str) -> dict[str, Any]:
    """Move the primary away from this node. Raises Undone with all as it was, or OSError when it died meanwhile."""
    replicas = [address for address in fleet.nodes if address != old]
    began = time.monotonic()
    with fleet.redis(old) as door, writes_held(door):
        asked = False
        try:
            caught_up(fleet, door, replicas)
            with fleet.sentinel(old) as sentinel:
                asked = bool(sentinel.ask("SENTINEL", "FAILOVER", fleet.access["name"]))
            until("no replica was promoted", FAILOVER_SECONDS, lambda: fleet.named(old) != old)
            new = fleet.named(old)
        except (OSError, Refused, Late) as error:
            hold(door)
            new = settle(fleet, old) if asked else old
            if new == old:
                raise Undone(str(error)) from error
        follow(door, new, fleet.access["redis_port"])
    return {"to": fleet.nodes[new], "seconds": round(time.monotonic() - began, 2)}


def main() -> None:
    from ansible.module_utils.basic import AnsibleModule

    access = {
        "name": {"type": "str", "required": True},
        "nodes": {"type": "list", "elements": "dict", "required": True},
        "redis_port": {"type": "int", "required": True},
        "sentinel_port": {"type": "int", "required": True},
        "ca": {"type": "str", "default": ""},
        "admin_password": {"type": "str", "required": True, "no_log": True},
        "sentinel_password": {"type": "str", "required": True, "no_log": True},
        "max_lag": {"type": "int", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "do": {"choices": ["look", "move"], "default": "look"},
            "access": {"type": "dict", "options": access, "required": True},
            "here": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    fleet, here = Fleet(module.params["access"]), module.params["here"]
    seen = look(fleet)
    if module.params["do"] == "look" or (not seen["faults"] and seen["primary"] != fleet.nodes.get(here)):
        module.exit_json(changed=False, **seen)
    if seen["faults"]:
        module.fail_json(msg=f"nothing was changed: {'; '.join(seen['faults'])}", **seen)
    if module.check_mode:
        module.exit_json(changed=True, to="", seconds=0.0, **seen)
    try:
        moved = move(fleet, here)
    except Undone as error:
        module.fail_json(msg=f"{error}; that was undone, {fleet.nodes[here]} is still the primary", **seen)
    except (OSError, Refused) as error:
        module.fail_json(
            msg=f"{fleet.nodes[here]} stopped answering ({error}); Sentinel decides who is the primary", **seen
        )
    module.exit_json(changed=True, **seen, **moved)


if __name__ == "__main__":
    main()
