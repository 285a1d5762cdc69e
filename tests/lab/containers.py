"""A lab's hosts as podman containers: found, made, removed. Whatever a killed command left is made good."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

from hosts import HOSTS, Host, Lab, Say
from podman import LabError, podman, podman_json

ADDRESS_STUCK = "is already allocated to container"


def containers(lab: Lab) -> dict[str, dict[str, Any]]:
    """This lab's containers by name, as podman inspects them."""
    ids = podman("ps", "--all", "--quiet", "--filter", f"label=doris-mcp-lab={lab.name}").stdout.decode().split()
    return {c["Name"]: c for c in podman_json("container", "inspect", *ids)} if ids else {}


def remove_containers(lab: Lab) -> None:
    labelled = podman("ps", "--all", "--quiet", "--filter", f"label=doris-mcp-lab={lab.name}").stdout.decode().split()
    # By name too: a `create` that was killed leaves storage under the name, with no container and no label.
    remove(*labelled, *(lab.container(host) for host in HOSTS))


def remove(*names: str) -> None:
    # The second time is for what a killed command left mounted: the first unmounts it, and calls it busy.
    if podman("rm", "--force", "--ignore", "--time", "0", *names, check=False).returncode:
        podman("rm", "--force", "--ignore", "--time", "0", *names)


def _keys_tar(host_key: Path, user_key: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data, mode, owner in (
            ("etc/ssh/ssh_host_ed25519_key", host_key.read_bytes(), 0o600, 0),
            (
                "etc/ssh/ssh_host_ed25519_key.pub",
                host_key.with_name(host_key.name + ".pub").read_bytes(),
                0o644,
                0,
            ),
            ("home/deploy/.ssh/authorized_keys", f"{user_key}\n".encode(), 0o644, 1000),
        ):
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.uid, member.gid = len(data), mode, owner, owner
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def ensure_host(
    lab: Lab, host: Host, there: dict[str, Any] | None, image: str, network: str, keys: tuple[str, str], say: Say
) -> str:
    """Bring one container to running; returns what was done: kept, started or created."""
    name = lab.container(host)
    identity = hashlib.sha256(" ".join((lab.address(host), *keys)).encode()).hexdigest()[:16]
    if there and there["Config"]["Labels"].get("identity") == identity:
        state = there["State"]["Status"]
        if state == "running":
            return "kept"
        # "created" may lack its keys: an `up` was killed on the way.
        if state in ("exited", "stopped") and podman("start", name, check=False).returncode == 0:
            return "started"
    if there:
        remove(name)
    try:
        _create(lab, host, image, network, identity, keys[0])
    except LabError as error:
        # What a killed `up` left under this name shows only now. Once more; a second failure is a real one.
        if ADDRESS_STUCK in str(error):
            raise
        say(f"{host.name}: making it anew ({str(error).rpartition(': ')[2]})")
        remove(name)
        _create(lab, host, image, network, identity, keys[0])
    return "created"


def mac_of(address: str) -> str:
    """A locally administered hardware address made from an IPv4 address."""
    return "02:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def _create(lab: Lab, host: Host, image: str, network: str, identity: str, user_key: str) -> None:
    name = lab.container(host)
    podman(
        "create", "--name", name, "--hostname", host.name, "--network", network, "--ip", lab.address(host),
        # Its own for good, like a real machine's: with a new one at each boot its neighbours would talk to the old
        # one for up to a minute.
        "--mac-address", mac_of(lab.address(host)),
        "--label", f"doris-mcp-lab={lab.name}", "--label", f"identity={identity}",
        # With these and shared mounts (image.py) ProtectSystem=, LoadCredential= and DynamicUser= are real.
        "--systemd=always", "--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined",
        "--restart", "always",  # `reboot` on a host ends the container; a host comes back
        image,
    )  # fmt: skip
    podman("cp", "-", f"{name}:/", stdin=_keys_tar(lab.dir / "hosts" / host.name, user_key))
    podman("start", name)
