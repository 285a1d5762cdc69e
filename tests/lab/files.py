"""What a lab keeps on disk: keys, ssh configuration, known hosts, throw-away secrets, certificates."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from pathlib import Path

import certificates
from hosts import HOSTS, Lab
from podman import LabError

SECRETS = {
    "vault_doris_mcp_doris_password": 24,
    "vault_doris_mcp_token_key": 0,  # hex, 32 bytes
    "vault_doris_mcp_smoke_token": 32,
    "vault_redis_app_password": 24,
    "vault_redis_replication_password": 24,
    "vault_redis_sentinel_user_password": 24,
    "vault_redis_admin_password": 24,
    "vault_redis_sentinel_password": 24,
}


def write_file(path: Path, text: str, mode: int = 0o644) -> None:
    """Write whole or not at all, and leave an unchanged file alone."""
    if path.exists() and path.read_text() == text and path.stat().st_mode & 0o777 == mode:
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=mode)
    draft.write_text(text)
    draft.chmod(mode)
    draft.replace(path)


def key_pair(path: Path, comment: str) -> str:
    """The public half of an ed25519 key pair at `path`, made if it is not there."""
    public = path.with_name(path.name + ".pub")
    if not (path.exists() and public.exists()):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(draft)]
        try:
            subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
        except FileNotFoundError:
            raise LabError("ssh-keygen is not installed: run `make deps`") from None
        draft.with_name(draft.name + ".pub").replace(public)
        draft.replace(path)
    return " ".join(public.read_text().split()[:2])


def write_files(lab: Lab) -> tuple[str, dict[str, str]]:
    """Keys, ssh_config, known_hosts, secrets, certificates; returns the user's and the hosts' public keys."""
    lab.dir.mkdir(parents=True, exist_ok=True)
    user_key = key_pair(lab.dir / "id_ed25519", f"deploy@{lab.name}")
    host_keys = {h.name: key_pair(lab.dir / "hosts" / h.name, h.name) for h in HOSTS}
    write_file(lab.dir / "known_hosts", "".join(f"{h.name},{lab.address(h)} {host_keys[h.name]}\n" for h in HOSTS))
    write_file(lab.ssh_config, ssh_config(lab))
    facts = [{"name": h.name, "address": lab.address(h), "groups": [h.group]} for h in HOSTS]
    write_file(lab.dir / "lab.json", json.dumps({"name": lab.name, "prefix": lab.prefix, "hosts": facts}, indent=2))
    vault = lab.dir / "secrets.yml"
    if not vault.exists():
        values = {k: secrets.token_urlsafe(n) if n else secrets.token_hex(32) for k, n in SECRETS.items()}
        lines = [f'{name}: "{value}"\n' for name, value in values.items()]
        write_file(vault, f"---\n# Throw-away secrets of the lab {lab.name}.\n{''.join(lines)}", 0o600)
    certificates.ensure(lab, "redis")
    return user_key, host_keys


def ssh_config(lab: Lab) -> str:
    hosts = "".join(
        f"Host {h.name} {lab.container(h)}\n    HostName {lab.address(h)}\n    HostKeyAlias {h.name}\n" for h in HOSTS
    )
    return (
        f"{hosts}Host *\n    User deploy\n"
        f'    IdentityFile "{lab.dir / "id_ed25519"}"\n    IdentitiesOnly yes\n'
        f'    UserKnownHostsFile "{lab.dir / "known_hosts"}"\n    StrictHostKeyChecking yes\n    LogLevel ERROR\n'
    )
