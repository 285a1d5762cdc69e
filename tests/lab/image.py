"""The lab's base image: a bare Debian 12 with systemd and sshd, made from the machine's own apt mirror.

No image registry is involved. The tag carries a hash of the recipe, so a changed recipe is a new image and an
unchanged one costs a single look-up.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from podman import LabError, as_root, podman, podman_json

SUITE = "bookworm"
REPOSITORY = "localhost/doris-mcp-lab"
OLDEST = datetime.timedelta(days=7)
CODENAMES = {"bullseye", "bookworm", "trixie", "forky", "sid", "stable", "oldstable", "testing", "unstable"}

PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "openssh-server", "sudo"),
    *("python3", "python3-apt", "ca-certificates", "iproute2", "procps"),
)

# A server as a provider hands it over: an administrator with sudo, sshd, nothing else. Host keys and the
# administrator's key come in when a host is started, so the image holds no secret.
CUSTOMIZE = (
    'rm -f "$1"/etc/ssh/ssh_host_*',
    'chroot "$1" useradd --create-home --shell /bin/bash deploy',
    'echo "deploy ALL=(ALL) NOPASSWD:ALL" > "$1/etc/sudoers.d/deploy"; chmod 0440 "$1/etc/sudoers.d/deploy"',
    'install -d -m 0700 -o 1000 -g 1000 "$1/home/deploy/.ssh"',
    # An apt run of the host's own would hold the lock when a play wants it.
    'chroot "$1" systemctl mask apt-daily.timer apt-daily-upgrade.timer',
    # A container has no use for these, and systemd 252 may leave their start jobs, and with them the whole boot,
    # waiting for ever when many mounts change at once (its rate limit on mountinfo).
    'chroot "$1" systemctl mask dev-hugepages.mount dev-mqueue.mount sys-fs-fuse-connections.mount'
    " sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount proc-sys-fs-binfmt_misc.automount",
)
# podman makes every mount private, which turns ProtectSystem=, PrivateTmp= and others into silent no-ops.
ENTRYPOINT = ["/bin/sh", "-c", "mount --make-rshared / && exec /lib/systemd/systemd"]


def _entries(text: str, deb822: bool) -> Iterator[tuple[str, str, list[str]]]:
    """(uri, suite, components) of each binary source in one apt source file."""
    if not deb822:
        for line in text.splitlines():
            words = re.sub(r"\[[^]]*\]", "", line.split("#")[0]).split()
            if len(words) >= 4 and words[0] == "deb":
                yield words[1], words[2], words[3:]
        return
    for stanza in re.split(r"\n\s*\n", re.sub(r"(?m)^#.*\n?", "", text)):
        unfolded = re.sub(r"\n[ \t]+", " ", stanza)
        fields = {k.strip().lower(): v.split() for k, _, v in (ln.partition(":") for ln in unfolded.splitlines())}
        if "deb" not in fields.get("types", []) or fields.get("enabled") == ["no"]:
            continue
        for uri in fields.get("uris", []):
            for suite in fields.get("suites", []):
                yield uri, suite, fields.get("components", [])


def debian_sources(files: Iterable[tuple[str, str]]) -> list[str]:
    """The `deb` lines of SUITE from a machine's (file name, content) apt sources; empty if none is Debian's.

    Third-party archives often use Debian's suite names, so an entry counts only when it is a Debian suite
    with `main` at a path that ends in debian or debian-security.
    """
    lines: list[str] = []
    for name, text in files:
        for uri, suite, components in _entries(text, name.endswith(".sources")):
            codename, _, pocket = suite.replace("/updates", "-security").partition("-")
            folder = urlsplit(uri).path.rstrip("/").rpartition("/")[2]
            if codename not in CODENAMES or "main" not in components or not folder.startswith("debian"):
                continue
            if pocket in ("", "updates", "security"):
                lines.append(f"deb {uri} {SUITE}{'-' if pocket else ''}{pocket} main")
    return sorted(set(lines))


def _machine_sources() -> list[str]:
    if mirror := os.environ.get("LAB_APT_MIRROR"):
        return [f"deb {mirror} {SUITE} main"]
    apt = Path("/etc/apt")
    found = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    lines = debian_sources((p.name, p.read_text()) for p in found if p.is_file())
    if not any(line.split()[2] == SUITE for line in lines):
        raise LabError(
            "no Debian archive among this machine's apt sources; name one: "
            f"LAB_APT_MIRROR=<URL of a Debian mirror that has {SUITE}>"
        )
    return lines


def _apt_options() -> list[str]:
    """What this machine needs to reach its mirror (a proxy, a snapshot with old dates) the lab needs too."""
    try:
        dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    wanted = re.compile(r'^Acquire::(Check-Valid-Until|Check-Date|https?::Proxy) ".+";$')
    return sorted(line.rstrip(";") for line in dump.splitlines() if wanted.match(line))


def recipe(sources: list[str], apt_options: list[str]) -> list[str]:
    """The mmdebstrap command, up to the target file."""
    return [
        "mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}",
        *(f"--aptopt={option}" for option in apt_options),
        "--dpkgopt=force-unsafe-io",  # a lab host is thrown away; syncing each file doubles every apt run
        *(f"--customize-hook={hook}" for hook in CUSTOMIZE),
        SUITE, "-", *sources,
    ]  # fmt: skip


def tag_of(command: list[str]) -> str:
    """The image's name: the same for the same recipe."""
    return f"{REPOSITORY}:{SUITE}-{hashlib.sha256(json.dumps([command, ENTRYPOINT]).encode()).hexdigest()[:12]}"


def _age(tag: str) -> datetime.timedelta | None:
    for image in podman_json("image", "inspect", tag):
        created = datetime.datetime.fromisoformat(re.sub(r"\.\d+", "", image["Created"]).replace("Z", "+00:00"))
        return datetime.datetime.now(datetime.UTC) - created
    return None


def _build(tag: str, command: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="lab-image-") as folder:
        tar = Path(folder) / "base.tar"
        with tar.open("wb") as out:
            done = subprocess.run(as_root(*command), stdout=out, stderr=subprocess.PIPE, timeout=900)
        if done.returncode:
            raise LabError(f"mmdebstrap failed:\n{done.stderr.decode(errors='replace').strip()[-1500:]}")
        podman("import", "--quiet", "--change", f"CMD {json.dumps(ENTRYPOINT)}",
               "--change", "LABEL doris-mcp-lab=base", str(tar), tag)  # fmt: skip


def _forget_old() -> None:
    # Without --force: an image that a lab still runs on stays.
    names = podman("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", REPOSITORY).stdout.decode().split()
    for name in names:
        age = _age(name)
        if age is not None and age >= OLDEST:
            podman("image", "rm", name, check=False)
    podman("image", "prune", "--force", "--filter", "label=doris-mcp-lab=base", check=False)


def ensure_image(say: Callable[[str], None] = print) -> str:
    """The tag of an image no older than a week, built now if need be. Safe for several labs at once."""
    command = recipe(_machine_sources(), _apt_options())
    tag = tag_of(command)
    lock = Path.home() / ".cache" / "doris-mcp-lab" / "image.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        age = _age(tag)
        if age is not None and age < OLDEST:
            return tag
        say("image: none for this recipe yet, building" if age is None else f"image: {age.days} days old, rebuilding")
        try:
            _build(tag, command)
        except (LabError, subprocess.TimeoutExpired) as failure:
            if age is None:
                raise
            say(f"image: keeping the old one ({failure})")
        else:
            _forget_old()
    return tag
