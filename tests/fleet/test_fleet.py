"""The product, as its user meets it: boot, deploy, call, restart, call again.

The tests run in this order on one fleet; each leaves it whole.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from doris_mcp_server.tools import by_name

from ..clients import clients
from .fleet import APP, DRAIN, ONCE, ROLLING_RESTART, STATUS, UNDRAIN, Fleet, Play
from .load import execute
from .watch import watch

TOOLS = set(by_name)


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
    async with watch(fleet, "all hosts"):
        pass


async def test_every_client_lists_the_tools_and_gets_the_same_answer(fleet: Fleet, installed_clients: None) -> None:
    answers = {name: await clients.ask(name, fleet.mcp, fleet.token) for name in clients.CLIENTS}
    for name, seen in answers.items():
        assert set(seen.tools) == TOOLS, name
        assert [column["name"] for column in seen.columns] == ["d_year", "orders", "revenue"], name
        assert [row[0] for row in seen.rows] == list(range(1992, 1999)), name
        assert seen.rows == answers["Python SDK"].rows, name


async def query(fleet: Fleet, sql: str, token: str | None) -> tuple[int, dict[str, Any]]:
    _, body, headers = execute("one", sql, modern=True)
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
    _, body, headers = execute("one", "SELECT 1", modern=True)
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


async def test_a_rolling_restart_loses_no_request(fleet: Fleet) -> None:
    before = {host: fleet.invocation(host) for host in APP}
    async with watch(fleet, "rolling restart") as load:
        await load.until(lambda report: report.long_ok >= 3 and report.streams_ok >= 3)
        await fleet.playing(ROLLING_RESTART)
        await load.answers(50)
    after = {host: fleet.invocation(host) for host in APP}
    assert not {host for host in APP if after[host] == before[host]}, "not restarted"


async def test_systemctl_restart_loses_no_request_and_the_host_is_ready_by_itself(fleet: Fleet) -> None:
    before = fleet.invocation("app-1")
    async with watch(fleet, "systemctl restart") as load:
        await load.until(lambda report: report.long_ok >= 3 and report.streams_ok >= 3)
        await asyncio.to_thread(fleet.on, "app-1", "sudo systemctl restart doris-mcp")
        await fleet.ready_again("app-1", before)
        seen = load.report.hosts["app-1"]
        await load.until(lambda report: report.hosts["app-1"] > seen)


@pytest.mark.parametrize(
    ("host", "accident"),
    [
        ("app-2", "kill -9 of the main process"),
        ("app-3", "reboot of the host"),
    ],
)
async def test_a_host_comes_back_ready_by_itself_after(host: str, accident: str, fleet: Fleet) -> None:
    before = fleet.invocation(host)
    async with watch(fleet, accident, accident=True) as load:
        if accident.startswith("kill"):
            await asyncio.to_thread(
                fleet.on, host, "sudo systemctl kill --signal=KILL --kill-whom=main doris-mcp.service"
            )
        else:
            await asyncio.to_thread(fleet.lab, "reboot", host)
        await fleet.ready_again(host, before)
        seen = load.report.hosts[host]
        await load.until(lambda report: report.hosts[host] > seen)


# -- drain, status, undrain ----------------------------------------------------------------------------------


async def test_a_drained_host_gets_no_request_until_it_is_put_back(fleet: Fleet) -> None:
    async with watch(fleet, "drain and undrain") as load:
        await fleet.playing(DRAIN, "-e", "target=app-2")
        left = load.report.hosts["app-2"]
        await load.answers(200)
        assert load.report.hosts["app-2"] == left, "a drained host was asked"
        status, body = await fleet.readyz("app-2")
        assert (status, body["status"]) == (503, "draining")
        table = await fleet.playing(STATUS)
        assert table.row("app-2")["state"] == "draining"
        assert table.row("app-1")["state"] == "running"
        again = await fleet.playing(DRAIN, "-e", "target=app-2")
        assert again.changed == {}, str(again)
        await fleet.playing(UNDRAIN, "-e", "target=app-2")
        await load.until(lambda report: report.hosts["app-2"] > left)
    assert fleet.play(STATUS).row("app-2")["state"] == "running"


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
    fleet.play("site.yml", *arguments, fails=True).refused(words)


@pytest.mark.parametrize("group", ["app", "balancers"])
def test_an_empty_group_is_named_with_its_fix_before_anything_is_changed(
    group: str, fleet: Fleet, tmp_path: Path
) -> None:
    play = fleet.play("site.yml", inventory=fleet.inventory(tmp_path, **{group: []}), fails=True)
    play.refused([f"The group {group} is empty", "Fix: name at least one host"])


def test_an_unreachable_host_is_named_with_its_fix_before_anything_is_changed(fleet: Fleet, tmp_path: Path) -> None:
    more = tmp_path / "more.yml"
    gone = {"ansible_host": f"{fleet.prefix}.99"}
    more.write_text(yaml.safe_dump({"all": {"children": {"app": {"hosts": {"app-9": gone}}}}}))
    play = fleet.play("site.yml", "-i", str(more), fails=True, ANSIBLE_SSH_RETRIES=ONCE)
    play.refused([f"app-9: cannot be reached at {fleet.prefix}.99", "Fix: start it"])
    assert play.failed >= {"app-9"}
