"""Hosts that reboot, come and go; controllers that meet; settings that need no restart."""

import asyncio
import json
from pathlib import Path

from .fleet import (
    APP,
    BACKUP,
    CONFIGURE,
    DRAIN,
    ONCE,
    REBOOT,
    REDIS,
    RESTART_REDIS,
    ROLLING_RESTART,
    ROTATE_KEYS,
    SCALE_IN,
    STATUS,
    UNDRAIN,
    Fleet,
    eventually,
)
from .watch import watch

# The hosts on which a verb would change something.
TRIED = {
    ROLLING_RESTART: APP,
    REBOOT: APP,
    ROTATE_KEYS: {"app-1"},
    CONFIGURE: set(),
    DRAIN: {"app-3"},
    UNDRAIN: set(),
    SCALE_IN: {"app-3", "lb-1"},
    RESTART_REDIS: REDIS,
    BACKUP: set(),
}


async def test_a_reboot_of_every_host_loses_no_request_and_a_second_controller_is_refused(fleet: Fleet) -> None:
    before = {host: fleet.invocation(host) for host in APP}
    async with watch(fleet, "reboot") as load:
        rebooting = asyncio.create_task(fleet.playing(REBOOT))
        await eventually(lambda: locked(fleet))
        second = await fleet.playing(DRAIN, "-e", "target=app-2", fails=True)
        second.refused(["The fleet is locked: app-1 is held by", "-e break_lock=true"])
        await rebooting
        await load.answers(50)
    assert not {host for host in APP if fleet.invocation(host) == before[host]}, "not rebooted"


async def locked(fleet: Fleet) -> None:
    record = await asyncio.to_thread(fleet.on, "lb-1", "cat /var/lib/doris-mcp-fleet/lock")
    assert json.loads(record)["holder"]


async def test_a_new_key_for_every_host_costs_no_request(fleet: Fleet) -> None:
    async with watch(fleet, "rotate keys") as load:
        before = {await sealing(fleet, host) for host in APP}
        await fleet.playing(ROTATE_KEYS, "-e", "doris_mcp_key_delay=10")
        after = {await sealing(fleet, host) for host in APP}
        assert len(after) == len(before) == 1 and after != before
        await load.answers(50)


async def sealing(fleet: Fleet, host: str) -> str:
    """The key with which a host seals."""
    command = "sudo /opt/doris-mcp-server/.venv/bin/doris-mcp-server ctl status --json"
    return str(json.loads(await asyncio.to_thread(fleet.on, host, command))["keys"]["seals"])


async def test_a_setting_of_the_balancer_restarts_no_host_and_costs_no_request(fleet: Fleet) -> None:
    before = {host: fleet.invocation(host) for host in APP}
    async with watch(fleet, "configure") as load:
        play = await fleet.playing(CONFIGURE, "-e", "nginx_max_body=5m", "-e", "doris_mcp_drain_timeout=50")
        assert set(play.changed) == {"lb-1"}, str(play)
        await fleet.playing(CONFIGURE)
        await load.answers(50)
    assert {host: fleet.invocation(host) for host in APP} == before
    assert fleet.play(CONFIGURE).changed == {}


async def test_a_host_that_leaves_for_good_and_two_that_roll_without_it_cost_no_request(
    fleet: Fleet, tmp_path: Path
) -> None:
    two = fleet.inventory(tmp_path, app=["app-1", "app-2"])
    async with watch(fleet, "scale in, roll two hosts, scale out") as load:
        # Left out without being stopped, and taken in again with other settings: no balancer can show it meanwhile.
        await fleet.playing("site.yml", "--tags", "nginx", inventory=two)
        other = ("-e", "doris_mcp_max_rows=900", "--limit", "app-3,balancers")
        await fleet.playing(CONFIGURE, *other)
        left = load.report.hosts["app-3"]
        await load.until(lambda report: report.hosts["app-3"] > left)
        await fleet.playing(SCALE_IN, "-e", "target=app-3")
        left = load.report.hosts["app-3"]
        again = await fleet.playing(SCALE_IN, "-e", "target=app-3")
        assert again.changed == {}, str(again)
        assert "app-3" not in fleet.on("lb-1", "cat /etc/nginx/nginx.conf")
        assert fleet.on("app-3", "systemctl is-enabled doris-mcp.socket || true").strip() == "disabled"
        await fleet.playing(ROLLING_RESTART, inventory=two)
        assert load.report.hosts["app-3"] == left
        await fleet.playing("site.yml", "--tags", "doris_mcp,nginx")
        await load.until(lambda report: report.hosts["app-3"] > left)


async def test_a_host_that_is_down_is_named_and_the_others_go_on_without_it_when_told_to(fleet: Fleet) -> None:
    before = fleet.invocation("app-3")
    async with watch(fleet, "a host is down", accident=True) as load:
        await asyncio.to_thread(fleet.lab, "stop", "app-3")
        play = await fleet.playing(ROLLING_RESTART, fails=True, ANSIBLE_SSH_RETRIES=ONCE)
        play.refused(["app-3: unreachable, not ready", "Nothing was changed", "--limit '!app-3'"])
        failed = load.report.failed
        play = await fleet.playing(ROLLING_RESTART, "--limit", "!app-3", ANSIBLE_SSH_RETRIES=ONCE)
        assert set(play.changed) == {"app-1", "app-2"}, str(play)
        await load.answers(50)
        assert load.report.failed == failed, "it was the roll that cost answers"
        await asyncio.to_thread(fleet.lab, "up")
        await fleet.ready_again("app-3", before)


def test_each_verb_can_be_tried_without_changing_anything(fleet: Fleet) -> None:
    before = {host: fleet.invocation(host) for host in APP}
    stores = {host: fleet.invocation(host, "redis-server") for host in REDIS}
    for verb, announced in TRIED.items():
        play = fleet.play(verb, "--check", *(["-e", "target=app-3"] if verb in (DRAIN, SCALE_IN, UNDRAIN) else []))
        assert set(play.changed) == announced, str(play)
    assert {host: fleet.invocation(host) for host in APP} == before
    assert {host: fleet.invocation(host, "redis-server") for host in REDIS} == stores
    table = fleet.play(STATUS)
    assert {table.row(host)["state"] for host in APP} == {"running"}
