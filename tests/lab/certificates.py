"""A lab's certificates: a CA of its own, and one certificate for all hosts of a group that serve TLS.

The same commands as docs/operations.md shows.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from hosts import HOSTS, Lab
from podman import LabError

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
DAYS = "365"


def _openssl(*argv: str) -> None:
    try:
        done = subprocess.run(["openssl", *argv], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise LabError("openssl is not installed: run `make deps`") from None
    if done.returncode:
        raise LabError(f"openssl {argv[0]} failed: {done.stderr.strip()[-500:]}")


def _pair(path: Path, *argv: str) -> None:
    """A certificate at `path`.pem with its key at `path`.key, the key first: who has the one has both."""
    path.parent.mkdir(parents=True, exist_ok=True)
    key, certificate = (path.with_name(f".{path.name}-{os.getpid()}{suffix}") for suffix in (".key", ".pem"))
    _openssl("req", "-x509", "-days", DAYS, *KEY, "-keyout", str(key), "-out", str(certificate), *argv)
    key.chmod(0o600)
    key.replace(path.with_suffix(".key"))
    certificate.replace(path.with_suffix(".pem"))


def ensure_ca(lab: Lab) -> Path:
    """The CA's files without their suffix, made if they are not there."""
    ca = lab.dir / "tls" / "ca"
    if not ca.with_suffix(".pem").exists():
        _pair(ca, "-subj", f"/CN={lab.name} CA", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    return ca


def issue(lab: Lab, group: str) -> None:
    """A new certificate for the addresses of all hosts of `group`, in place of the one there is."""
    ca = ensure_ca(lab)
    names = ",".join(f"IP:{lab.address(host)},DNS:{host.name}" for host in HOSTS if host.group == group)
    _pair(lab.dir / "tls" / group, "-CA", str(ca.with_suffix(".pem")), "-CAkey", str(ca.with_suffix(".key")),
          "-subj", f"/CN={lab.name} {group}", "-addext", f"subjectAltName={names}",
          "-addext", "basicConstraints=critical,CA:FALSE",
          "-addext", "extendedKeyUsage=serverAuth,clientAuth")  # fmt: skip


def ensure(lab: Lab, group: str) -> None:
    """`tls/<group>.pem` and `.key` in the lab's directory, made if they are not there."""
    if not (lab.dir / "tls" / f"{group}.pem").exists():
        issue(lab, group)
