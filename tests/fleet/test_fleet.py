"""The product, as its user meets it: boot, deploy, call, restart, call again.

The tests run in this order on one fleet; each leaves it whole.
"""

import asyncio
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from doris_mcp_server.tools import by_name

from ..clients import clients
from .fleet import ROOT, Fleet, Play, eventually
from .kill import SERVER, killed
from .load import Load, request
from .releases import WRONG, release

ROLLING_RESTART = "ansible/playbooks/rolling_restart.yml"
DRAIN = "ansible/playbooks/drain.yml"
UNDRAIN = "ansible/playbooks/undrain.yml"
STATUS = "ansible/playbooks/status.yml"
ROLLBACK = "ansible/playbooks/rollback.yml"
SCALE_IN = "ansible/playbooks/scale_in.yml"
CONFIGURE = "ansible/playbooks/configure.yml"
REBOOT = "ansible/playbooks/reboot.yml"
APP = {"app-1", "app-2", "app-3"}
TOOLS = set(by_name)


def watch(fleet: Fleet, connections: int = 16, *, slow: int = 0) -> Load:
    """Clients of the fleet, with room left for the plays on a small machine."""
    return Load(fleet.mcp, fleet.token, connections, slow=slow, pause=0.05, sessions=True)


# -- boot, deploy --------------------------------------------------------------------------------------------


def test_check_mode_succeeds_on_hosts_with_nothing_on_them(bare: Fleet) -> None:
    bare.play("site.yml", "--check")
    for host in bare.names("app"):
        assert bare.on(host, "ls /opt /etc/systemd/system | grep -c doris || true").strip() == "0", host


def test_one_command_deploys_every_host(bare: Fleet, first_deploy: Play) -> None:
    assert not first_deploy.failed
    assert {host["name"] for host in bare.hosts} <= set(first_deploy.changed)


def test_check_mode_on_the_deployed_fleet_announces_no_change(fleet: Fleet) -> None:
    play = fleet.play("site.yml", "--check")
    assert play.changed == {}, str(play)


def test_the_second_deploy_changes_nothing_and_restarts_nothing(fleet: Fleet) -> None:
    before = {host: fleet.invocation(host) for host in APP}
    play = fleet.play("site.yml")
    assert play.changed == {}, str(play)
    assert {host: fleet.invocation(host) for host in APP} == before


# -- call ----------------------------------------------------------------------------------------------------


async def test_all_three_hosts_serve_through_the_balancer(fleet: Fleet) -> None:
    async with watch(fleet, 6) as load:
        await load.until(lambda report: set(report.hosts) == APP)
    assert load.report().clean, load.report()


async def test_every_client_lists_the_tools_and_gets_the_same_answer(fleet: Fleet, installed_clients: None) -> None:
    answers = {name: await clients.ask(name, fleet.mcp, fleet.token) for name in clients.CLIENTS}
    for name, seen in answers.items():
        assert set(seen.tools) == TOOLS, name
        assert [column["name"] for column in seen.columns] == ["d_year", "orders", "revenue"], name
        assert [row[0] for row in seen.rows] == list(range(1992, 1999)), name
        assert seen.rows == answers["Python SDK"].rows, name


async def query(fleet: Fleet, sql: str, token: str | None) -> tuple[int, dict[str, Any]]:
    body, headers = request(1, sql, modern=True)
    if token:
        headers["authorization"] = f"Bearer {token}"
    async with aiohttp.ClientSession() as http, http.post(fleet.mcp, json=body, headers=headers) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("sql", ["DROP TABLE lineorder", "DELETE FROM lineorder", "SELECT 1; TRUNCATE TABLE lineorder"])
async def test_no_write_passes(sql: str, fleet: Fleet) -> None:
    status, answer = await query(fleet, sql, fleet.token)
    assert status == 200
    assert answer["result"]["isError"] is True
    assert json.loads(answer["result"]["content"][0]["text"])["error"]["kind"] == "statement_refused"
    _, answer = await query(fleet, "SELECT count(*) > 0 FROM lineorder", fleet.token)
    assert answer["result"]["structuredContent"]["rows"] in ([[True]], [[1]])


@pytest.mark.parametrize("token", [None, "wrong-token-0123456789"])
async def test_who_has_no_valid_token_is_refused(token: str | None, fleet: Fleet) -> None:
    status, _ = await query(fleet, "SELECT 1", token)
    assert status == 401


