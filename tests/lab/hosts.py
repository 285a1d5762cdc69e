"""What a lab is: its hosts, and its name, addresses and places from the environment."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from podman import LabError

Say = Callable[[str], None]
ROOT = Path(__file__).resolve().parents[2]
DEFAULT_NAME = "doris-mcp-lab"


@dataclass(frozen=True)
class Host:
    name: str
    last: int  # the last number of its address
    group: str


# inventories/lab/hosts.yml says the same to Ansible; a test compares the two.
HOSTS = (
    Host("lb-1", 11, "balancers"),
    *(Host(f"app-{n}", 20 + n, "app") for n in (1, 2, 3)),
    *(Host(f"redis-{n}", 30 + n, "redis") for n in (1, 2, 3)),
    Host("sandbox-1", 41, "sandbox"),
)


@dataclass(frozen=True)
class Lab:
    """One lab: what it is called, where its addresses are (a /24) and where it keeps its files."""

    name: str
    prefix: str
    dir: Path

    @classmethod
    def from_env(cls) -> Lab:
        name = os.environ.get("LAB_NAME") or DEFAULT_NAME
        prefix = os.environ.get("LAB_PREFIX") or "10.93.7"
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,40}", name):
            raise LabError(f"LAB_NAME={name}: use small letters, digits and hyphens")
        try:
            private = ipaddress.ip_network(f"{prefix}.0/24").is_private
        except ValueError:
            private = False
        if not private:
            raise LabError(f"LAB_PREFIX={prefix}: give the first three numbers of a private /24, like 10.93.7")
        default = ROOT / ".lab" if name == DEFAULT_NAME else ROOT / ".lab" / name
        return cls(name, prefix, Path(os.environ.get("LAB_DIR") or default).resolve())

    @property
    def subnet(self) -> str:
        return f"{self.prefix}.0/24"

    @property
    def ssh_config(self) -> Path:
        return self.dir / "ssh_config"

    @property
    def control_dir(self) -> Path:
        """Ansible's ssh control sockets, as inventories/lab says; their paths may not be long."""
        return Path.home() / ".ansible" / "cp" / self.name

    def address(self, host: Host) -> str:
        return f"{self.prefix}.{host.last}"

    def container(self, host: Host) -> str:
        return f"{self.name}-{host.name}"

    def ssh(self, host: Host, *command: str) -> list[str]:
        return [
            "ssh",
            "-F",
            str(self.ssh_config),
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=5",
            host.name,
            *command,
        ]


def pick(names: Iterable[str]) -> list[Host]:
    known = {h.name: h for h in HOSTS}
    wanted = list(names)
    if unknown := [n for n in wanted if n not in known]:
        raise LabError(f"no such host: {', '.join(unknown)} (there are {', '.join(known)})")
    return [known[n] for n in wanted] or list(HOSTS)
