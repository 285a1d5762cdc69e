"""What the set does, asked on each of its hosts.

That the role leaves a primary where a failover put it is shown before: run again after the side effect, it
changes nothing.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

NODES = ("10.93.104.31", "10.93.104.32", "10.93.104.33")
CLI = "doris-mcp-redis-cli"
TLS = "--tls --cacert /etc/redis/tls/*.ca"


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
    shell = f"printf '{lines}\\n' | REDISCLI_AUTH=molecule-app-password redis-cli -h {node} {TLS} --user app"
    return [line for line in host.run(shell).stdout.splitlines() if line]


def agreed(host: Any) -> str | None:
    """The primary's address if every Sentinel names the same one and two replicas follow it."""
    seen = [master(host, node) for node in NODES]
    if len({m.get("ip") for m in seen}) > 1 or any(m.get("flags") != "master" for m in seen):
        return None
    state = host.run(f"{CLI} redis@{seen[0]['ip']} info replication").stdout
    return seen[0]["ip"] if "role:master" in state and state.count("state=online") == 2 else None


@pytest.fixture
def one(hosts: dict[str, Any]) -> Any:
    """One host, for what need not be asked of each."""
    return hosts["redis-2"]


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


def answer(client: Any, command: str) -> str:
    """What Redis says to the application, a refusal included, in one line."""
    try:
        return str(client.execute_command(*shlex.split(command)))
    except redis.RedisError as error:
        return f"{type(error).__name__}: {error}"


def test_what_was_written_before_tls_was_turned_on_is_still_there(app: Any, primary: str) -> None:
    assert app.get("doris-mcp:before-tls") == "x"


def test_the_application_is_confined_to_its_prefix_and_its_commands(app: Any, primary: str) -> None:
    refused = """flushall | flushdb | keys * | scan 0 | dbsize | randomkey | config get dir | shutdown | save
        | replicaof no one | debug sleep 0 | acl list | client list | client kill type normal | bgrewriteaof | monitor
        | slowlog get | script flush | swapdb 0 1 | get other:key | set other:key x | publish other:channel x
        | eval 'return 1' 1 other:key | mget doris-mcp:a other:b | mset doris-mcp:a 1 | expire doris-mcp:a 1"""
    answers = {command.strip(): answer(app, command) for command in refused.split("|")}
    # DEBUG is off for everybody.
    allowed = {c: a for c, a in answers.items() if not a.startswith(("NoPermissionError", "ResponseError: DEBUG"))}
    assert allowed == {}


def test_the_application_may_do_what_its_store_needs(app: Any, primary: str) -> None:
    needed = """del doris-mcp:s doris-mcp:h doris-mcp:z doris-mcp:n | set doris-mcp:s 1 PX 60000 NX | get doris-mcp:s
        | mget doris-mcp:s doris-mcp:h | exists doris-mcp:s | pexpire doris-mcp:s 50000 GT | pttl doris-mcp:s
        | incr doris-mcp:n | incrby doris-mcp:n 1 | hset doris-mcp:h f v | hget doris-mcp:h f | hgetall doris-mcp:h
        | hmget doris-mcp:h f | hvals doris-mcp:h
        | hdel doris-mcp:h f | zadd doris-mcp:z 1 m | zrangebyscore doris-mcp:z 0 2 | zremrangebyscore doris-mcp:z 0 0
        | zrem doris-mcp:z m | publish doris-mcp:channel x | watch doris-mcp:s | multi | discard | unwatch | multi
        | exec | wait 1 1000 | time | role | info server | ping | client setname app | script load 'return 1'
        | evalsha e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0 | eval "return redis.call('get', KEYS[1])" 1 doris-mcp:s"""
    answers = {command.strip(): answer(app, command) for command in needed.split("|")}
    assert {c: a for c, a in answers.items() if "Error" in a} == {}


def test_nobody_else_comes_in(host: Any) -> None:
    for port in (6379, 26379):
        assert host.run(f"redis-cli {TLS} -p {port} ping").stdout.startswith("NOAUTH")
        refused = host.run(f"REDISCLI_AUTH=guess redis-cli {TLS} -p {port} ping")
        assert "WRONGPASS" in refused.stdout + refused.stderr and "PONG" not in refused.stdout


def test_nobody_comes_in_without_tls_or_with_a_certificate_of_another_ca(host: Any) -> None:
    assert host.check_output("ss -Htln | awk '{print $4}' | sed 's/.*://' | sort -u").split() == ["22", "26379", "6379"]
    host.check_output(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=other -keyout /tmp/other.key -out /tmp/other.pem"
    )
    for port in (6379, 26379):
        plain = host.run(f"echo ping | timeout 5 redis-cli -p {port}")
        assert "PONG" not in plain.stdout and "NOAUTH" not in plain.stdout
        other = host.run(f"redis-cli -p {port} {TLS} --cert /tmp/other.pem --key /tmp/other.key ping")
        assert other.rc != 0 and "NOAUTH" not in other.stdout
        distrusted = host.run(f"redis-cli -p {port} --tls --cacert /tmp/other.pem ping")
        assert "certificate verify failed" in distrusted.stdout + distrusted.stderr


def test_replicas_and_sentinels_speak_tls_to_each_other(host: Any) -> None:
    for file in ("redis", "sentinel"):
        lines = host.check_output(f"grep -E '^(port|tls-)' /etc/redis/{file}.conf").replace('"', "").splitlines()
        assert {"port 0", "tls-replication yes", "tls-auth-clients optional"} <= set(lines)


def test_passwords_are_for_root_and_redis_only(host: Any) -> None:
    places = "/etc/redis /etc/doris-mcp-redis /var/lib/redis /var/backups/doris-mcp-redis"
    open_to_others = host.check_output(f"find {places} -type f -perm /o=rwx")
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