async def test_a_name_that_is_not_the_fleets_is_refused(fleet: Fleet) -> None:
    body, headers = request(1, "SELECT 1", modern=True)
    headers |= {"authorization": f"Bearer {fleet.token}", "host": "elsewhere.example"}
    async with aiohttp.ClientSession() as http, http.post(fleet.mcp, json=body, headers=headers) as response:
        assert response.status == 421


async def test_numbers_stay_inside_and_readiness_is_told_outside(fleet: Fleet) -> None:
    assert (await fleet.get(f"{fleet.url}/metrics"))[0] == 404
    assert (await fleet.get(f"{fleet.url}/readyz"))[0] == 200
    for host in APP:
        status, body, served_by = await fleet.get(f"http://{fleet.address(host)}:3000/readyz")
        assert (status, body["status"], served_by) == (200, "ready", host)


# -- restart, call again -------------------------------------------------------------------------------------


async def test_a_rolling_restart_loses_no_request_of_16_clients(fleet: Fleet) -> None:
    before = {host: fleet.invocation(host) for host in APP}
    async with watch(fleet, 16, slow=3) as load:
        await load.until(lambda report: report.ok >= 50 and report.slow_ok >= 1)
        await fleet.playing(ROLLING_RESTART)
        await load.answers(50)
    report = load.report()
    fleet.figures.append(f"rolling restart: {report}")
    assert report.clean, report
    assert report.slow_ok >= 3
    assert set(report.hosts) == APP
    after = {host: fleet.invocation(host) for host in APP}
    assert not {host for host in APP if after[host] == before[host]}, "not restarted"


async def test_systemctl_restart_loses_no_request_and_the_host_is_ready_by_itself(fleet: Fleet) -> None:
    before = fleet.invocation("app-1")
    async with watch(fleet, slow=2) as load:
        await load.until(lambda report: report.ok >= 50)
        await asyncio.to_thread(fleet.on, "app-1", "sudo systemctl restart doris-mcp")
        await fleet.ready_again("app-1", before)
        seen = load.report().hosts.get("app-1", 0)
        await load.until(lambda report: report.hosts.get("app-1", 0) > seen)
    report = load.report()
    fleet.figures.append(f"systemctl restart: {report}")
    assert report.clean, report


@pytest.mark.parametrize(
    ("host", "accident"),
    [
        ("app-2", "kill -9 of the main process"),
        ("app-3", "reboot of the host"),
    ],
)
async def test_a_host_comes_back_ready_by_itself_after(host: str, accident: str, fleet: Fleet) -> None:
    before = fleet.invocation(host)
    async with watch(fleet) as load:
        await load.until(lambda report: set(report.hosts) == APP)
        if accident.startswith("kill"):
            await asyncio.to_thread(
                fleet.on, host, "sudo systemctl kill --signal=KILL --kill-whom=main doris-mcp.service"
            )
        else:
            await asyncio.to_thread(fleet.lab, "reboot", host)
        await fleet.ready_again(host, before)
        seen = load.report().hosts.get(host, 0)
        await load.until(lambda report: report.hosts.get(host, 0) > seen)
    report = load.report()
    fleet.figures.append(f"{accident}: {report}")
    assert not report.foreign and not report.duplicated, report


# -- drain, status, undrain ----------------------------------------------------------------------------------


async def test_a_drained_host_gets_no_request_until_it_is_put_back(fleet: Fleet) -> None:
    async with watch(fleet, slow=1) as load:
        await load.until(lambda report: set(report.hosts) == APP)
        await fleet.playing(DRAIN, "-e", "target=app-2")
        left = load.report().hosts["app-2"]
        report = await load.answers(300)
        assert report.hosts["app-2"] == left, "a drained host was asked"
        status, body = await fleet.readyz("app-2")
        assert (status, body["status"]) == (503, "draining")
        table = await fleet.playing(STATUS)
        assert row(table, "app-2")["state"] == "draining"
        assert row(table, "app-1")["state"] == "running"
        again = await fleet.playing(DRAIN, "-e", "target=app-2")
        assert again.changed == {}, str(again)
        await fleet.playing(UNDRAIN, "-e", "target=app-2")
        await load.until(lambda report: report.hosts["app-2"] > left)
    assert load.report().clean, load.report()
    assert row(fleet.play(STATUS), "app-2")["state"] == "running"


def row(play: Play, host: str) -> dict[str, str]:
    """A host's row of the status table, by column."""
    rows = [[cell.strip() for cell in line.split(" | ")] for line in play.output.splitlines() if line.count(" | ") > 3]
    return next(dict(zip(rows[0], cells, strict=True)) for cells in rows if cells[0] == host)


