#!/usr/bin/env python3
"""The lab: containers that behave like Debian hosts (systemd, sshd, sudo), on a bridge network of their own.

    lab.py up [--host NAME]...   start what is missing, repair what is broken; nothing to do is quick
    lab.py status                one line a host
    lab.py reboot HOST...        restart hosts and wait until they are back
    lab.py stop HOST...          switch hosts off; `up` switches them on again
    lab.py exec HOST -- CMD...   run a command on a host, over ssh
    lab.py ssh-config            print the ssh configuration (use: ssh -F .lab/ssh_config app-1)
    lab.py down                  remove hosts, network and files

Environment: LAB_NAME (doris-mcp-lab), LAB_PREFIX (10.93.7, first three numbers of a /24), LAB_DIR (.lab, or
.lab/<name> for another name). Labs of different names and prefixes run side by side.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from containers import ADDRESS_STUCK, containers, ensure_host
from files import ssh_config, write_files
from hosts import HOSTS, Host, Lab, Say, pick
from image import ensure_image
from network import ensure_network, remove_network
from podman import LabError, podman

BOOT_SECONDS = 120  # generous: seconds are the rule, a loaded CI machine the exception


def drop_ssh_masters(lab: Lab) -> None:
    """Close Ansible's kept ssh connections: one to a host that is gone would hang, not fail."""
    for sock in lab.control_dir.glob("*"):
        subprocess.run(["ssh", "-o", f"ControlPath={sock}", "-O", "stop", "lab"], capture_output=True, timeout=10)
        sock.unlink(missing_ok=True)


def _answers_ssh(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=2) as conn:
            conn.settimeout(2)
            return conn.recv(8).startswith(b"SSH-2.0")
    except OSError:
        return False


def wait_until_up(lab: Lab, host: Host, deadline: float) -> None:
    """Until sshd lets deploy in and systemd has finished booting; raises LabError with what the host says."""
    said = "no answer on port 22"
    while time.monotonic() < deadline:
        if _answers_ssh(lab.address(host)):
            left = max(5.0, deadline - time.monotonic())
            command = lab.ssh(
                host, "systemctl is-system-running --wait; systemctl list-units --failed --plain --no-legend"
            )
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=left, stdin=subprocess.DEVNULL)
            except subprocess.TimeoutExpired:
                break
            if done.stdout.startswith(("running", "degraded")):
                return
            said = (done.stdout + done.stderr).strip()
        time.sleep(0.1)
    last = podman("exec", lab.container(host), "journalctl", "-n", "15", "--no-pager", "-q", check=False)
    raise LabError(f"{host.name} is not up: {said}\n{(last.stdout + last.stderr).decode(errors='replace').strip()}")


@contextmanager
def alone(lab: Lab) -> Iterator[None]:
    """One command at a time changes a lab; the next waits."""
    path = Path.home() / ".cache" / "doris-mcp-lab" / f"{lab.name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def up(lab: Lab, names: Iterable[str] = (), say: Say = print) -> dict[str, str]:
    """Bring the lab (or only the hosts named) to running; returns what was done for each host."""
    begun = time.monotonic()
    hosts = pick(names)
    with alone(lab), ThreadPoolExecutor(len(hosts)) as pool:
        user_key, host_keys = write_files(lab)
        image = ensure_image(say)
        imaged = time.monotonic()

        def ensure_all() -> list[str]:
            network = ensure_network(lab, say)
            there = containers(lab)

            def ensure(host: Host) -> str:
                found = there.get(lab.container(host))
                return ensure_host(lab, host, found, image, network, (user_key, host_keys[host.name]), say)

            return list(pool.map(ensure, hosts))

        try:
            done = ensure_all()
        except LabError as error:
            if ADDRESS_STUCK not in str(error):
                raise
            say("network: it holds addresses for containers that are gone, making the lab anew")
            remove_network(lab)
            done = ensure_all()
        if set(done) != {"kept"}:
            drop_ssh_masters(lab)
        deadline = time.monotonic() + BOOT_SECONDS
        list(pool.map(lambda h: wait_until_up(lab, h, deadline), hosts))
    counts = ", ".join(f"{done.count(word)} {word}" for word in ("created", "started", "kept") if word in done)
    took = f"image {imaged - begun:.1f} s, hosts {time.monotonic() - imaged:.1f} s"
    say(f"lab {lab.name}: {counts} on {lab.subnet} ({took})")
    return dict(zip((h.name for h in hosts), done, strict=True))


