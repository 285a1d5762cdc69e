"""The parts of tests/lab that need no container: what it reads, what it writes, what it says."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def lab_on_path() -> Any:
    sys.path.insert(0, str(ROOT / "tests" / "lab"))
    yield
    sys.path.remove(str(ROOT / "tests" / "lab"))


@pytest.fixture(autouse=True)
def no_lab_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LAB_NAME", "LAB_PREFIX", "LAB_DIR", "LAB_APT_MIRROR"):
        monkeypatch.delenv(name, raising=False)


def module(name: str) -> Any:
    return import_module(name)


# Documentation hosts, as everywhere.
DEB822 = """\
Types: deb
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb deb-src
URIs: http://mirror.example/debian-security/
Suites: bookworm-security
Components: main contrib
"""


def test_sources_in_the_new_format() -> None:
    assert module("image").debian_sources([("debian.sources", DEB822)]) == [
        "deb http://mirror.example/debian bookworm main",
        "deb http://mirror.example/debian bookworm-updates main",
        "deb http://mirror.example/debian-security/ bookworm-security main",
    ]


def test_sources_of_another_debian_give_the_same_archive_at_our_suite() -> None:
    line = "deb [arch=amd64] http://mirror.example/debian trixie main contrib # ours\n"
    lines = f"{line}deb-src http://mirror.example/debian trixie main\n"
    assert module("image").debian_sources([("sources.list", lines)]) == [
        "deb http://mirror.example/debian bookworm main"
    ]


@pytest.mark.parametrize(
    "line",
    [
        "deb https://packages.example/apt cloud-sdk-bookworm main",
        "deb https://download.example/linux/debian bookworm stable",
        "deb https://apt.example bookworm main",
        "deb http://mirror.example/ubuntu jammy main",
        "# deb http://mirror.example/debian bookworm main",
    ],
)
def test_third_party_sources_are_left_out(line: str) -> None:
    assert module("image").debian_sources([("sources.list", line)]) == []


def test_a_disabled_source_is_left_out() -> None:
    assert module("image").debian_sources([("debian.sources", f"Enabled: no\n{DEB822}")]) == [
        "deb http://mirror.example/debian-security/ bookworm-security main"
    ]


def test_the_images_name_follows_its_recipe() -> None:
    image = module("image")
    one = image.tag_of(image.recipe(["deb http://mirror.example/debian bookworm main"], []))
    assert one == image.tag_of(image.recipe(["deb http://mirror.example/debian bookworm main"], []))
    assert one != image.tag_of(image.recipe(["deb http://other.example/debian bookworm main"], []))
    assert one != image.tag_of(image.recipe(["deb http://mirror.example/debian bookworm main"], ['Acquire::x "y"']))


def test_the_image_is_bare() -> None:
    assert not {"nginx", "redis", "redis-server", "python3-venv", "curl"} & set(module("image").PACKAGES)


@pytest.mark.parametrize(("hard", "asked"), [(20_000, 20_000), (-1, 1_048_576), (10**9, 1_048_576)])
def test_limits_are_never_raised_above_the_machines_own(hard: int, asked: int) -> None:
    assert f'"nofile={asked}:{asked}"' in module("podman").containers_conf(hard, 4096)


def networks(**subnets: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "subnets": [{"subnet": net}], "network_interface": f"br-{name}"} for name, net in subnets.items()
    ]


def test_a_free_prefix_has_no_holder() -> None:
    routes = [{"dst": "default", "dev": "eth0"}, {"dst": "192.0.2.0/24", "dev": "eth0"}]
    assert module("network").prefix_holder("10.93.7.0/24", networks(other="10.93.8.0/24"), routes, "mine") is None


def test_a_prefix_held_by_another_lab_is_named_with_the_way_out() -> None:
    held = networks(theirs="10.93.7.0/24")
    held[0]["labels"] = {"doris-mcp-lab": "theirs"}
    holder = module("network").prefix_holder("10.93.7.0/24", held, [], "mine")
    assert "the lab theirs" in holder
    assert "LAB_NAME=theirs tests/lab/lab.py down" in holder


def test_a_prefix_inside_a_wider_network_is_taken() -> None:
    assert "podman's network wide" in module("network").prefix_holder(
        "10.93.7.0/24", networks(wide="10.0.0.0/8"), [], "mine"
    )


def test_a_prefix_behind_an_interface_is_taken() -> None:
    routes = [{"dst": "10.93.0.0/16", "dev": "vpn0"}]
    assert "vpn0" in module("network").prefix_holder("10.93.7.0/24", [], routes, "mine")


def test_a_bridge_that_no_network_claims_is_stale() -> None:
    routes = [
        {"dst": "10.93.7.0/24", "dev": "podman2"},
        {"dst": "10.93.7.0/24", "dev": "vpn0"},
        {"dst": "10.93.8.0/24", "dev": "podman3"},
    ]
    stale = module("network").stale_bridges
    assert stale("10.93.7.0/24", [], routes) == ["podman2"]
    assert stale("10.93.7.0/24", [{"name": "theirs", "network_interface": "podman2"}], routes) == []


def test_our_own_network_is_no_conflict() -> None:
    held = networks(any="10.93.7.0/24")
    held[0]["labels"] = {"doris-mcp-lab": "mine"}
    routes = [{"dst": "10.93.7.0/24", "dev": "br-any"}]
    assert module("network").prefix_holder("10.93.7.0/24", held, routes, "mine") is None


def test_names_and_places_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hosts = module("hosts")
    default = hosts.Lab.from_env()
    assert (default.name, default.subnet, default.dir) == ("doris-mcp-lab", "10.93.7.0/24", ROOT / ".lab")
    monkeypatch.setenv("LAB_NAME", "other")
    assert hosts.Lab.from_env().dir == ROOT / ".lab" / "other"
    monkeypatch.setenv("LAB_DIR", str(tmp_path))
    monkeypatch.setenv("LAB_PREFIX", "10.93.9")
    other = hosts.Lab.from_env()
    assert (other.dir, other.address(hosts.HOSTS[0])) == (tmp_path, "10.93.9.11")


@pytest.mark.parametrize(
    ("name", "value"), [("LAB_PREFIX", "8.8.8"), ("LAB_PREFIX", "10.93"), ("LAB_NAME", "Bad Name")]
)
def test_bad_settings_are_refused_by_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(module("podman").LabError, match=f"{name}={value}"):
        module("hosts").Lab.from_env()


def test_every_host_keeps_a_hardware_address_of_its_own() -> None:
    lab = module("hosts").Lab.from_env()
    macs = [module("containers").mac_of(lab.address(host)) for host in module("hosts").HOSTS]
    assert macs[0] == "02:00:0a:5d:07:0b"
    assert len(set(macs)) == len(macs)


def test_an_unknown_host_is_named() -> None:
    with pytest.raises(module("podman").LabError, match="no such host: app-9"):
        module("hosts").pick(["app-1", "app-9"])


def test_the_files_are_made_once_and_kept(tmp_path: Path) -> None:
    files = module("files")
    hosts = module("hosts")
    mine = hosts.Lab("mine", "10.93.9", tmp_path / "with space")
    first = files.write_files(mine)
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in mine.dir.rglob("*") if p.is_file()}
    assert files.write_files(mine) == first
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in mine.dir.rglob("*") if p.is_file()} == before
    assert (mine.dir / "id_ed25519").stat().st_mode & 0o777 == 0o600
    assert (mine.dir / "secrets.yml").stat().st_mode & 0o777 == 0o600
    secrets = yaml.safe_load((mine.dir / "secrets.yml").read_text())
    assert set(secrets) == set(files.SECRETS)
    assert len(bytes.fromhex(secrets["vault_doris_mcp_token_key"])) == 32
    assert len(set(secrets.values())) == len(secrets)


def test_ssh_reads_the_configuration(tmp_path: Path) -> None:
    files = module("files")
    hosts = module("hosts")
    mine = hosts.Lab("mine", "10.93.9", tmp_path / "with space")
    files.write_files(mine)
    shown = subprocess.run(["ssh", "-G", "-F", mine.ssh_config, "redis-2"], capture_output=True, text=True, check=True)
    options = dict(line.split(" ", 1) for line in shown.stdout.splitlines())
    assert options["hostname"] == "10.93.9.32"
    assert options["user"] == "deploy"
    assert options["stricthostkeychecking"] == "true"
    assert options["userknownhostsfile"] == str(mine.dir / "known_hosts")
    assert (
        f"10.93.9.32 {(mine.dir / 'hosts' / 'redis-2.pub').read_text().split()[0]}"
        in (mine.dir / "known_hosts").read_text()
    )


def test_the_inventory_and_the_lab_agree(tmp_path: Path) -> None:
    files = module("files")
    hosts = module("hosts")
    env = {**os.environ, "LAB_NAME": "mine", "LAB_PREFIX": "10.93.9", "LAB_DIR": str(tmp_path), "NO_COLOR": "1"}
    (tmp_path / "secrets.yml").write_text("".join(f"{name}: x\n" for name in files.SECRETS))
    shown = subprocess.run(
        [sys.executable, "-m", "ansible.cli.inventory", "-i", ROOT / "inventories" / "lab" / "hosts.yml", "--list"],
        env=env, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    inventory = json.loads(shown.stdout)
    assert {(h.name, h.group) for h in hosts.HOSTS} == {
        (name, group) for group in ("balancers", "app", "redis", "sandbox") for name in inventory[group]["hosts"]
    }
    source = yaml.safe_load((ROOT / "inventories" / "lab" / "hosts.yml").read_text())
    addresses = {n: v["ansible_host"] for g in source["all"]["children"].values() for n, v in g["hosts"].items()}
    assert addresses == {h.name: f"{{{{ lab_prefix }}}}.{h.last}" for h in hosts.HOSTS}


def test_down_leaves_other_labs_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = module("lab")
    files = module("files")
    hosts = module("hosts")
    monkeypatch.setattr(lab.shutil, "which", lambda name: None)  # as on a machine without podman
    outer, inner = (
        hosts.Lab("outer", "10.93.9", tmp_path / "lab"),
        hosts.Lab("inner", "10.93.10", tmp_path / "lab" / "inner"),
    )
    for one in (outer, inner):
        files.write_files(one)
    lab.down(outer, say=lambda text: None)
    assert [p.name for p in outer.dir.iterdir()] == ["inner"]
    lab.down(inner, say=lambda text: None)
    lab.down(outer, say=lambda text: None)
    assert not inner.dir.exists()


def test_down_does_not_touch_a_directory_that_is_no_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = module("lab")
    hosts = module("hosts")
    monkeypatch.setattr(lab.shutil, "which", lambda name: None)
    (tmp_path / "precious").write_text("x")
    lab.down(hosts.Lab("mine", "10.93.9", tmp_path), say=lambda text: None)
    assert (tmp_path / "precious").exists()