# -- bad input: named with its fix, and nothing is changed ------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(
            ["-e", "doris_mcp_smoke_token="], ["app-1: doris_mcp_smoke_token", "Fix: set vault_"], id="missing secret"
        ),
        pytest.param(["-e", "doris_mcp_worker=4"], ["app-1: ", "doris_mcp_worker", "Fix: "], id="unknown variable"),
        pytest.param(["-e", "doris_mcp_port=22"], ["app-1: port 22", "sshd", "Fix: "], id="port in use"),
        pytest.param(["-e", "doris_mcp_workers=0"], ["app-1: doris_mcp_workers", "Fix: "], id="impossible value"),
    ],
)
def test_bad_input_is_named_with_its_fix_before_anything_is_changed(
    arguments: list[str], words: list[str], fleet: Fleet
) -> None:
    refused(fleet.play("site.yml", *arguments, fails=True), words)


def refused(play: Play, words: list[str]) -> None:
    missing = [word for word in words if word not in play.words]
    assert not missing, f"the output does not say {missing}\n{play}"
    assert play.changed == {}, str(play)


@pytest.mark.parametrize("group", ["app", "balancers"])
def test_an_empty_group_is_named_with_its_fix_before_anything_is_changed(
    group: str, fleet: Fleet, tmp_path: Path
) -> None:
    inventory = tmp_path / "fleet"
    shutil.copytree(ROOT / "inventories/lab", inventory)
    hosts = yaml.safe_load((inventory / "hosts.yml").read_text())
    hosts["all"]["children"][group]["hosts"] = {}
    (inventory / "hosts.yml").write_text(yaml.safe_dump(hosts))
    play = fleet.play("site.yml", inventory=str(inventory), fails=True)
    refused(play, [f"The group {group} is empty", "Fix: name at least one host"])


def test_an_unreachable_host_is_named_with_its_fix_before_anything_is_changed(fleet: Fleet, tmp_path: Path) -> None:
    more = tmp_path / "more.yml"
    gone = {"ansible_host": f"{fleet.prefix}.99"}
    more.write_text(yaml.safe_dump({"all": {"children": {"app": {"hosts": {"app-9": gone}}}}}))
    play = fleet.play("site.yml", "-i", str(more), fails=True)
    refused(play, [f"app-9: cannot be reached at {fleet.prefix}.99", "Fix: start it"])
    assert play.failed >= {"app-9"}


async def test_a_wrong_doris_password_stops_the_roll_at_the_first_host_and_no_client_notices(fleet: Fleet) -> None:
    wrong = ("-e", "doris_mcp_doris_password=not-the-password", "-e", "doris_mcp_ready_timeout=20")
    await stopped_and_put_back(fleet, wrong, ["ready: not ready within 20 s", "vault_doris_mcp_doris_password"])


# -- releases ------------------------------------------------------------------------------------------------


async def test_a_release_that_answers_wrong_is_stopped_at_the_first_host_and_no_client_notices(
    fleet: Fleet, tmp_path: Path
) -> None:
    _, wrong = release(tmp_path, "doris/pool.py", WRONG)
    await stopped_and_put_back(fleet, wrong, ["smoke: the server is ready but", "SELECT 1 answered [[0]]"])


async def stopped_and_put_back(fleet: Fleet, broken: Sequence[str], words: list[str]) -> None:
    """Deploying what is `broken` fails with `words`; the one host it reached is back on what it had by itself."""
    before = {host: fleet.invocation(host) for host in APP}
    running = fleet.play(STATUS)
    had = {host: row(running, host)["release"] for host in APP}
    async with watch(fleet, 6) as load:
        await load.until(lambda report: set(report.hosts) == APP)
        play = await fleet.playing("site.yml", *SERVER, *broken, fails=True)
        missing = [word for word in [*words, "This host is back on release"] if word not in play.words]
        assert not missing, f"the output does not say {missing}\n{play}"
        touched = {host for host in APP if fleet.invocation(host) != before[host]}
        assert touched == play.failed and len(touched) == 1, (touched, str(play))
        table = await fleet.playing(STATUS)
        assert {host: row(table, host)["release"] for host in APP} == had
        assert {row(table, host)["ready"] for host in APP} == {"yes"}
        again = await fleet.playing("site.yml", *SERVER)
        assert again.changed == {}, str(again)
        seen = dict(load.report().hosts)
        await load.until(lambda report: all(report.hosts[host] > seen[host] for host in APP))
    report = load.report()
    fleet.figures.append(f"broken release: {report}")
    assert report.clean, report