def down(lab: Lab, say: Say = print) -> None:
    """Remove everything `up` made, except the image; other labs below the same directory stay."""
    with alone(lab):
        if shutil.which("podman"):
            remove_network(lab)
        drop_ssh_masters(lab)
        shutil.rmtree(lab.control_dir, ignore_errors=True)
        if (lab.dir / "lab.json").exists() or (lab.dir / "id_ed25519").exists():
            for entry in lab.dir.iterdir():
                if not entry.is_dir():
                    entry.unlink()
                elif not (entry / "lab.json").exists():
                    shutil.rmtree(entry)
            if not any(lab.dir.iterdir()):
                lab.dir.rmdir()
    say(f"lab {lab.name}: gone")


def status(lab: Lab) -> list[dict[str, str]]:
    """One record a host: name, address, group, state (podman's word, or absent), since."""
    there = containers(lab)
    rows = []
    for host in HOSTS:
        state = there.get(lab.container(host), {}).get("State", {})
        since = state.get("StartedAt", "")[:19] if state.get("Status") == "running" else ""
        rows.append({"name": host.name, "address": lab.address(host), "group": host.group,
                     "state": state.get("Status", "absent"), "since": since})  # fmt: skip
    return rows


def reboot(lab: Lab, names: Iterable[str], say: Say = print) -> None:
    """Restart hosts as their own `reboot` would and wait until they are up again."""
    hosts = pick(names)
    begun = time.monotonic()
    with ThreadPoolExecutor(len(hosts)) as pool:
        list(pool.map(lambda h: podman("restart", "--time", "30", lab.container(h)), hosts))
        drop_ssh_masters(lab)
        list(pool.map(lambda h: wait_until_up(lab, h, time.monotonic() + BOOT_SECONDS), hosts))
    say(f"{', '.join(h.name for h in hosts)}: back after {time.monotonic() - begun:.1f} s")


def stop(lab: Lab, names: Iterable[str], say: Say = print) -> None:
    """Switch hosts off, in order."""
    hosts = pick(names)
    with alone(lab):
        for host in hosts:
            podman("stop", "--time", "30", lab.container(host))
        drop_ssh_masters(lab)
    say(f"{', '.join(h.name for h in hosts)}: off")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="lab.py", description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("up", help="start what is missing").add_argument("--host", action="append", default=[])
    verbs.add_parser("down", help="remove hosts, network and files")
    verbs.add_parser("status", help="one line a host").add_argument("--json", action="store_true")
    verbs.add_parser("reboot", help="restart hosts").add_argument("host", nargs="+")
    verbs.add_parser("stop", help="switch hosts off").add_argument("host", nargs="+")
    verbs.add_parser("ssh-config", help="print the ssh configuration")
    run = verbs.add_parser("exec", help="run a command on a host, over ssh")
    run.add_argument("host")
    run.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args(argv)
    try:
        lab = Lab.from_env()
        match args.verb:
            case "up":
                up(lab, args.host)
            case "down":
                down(lab)
            case "status":
                rows = status(lab)
                print(
                    json.dumps(rows)
                    if args.json
                    else "\n".join("{name:<10} {address:<15} {group:<10} {state:<8} {since}".format(**r) for r in rows)
                )
                return 0 if all(r["state"] == "running" for r in rows) else 1
            case "reboot":
                reboot(lab, args.host)
            case "stop":
                stop(lab, args.host)
            case "ssh-config":
                print(ssh_config(lab), end="")
            case "exec":
                command = args.command[1:] if args.command[:1] == ["--"] else args.command
                return subprocess.run(lab.ssh(pick([args.host])[0], *command)).returncode
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
