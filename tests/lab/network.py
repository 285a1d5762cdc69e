"""A lab's bridge network: its own /24, refused when somebody else has it."""

from __future__ import annotations

import ipaddress
import json
import re
import secrets
import subprocess
from collections.abc import Iterable
from typing import Any

from containers import remove_containers
from hosts import Lab, Say
from podman import LabError, as_root, podman, podman_json


def prefix_holder(
    subnet: str, networks: Iterable[dict[str, Any]], routes: Iterable[dict[str, Any]], own: str
) -> str | None:
    """Who but the lab `own` uses `subnet`, in words, or None. `networks` are podman's, `routes` `ip -j route`'s."""
    wanted = ipaddress.ip_network(subnet)
    bridges = set()
    for network in networks:
        bridges.add(network.get("network_interface"))
        for entry in network.get("subnets") or []:
            lab = (network.get("labels") or {}).get("doris-mcp-lab")
            if lab != own and wanted.overlaps(ipaddress.ip_network(entry["subnet"])):
                if lab:
                    return f"the lab {lab} (`LAB_NAME={lab} tests/lab/lab.py down` removes it)"
                name = network["name"]
                return f"podman's network {name} (`podman network rm -f {name}` removes it)"
    for route in routes:
        if (
            route["dst"] != "default"
            and route.get("dev") not in bridges
            and wanted.overlaps(ipaddress.ip_network(route["dst"]))
        ):
            return f"the interface {route.get('dev')} ({route['dst']})"
    return None


def stale_bridges(subnet: str, networks: Iterable[dict[str, Any]], routes: Iterable[dict[str, Any]]) -> list[str]:
    """podman's bridges that hold exactly `subnet` for no network of podman's: a killed command left them."""
    claimed = {network.get("network_interface") for network in networks}
    holders = {str(route.get("dev")) for route in routes if route["dst"] == subnet} - claimed
    return sorted(dev for dev in holders if re.fullmatch(r"podman\d+", dev))


def own_networks(lab: Lab, networks: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [n for n in networks if (n.get("labels") or {}).get("doris-mcp-lab") == lab.name]


def _routes() -> list[dict[str, Any]]:
    shown = subprocess.run(["ip", "-j", "-4", "route"], capture_output=True)
    routes: list[dict[str, Any]] = json.loads(shown.stdout or b"[]") if shown.returncode == 0 else []
    return routes


def _networks() -> list[dict[str, Any]]:
    names = [n["name"] for n in podman_json("network", "ls", "--format", "json")]
    networks: list[dict[str, Any]] = podman_json("network", "inspect", *names) if names else []
    return networks


def ensure_network(lab: Lab, say: Say) -> str:
    """The name of the lab's network, made if it is not there or has another subnet."""
    networks = _networks()
    own = own_networks(lab, networks)
    if len(own) == 1 and [s["subnet"] for s in own[0].get("subnets") or []] == [lab.subnet]:
        return str(own[0]["name"])
    routes = _routes()
    for bridge in stale_bridges(lab.subnet, networks, routes):
        say(f"network: removing the bridge {bridge}, left by one that is gone")
        subprocess.run(as_root("ip", "link", "delete", bridge), check=True)
        routes = _routes()
    if holder := prefix_holder(lab.subnet, networks, routes, lab.name):
        raise LabError(f"{lab.subnet} is taken by {holder}; choose another prefix with LAB_PREFIX=10.93.x")
    if own:
        say("network: has another subnet, making the lab anew")
        remove_network(lab)
    # Never the same name twice: podman keeps the addresses of killed containers under a network's name for ever.
    name = f"{lab.name}-{secrets.token_hex(2)}"
    label = f"doris-mcp-lab={lab.name}"
    # Hosts reach each other by address, as the plays configure them; no name server needed.
    podman("network", "create", "--disable-dns", "--subnet", lab.subnet, "--label", label, name)
    return name


def remove_network(lab: Lab) -> None:
    """Remove the lab's network and with it the lab's containers."""
    remove_containers(lab)
    for network in own_networks(lab, _networks()):
        podman("network", "rm", "--force", network["name"])
