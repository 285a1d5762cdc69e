"""A fleet of its own on this machine, and what a person does with it: boot hosts, run plays, log in, look."""

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SUDO = [] if os.geteuid() == 0 else ["sudo", "-n"]
LIMIT = 240.0  # seconds for a condition: generous, the machine is small and shared
PLAY_LIMIT = 900.0
ROLLING_RESTART = "ansible/playbooks/rolling_restart.yml"
DRAIN = "ansible/playbooks/drain.yml"
UNDRAIN = "ansible/playbooks/undrain.yml"
STATUS = "ansible/playbooks/status.yml"
ROLLBACK = "ansible/playbooks/rollback.yml"
SCALE_IN = "ansible/playbooks/scale_in.yml"
CONFIGURE = "ansible/playbooks/configure.yml"
ROTATE_KEYS = "ansible/playbooks/rotate_keys.yml"
REBOOT = "ansible/playbooks/reboot.yml"
BACKUP = "ansible/playbooks/backup.yml"
RESTART_REDIS = "ansible/playbooks/restart_redis.yml"
SERVER = ("--tags", "doris_mcp")
ONCE = "0"  # ANSIBLE_SSH_RETRIES of a play that meets a host which is off: asking twice more says the same
APP = {"app-1", "app-2", "app-3"}
REDIS = {"redis-1", "redis-2", "redis-3"}
TOKEN = (
    "sudo env CREDENTIALS_DIRECTORY=/etc/doris-mcp/credentials /opt/doris-mcp-server/.venv/bin/doris-mcp-server "
    "token issue --env-file /etc/doris-mcp/doris-mcp.env --name fleet-test --json"
)

T = TypeVar("T")


@dataclass(frozen=True)
class Play:
    """What one run of ansible-playbook said."""

    command: str
    code: int
    output: str
    seconds: float

    @property
    def recap(self) -> dict[str, dict[str, int]]:
        """{host: {"ok": …, "changed": …, "unreachable": …, "failed": …}}; empty when it stopped before any play."""
        hosts = {}
        for line in self.output.rpartition("PLAY RECAP")[2].splitlines():
            if found := re.match(r"^(\S+)\s+:((?:\s+\w+=\d+)+)\s*$", line):
                hosts[found[1]] = {key: int(value) for key, value in (pair.split("=") for pair in found[2].split())}
        return hosts

    @property
    def changed(self) -> dict[str, int]:
        """Hosts on which something was changed, and how much."""
        return {host: counts["changed"] for host, counts in self.recap.items() if counts["changed"]}

    @property
    def failed(self) -> set[str]:
        """Hosts that failed or could not be reached."""
        return {host for host, counts in self.recap.items() if counts["failed"] or counts["unreachable"]}

    @property
    def words(self) -> str:
        """The output on one line, so that a message can be looked for however it was wrapped."""
        return " ".join(self.output.split())

    def row(self, host: str) -> dict[str, str]:
        """A host's row of the table that was shown, by column."""
        lines = [line for line in self.output.splitlines() if line.count(" | ") > 3]
        rows = [[cell.strip() for cell in line.split(" | ")] for line in lines]
        return next(dict(zip(rows[0], cells, strict=True)) for cells in rows if cells[0] == host)

    def says(self, words: Iterable[str]) -> None:
        missing = [word for word in words if word not in self.words]
        assert not missing, f"the output does not say {missing}\n{self}"

    def refused(self, words: Iterable[str]) -> None:
        """It said so, and changed nothing."""
        self.says(words)
        assert self.changed == {}, str(self)

    def __str__(self) -> str:
        tail = "\n".join(self.output.splitlines()[-60:])
        return f"$ {self.command}\n{tail}\n(exit {self.code} after {self.seconds:.0f} s)"


