"""The plays of the store, run as an operator runs them, against the scenario's hosts.

A writer goes on meanwhile: as the application, over TLS, asking Sentinel anew after each failure. What it was told is
written must be there in the end.
"""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

SCENARIO = Path(__file__).resolve().parents[1]
ROOT = SCENARIO.parents[3]
LAB = ROOT / ".lab" / os.environ["LAB_NAME"]
NODES = {"10.93.104.31": "redis-1", "10.93.104.32": "redis-2", "10.93.104.33": "redis-3"}
CLI = "doris-mcp-redis-cli"
LIMIT = 120.0


@dataclass(frozen=True)
class Play:
    """What one run of ansible-playbook said."""

    code: int
    output: str

    @property
    def words(self) -> str:
        return " ".join(self.output.split())

    @property
    def changed(self) -> set[str]:
        """The hosts on which something was changed."""
        recap = self.output.rpartition("PLAY RECAP")[2].splitlines()
        return {line.split()[0] for line in recap if "changed=" in line and "changed=0 " not in line}

    def refused(self, *words: str) -> None:
        """It failed with these words, and changed nothing."""
        assert self.code != 0 and self.changed == set(), self.output
        assert not (missing := [word for word in words if word not in self.words]), f"{missing}\\n{self.output}"


def run(play: Path, *arguments: str) -> Play:
    env = {k: v for k, v in os.environ.items() if not k.startswith("ANSIBLE_")}
    env |= {"MOLECULE_PROJECT_DIRECTORY": str(SCENARIO.parents[1]), "ANSIBLE_NOCOLOR": "1"}
    inventories = ["-i", str(SCENARIO / "inventory.yml"), "-i", str(ROOT / "tests/molecule/connection.yml")]
    argv = [sys.executable, "-m", "ansible.cli.playbook", str(play), *inventories, *arguments]
    done = subprocess.run(argv, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return Play(done.returncode, done.stdout + done.stderr)


def verb(name: str, *arguments: str) -> Play:
    """A verb that must end well."""
    play = run(ROOT / f"ansible/playbooks/{name}.yml", *arguments)
    assert play.code == 0, play.output
    return play


def deploy(*arguments: str) -> Play:
    return run(SCENARIO / "converge.yml", *arguments)


class Writer(threading.Thread):
    """Writes one key after the other and remembers which of them were acknowledged, and when."""

    def __init__(self, client: Any, prefix: str) -> None:
        super().__init__(daemon=True)
        self.client = client
        self.prefix = prefix
        self.times: list[float] = []
        self.acknowledged: list[str] = []
        self.stop = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.stop.is_set():
            number += 1
            try:
                self.client.set(f"{self.prefix}{number}", number)
            except redis.RedisError:
                self.client.connection_pool.disconnect()
                self.stop.wait(0.02)
                continue
            self.acknowledged.append(f"{self.prefix}{number}")
            self.times.append(time.monotonic())
            self.stop.wait(0.002)

    def until(self, count: int) -> None:
        """Until so many more writes were acknowledged."""
        wanted, deadline = len(self.times) + count, time.monotonic() + LIMIT
        while len(self.times) < wanted:
            assert time.monotonic() < deadline, "nothing is written any more"
            time.sleep(0.05)

    @property
    def outage(self) -> float:
        """The longest time between two acknowledged writes (seconds)."""
        return max(b - a for a, b in zip(self.times, self.times[1:], strict=False))


@contextmanager
def writing(app: Any, what: str) -> Iterator[Writer]:
    """Writes before, during and after; none that was acknowledged may be missing."""
    writer = Writer(app, f"doris-mcp:written:{time.time_ns()}:")
    writer.start()
    try:
        writer.until(50)
        yield writer
        writer.until(50)
    finally:
        writer.stop.set()
        writer.join(LIMIT)
    lost: list[str] = []
    for n in range(0, len(writer.acknowledged), 500):
        keys = writer.acknowledged[n : n + 500]
        lost += [key for key, value in zip(keys, app.mget(keys), strict=True) if value is None]
        app.delete(*keys)
    print(f"{what}: {len(lost)} of {len(writer.acknowledged)} lost, outage {writer.outage:.2f} s")
    assert lost == []


def primary(hosts: dict[str, Any]) -> str:
    asked = hosts["redis-1"].check_output(f"{CLI} sentinel --json sentinel get-master-addr-by-name doris-mcp")
    return NODES[json.loads(asked)[0]]


def served(address: str, port: int) -> str:
    """The certificate that a daemon shows."""
    return ssl.get_server_certificate((address, port), ca_certs=str(LAB / "tls/ca.pem"), timeout=20)


def test_a_renewed_certificate_is_taken_over_without_losing_a_write(app: Any) -> None:
    sys.path.insert(0, str(ROOT / "tests/lab"))
    from certificates import issue
    from hosts import Lab

    issue(Lab.from_env(), "redis")
    renewed = (LAB / "tls/redis.pem").read_text()
    assert renewed != served("10.93.104.31", 6379)
    with writing(app, "renewed certificate"):
        assert deploy().code == 0
    assert {served(address, port) for address in NODES for port in (6379, 26379)} == {renewed}


def test_a_certificate_that_will_not_do_is_refused_before_anything_is_changed() -> None:
    wrong = json.dumps({"redis_sentinel_tls_ca": (LAB / "id_ed25519.pub").read_text()})
    refused = deploy("--tags", "redis_sentinel_preflight", "-e", wrong)
    refused.refused("redis-3: redis_sentinel_tls_ca is not the text of a PEM certificate. Fix: ")


def test_a_switchover_loses_no_acknowledged_write(hosts: dict[str, Any], app: Any) -> None:
    before = primary(hosts)
    assert verb("switchover", "--check").changed == {before}
    assert primary(hosts) == before
    with writing(app, "switchover") as writer:
        play = verb("switchover")
    assert play.changed == {before} and primary(hosts) != before, play.output
    assert f"handed over to {primary(hosts)}" in play.words
    assert writer.outage < LIMIT


def test_a_rolling_restart_loses_no_acknowledged_write(hosts: dict[str, Any], app: Any) -> None:
    pids = "systemctl show --property MainPID --value redis-server redis-sentinel"
    before = {name: host.check_output(pids).split() for name, host in hosts.items()}
    with writing(app, "rolling restart"):
        play = verb("restart_redis")
    assert play.changed == set(NODES.values())
    after = {name: host.check_output(pids).split() for name, host in hosts.items()}
    assert not [pid for name in before for pid in set(before[name]) & set(after[name])]
    # Sentinel itself forgets it; its unit does not.
    assert [ping_period(host) for host in hosts.values()] == ["200"] * 3


def ping_period(host: Any) -> str:
    return str(json.loads(host.check_output(f"{CLI} sentinel --json sentinel debug"))["PING-PERIOD"])


def damaged(backup: Path, folder: Path, manifest: bool) -> Path:
    """A copy with one byte changed; with `manifest` its sha256 is made to fit, so that only its content tells."""
    data = bytearray(backup.read_bytes())
    data[len(data) // 2] ^= 0xFF
    copy = folder / backup.name
    copy.write_bytes(data)
    facts = json.loads(backup.with_suffix(".json").read_text())
    if manifest:
        facts["sha256"] = hashlib.sha256(data).hexdigest()
    copy.with_suffix(".json").write_text(json.dumps(facts))
    return copy


def test_a_backup_brings_back_what_was_deleted(hosts: dict[str, Any], app: Any, tmp_path: Path) -> None:
    app.delete("doris-mcp:later")
    kept = {f"doris-mcp:kept:{n}": f"value {n}" for n in range(200)}
    for key, value in kept.items():
        app.set(key, value)
    play = verb("backup", "-e", f"backup_to={tmp_path / 'backups'}")
    assert len(play.changed) == 1 and primary(hosts) not in play.changed, play.output
    (backup,) = (tmp_path / "backups").glob("*.rdb")
    app.delete(*kept)
    app.set("doris-mcp:later", "x")

    restore = ROOT / "ansible/playbooks/restore.yml"
    run(restore, "-e", f"backup={backup}").refused("tokens revoked since are VALID AGAIN", "-e confirm=doris-mcp")
    (folder := tmp_path / "damaged").mkdir()
    confirmed = ("-e", "confirm=doris-mcp")
    run(restore, "-e", f"backup={damaged(backup, folder, False)}", *confirmed).refused("is damaged: it has")
    play = run(restore, "-e", f"backup={damaged(backup, folder, True)}", *confirmed)
    assert play.code != 0 and "the backup is damaged" in play.words and "Nothing was changed" in play.words
    assert app.get("doris-mcp:later") == "x"

    play = verb("restore", "-e", f"backup={backup}", *confirmed)
    assert dict(zip(kept, app.mget(list(kept)), strict=True)) == kept
    assert app.get("doris-mcp:later") is None
    for host in hosts.values():
        assert host.check_output(f"{CLI} redis get doris-mcp:kept:199") == "value 199"
        assert host.check_output(f"{CLI} redis exists doris-mcp:later") == "0"
    app.set("doris-mcp:after", "y")


def test_each_replica_makes_a_backup_a_day_and_keeps_seven(hosts: dict[str, Any]) -> None:
    folder = "/var/backups/doris-mcp-redis"
    for name, host in hosts.items():
        assert "doris-mcp-redis-backup.timer" in host.check_output("systemctl list-timers --all --no-legend")
        host.check_output(
            f"cd {folder} && for n in $(seq 9); do touch doris-mcp-2020010${{n}}T000000Z-{name}.rdb; done"
        )
        host.check_output("systemctl start doris-mcp-redis-backup.service")
        kept = host.check_output(f"cd {folder} && ls *.rdb").split()
        if name == primary(hosts):
            assert "its replicas make the backups" in host.check_output("journalctl -u doris-mcp-redis-backup -o cat")
        else:
            assert len(kept) == 7 and not kept[-1].startswith("doris-mcp-2020")
            host.check_output(f"redis-check-rdb {folder}/{kept[-1]}")
        host.check_output(f"rm -f {folder}/doris-mcp-2020*")


def test_what_only_the_daemons_remember_is_put_right_and_nothing_else(hosts: dict[str, Any]) -> None:
    """A switchover that was killed on its host leaves the first; see redis_set."""
    hosts["redis-2"].check_output(f"{CLI} redis acl setuser sentinel -publish")
    hosts["redis-3"].check_output(f"{CLI} sentinel sentinel debug ping-period 1000")
    play = deploy()
    assert play.code == 0 and play.changed == {"redis-2", "redis-3"}, play.output
    assert "+publish" in hosts["redis-2"].check_output(f"{CLI} redis acl getuser sentinel")
    assert ping_period(hosts["redis-3"]) == "200"
    assert deploy().changed == set()