async def test_a_deploy_whose_controller_dies_the_same_again_and_the_way_back_lose_no_request(
    fleet: Fleet, tmp_path: Path
) -> None:
    had = row(fleet.play(STATUS), "app-1")["release"]
    new, deploying = release(tmp_path, "__init__.py", "\nANOTHER = True\n")
    async with watch(fleet, 6, slow=1) as load:
        await load.until(lambda report: set(report.hosts) == APP)
        # The worst moment: the host is drained, the release is flipped, and what runs is still the old one.
        await asyncio.to_thread(killed, fleet, "Serve | Start the service anew", *deploying)
        states = {host: (await fleet.readyz(host))[1]["status"] for host in sorted(APP)}
        assert states == {"app-1": "draining", "app-2": "ready", "app-3": "ready"}
        await fleet.playing("site.yml", *SERVER, *deploying)
        table = await fleet.playing(STATUS)
        assert {(row(table, host)["release"], row(table, host)["ready"]) for host in APP} == {(new, "yes")}
        await fleet.playing(ROLLBACK)
        table = await fleet.playing(STATUS)
        assert {row(table, host)["release"] for host in APP} == {had}
        await load.answers(50)
    report = load.report()
    fleet.figures.append(f"deploy killed half-way, deploy and rollback: {report}")
    assert report.clean, report
    assert fleet.play(ROLLBACK).changed == {}, "the way back is not taken twice"


def test_a_release_that_is_not_on_the_hosts_is_refused(fleet: Fleet) -> None:
    play = fleet.play(ROLLBACK, "-e", "release=0.0.0-gone", fails=True)
    refused(play, ["app-1: release 0.0.0-gone is not here", "Fix: name one that every host has"])


# -- one controller at a time, hosts that come and go --------------------------------------------------------


async def test_a_reboot_of_every_host_loses_no_request_and_a_second_controller_is_refused(fleet: Fleet) -> None:
    before = {host: fleet.invocation(host) for host in APP}
    async with watch(fleet, 6) as load:
        await load.until(lambda report: set(report.hosts) == APP)
        rebooting = asyncio.create_task(fleet.playing(REBOOT))
        await eventually(lambda: locked(fleet))
        second = await fleet.playing(DRAIN, "-e", "target=app-2", fails=True)
        refused(second, ["The fleet is locked: app-1 is held by", "-e break_lock=true"])
        await rebooting
        await load.answers(50)
    report = load.report()
    fleet.figures.append(f"reboot: {report}")
    assert report.clean, report
    assert not {host for host in APP if fleet.invocation(host) == before[host]}, "not rebooted"


async def locked(fleet: Fleet) -> None:
    record = await asyncio.to_thread(fleet.on, "lb-1", "cat /var/lib/doris-mcp-fleet/lock")
    assert json.loads(record)["holder"]


async def test_a_setting_of_the_balancer_restarts_no_host_and_costs_no_request(fleet: Fleet) -> None:
    before = {host: fleet.invocation(host) for host in APP}
    async with watch(fleet) as load:
        await load.until(lambda report: set(report.hosts) == APP)
        play = await fleet.playing(CONFIGURE, "-e", "nginx_max_body=5m", "-e", "doris_mcp_drain_timeout=50")
        assert set(play.changed) == {"lb-1"}, str(play)
        await fleet.playing(CONFIGURE)
        await load.answers(50)
    report = load.report()
    fleet.figures.append(f"configure: {report}")
    assert report.clean, report
    assert {host: fleet.invocation(host) for host in APP} == before
    assert fleet.play(CONFIGURE).changed == {}


async def test_a_host_that_leaves_for_good_and_comes_back_costs_no_request(fleet: Fleet) -> None:
    async with watch(fleet, 16, slow=1) as load:
        await load.until(lambda report: set(report.hosts) == APP)
        await fleet.playing(SCALE_IN, "-e", "target=app-3")
        left = load.report().hosts["app-3"]
        again = await fleet.playing(SCALE_IN, "-e", "target=app-3")
        assert again.changed == {}, str(again)
        assert "app-3" not in fleet.on("lb-1", "cat /etc/nginx/nginx.conf")
        assert fleet.on("app-3", "systemctl is-enabled doris-mcp.socket || true").strip() == "disabled"
        assert load.report().hosts["app-3"] == left
        await fleet.playing("site.yml", "--tags", "doris_mcp,nginx")
        await load.until(lambda report: report.hosts["app-3"] > left)
    report = load.report()
    fleet.figures.append(f"scale in and out: {report}")
    assert report.clean, report