@dataclass
class Fleet:
    """The lab `name` on `prefix`.0/24 with its files in `dir`; see tests/lab/lab.py."""

    name: str
    prefix: str
    dir: Path
    token: str = ""
    nice: int = 0  # of ansible-playbook: what it takes from a small machine, the hosts on it do not get
    last: Play | None = None
    figures: list[str] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        lab = {"LAB_NAME": self.name, "LAB_PREFIX": self.prefix, "LAB_DIR": str(self.dir)}
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "DORIS_", "REDIS_"))}
        return inherited | lab | {"ANSIBLE_NOCOLOR": "1"}

    @property
    def hosts(self) -> list[dict[str, Any]]:
        """The lab's hosts: name, address, groups."""
        found: list[dict[str, Any]] = json.loads((self.dir / "lab.json").read_text())["hosts"]
        return found

    def names(self, group: str) -> list[str]:
        return [host["name"] for host in self.hosts if group in host["groups"]]

    def address(self, name: str) -> str:
        return next(str(host["address"]) for host in self.hosts if host["name"] == name)

    @property
    def url(self) -> str:
        """The address of the balancer."""
        return f"http://{self.address('lb-1')}"

    @property
    def mcp(self) -> str:
        return f"{self.url}/mcp"

    def lab(self, *arguments: str) -> str:
        """Run tests/lab/lab.py; what it said."""
        return self._run([sys.executable, "tests/lab/lab.py", *arguments])

    def on(self, host: str, command: str) -> str:
        """Run a shell command on a host over ssh; what it printed."""
        config = str(self.dir / "ssh_config")
        return self._run(["ssh", "-F", config, "-o", "BatchMode=yes", "-o", "ConnectTimeout=20", host, command])

    def inside(self, host: str, command: str) -> str:
        """Run a shell command of this machine in the network of a host; what it printed."""
        container = f"{self.name}-{host}"
        pid = self._run([*SUDO, "podman", "inspect", "--format", "{{.State.Pid}}", container]).strip()
        return self._run([*SUDO, "nsenter", "--target", pid, "--net", "sh", "-ec", command])

    def _run(self, argv: list[str]) -> str:
        done = subprocess.run(
            argv, cwd=ROOT, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT * 2
        )
        assert done.returncode == 0, f"$ {shlex.join(argv)}\n{done.stdout}{done.stderr}(exit {done.returncode})"
        return done.stdout

    def play(
        self, playbook: str, *arguments: str, inventory: str = "inventories/lab", fails: bool = False, **env: str
    ) -> Play:
        """Run a playbook; fails the test with the end of its output unless it ends as expected."""
        play = self.attempt(playbook, *arguments, inventory=inventory, **env)
        assert (play.code != 0) == fails, str(play)
        return play

    def attempt(self, playbook: str, *arguments: str, inventory: str = "inventories/lab", **env: str) -> Play:
        """Run a playbook, however it ends; `env` is added to its environment."""
        argv = ["nice", "-n", str(self.nice), str(BIN / "ansible-playbook"), playbook, "-i", inventory, *arguments]
        began = time.monotonic()
        done = subprocess.run(
            argv,
            cwd=ROOT,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PLAY_LIMIT,
        )
        play = Play(shlex.join(argv[3:]), done.returncode, done.stdout, time.monotonic() - began)
        self.last = play
        self.figures.append(
            f"{play.seconds:4.0f} s  exit {play.code}  changed {sum(play.changed.values()):3}  {playbook}"
        )
        return play

    async def playing(
        self, playbook: str, *arguments: str, inventory: str = "inventories/lab", fails: bool = False, **env: str
    ) -> Play:
        """`play`, while other things of the test go on."""
        return await asyncio.to_thread(self.play, playbook, *arguments, inventory=inventory, fails=fails, **env)

    def inventory(self, below: Path, **groups: Sequence[str]) -> str:
        """The lab's inventory, copied below a directory, with only these hosts in the groups named."""
        copy = below / "inventory"
        shutil.copytree(ROOT / "inventories/lab", copy)
        inventory = yaml.safe_load((copy / "hosts.yml").read_text())
        for name, hosts in groups.items():
            group = inventory["all"]["children"][name]
            group["hosts"] = {host: group["hosts"][host] for host in hosts}
        (copy / "hosts.yml").write_text(yaml.safe_dump(inventory))
        return str(copy)

    def issue_token(self) -> str:
        """A new token, made on one host; every host accepts it."""
        return str(json.loads(self.on(self.names("app")[0], TOKEN))["token"])

    def invocation(self, host: str, service: str = "doris-mcp") -> str:
        """What systemd calls this run of the server: another word after each start (a pid may come back)."""
        return self.on(host, f"systemctl show --property=InvocationID --value {service}.service").strip()

    async def get(self, url: str) -> tuple[int, dict[str, Any], str]:
        """(status, JSON body or {}, x-served-by) of a GET."""
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http,
            http.get(url) as response,
        ):
            text = await response.text()
            body = json.loads(text) if response.content_type == "application/json" else {}
            return response.status, body, response.headers.get("x-served-by", "")

    async def readyz(self, host: str) -> tuple[int, dict[str, Any]]:
        """What a host says about itself, past the balancer."""
        status, body, _ = await self.get(f"http://{self.address(host)}:3000/readyz")
        return status, body

    async def ready_again(self, host: str, before: str) -> None:
        """Wait until another run of the server than `before` serves on this host and calls itself ready."""

        async def check() -> None:
            assert self.invocation(host) not in ("", before)
            status, body = await self.readyz(host)
            assert status == 200, body

        await eventually(check)

    def journals(self) -> str:
        """What the hosts a person would look at said last: those that failed in the last play, and the app hosts."""
        if not (self.dir / "lab.json").exists():
            return ""
        parts = []
        for host in sorted(
            {*(self.last.failed if self.last else ()), *self.names("app")} & {h["name"] for h in self.hosts}
        ):
            command = (
                "systemctl list-units --failed --plain --no-legend; sudo journalctl --no-pager --quiet --lines=20000 "
                "-u 'doris-*' -u 'nginx*' -u 'redis*' | grep -v 'tool call' | tail -n 25 | cut -c1-400"
            )
            try:
                parts.append(f"--- {host}\n{self.on(host, command)}")
            except (AssertionError, subprocess.TimeoutExpired) as error:
                parts.append(f"--- {host}\n{error}")
        return "\n".join(parts)


async def eventually(check: Callable[[], Awaitable[T]], limit: float = LIMIT) -> T:
    """What `check` returns once it neither asserts nor fails to connect; its last complaint when it never does."""
    deadline = time.monotonic() + limit
    while True:
        try:
            return await check()
        except (AssertionError, aiohttp.ClientError, OSError, subprocess.TimeoutExpired):
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.3)
