"""`make demo`: from nothing to a fleet that answers queries, in five steps; run again, it changes nothing.

Leaves `demo.json` in the lab's directory for scripts and tests: endpoint, token, ca_file, hosts, ssh_config.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from files import write_file
from hosts import HOSTS, ROOT, Lab
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from podman import LabError

from lab import up

SERVER = "/opt/doris-mcp-server/.venv/bin/doris-mcp-server"
# As the unit starts it: settings from the environment file, secrets from the credentials' directory.
TOKEN = f"sudo {SERVER} token"
ENV_FILE = "--env-file /etc/doris-mcp/doris-mcp.env"
QUERY = """\
SELECT c_region AS region, count(*) AS order_lines, sum(lo_revenue) AS revenue
FROM lineorder JOIN customer ON lo_custkey = c_custkey
GROUP BY c_region ORDER BY revenue DESC"""
LEAST_CALLS, MOST_CALLS = 12, 60


@dataclass
class Steps:
    """Prints each step with its time, and remembers where it was when something failed."""

    current: str = ""
    begun: float = field(default_factory=time.monotonic)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        self.current = title
        begun = time.monotonic()
        print(f"\n▸ {title}", flush=True)
        yield
        print(f"  done in {time.monotonic() - begun:.1f} s", flush=True)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.begun


def say(text: str) -> None:
    print(f"  {text}", flush=True)


def recap(output: str) -> dict[str, dict[str, int]]:
    """Ansible's PLAY RECAP: {host: {"ok": …, "changed": …, "failed": …, …}}; of several, the last."""
    hosts = {}
    for line in output.rpartition("PLAY RECAP")[2].splitlines():
        if found := re.match(r"^(\S+)\s+:((?:\s+\w+=\d+)+)\s*$", line):
            hosts[found[1]] = {k: int(v) for k, v in (pair.split("=") for pair in found[2].split())}
    return hosts


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows as aligned text: numbers to the right."""
    cells = [[str(c) for c in columns], *([str(v) for v in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    right = [bool(rows) and re.fullmatch(r"-?[\d.]+", str(rows[0][i])) is not None for i in range(len(columns))]
    lines = [
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "  ".join("─" * w for w in widths), *lines[1:]])


def deploy(lab: Lab, verbose: bool) -> dict[str, dict[str, int]]:
    """Run site.yml; returns its recap. The whole output goes to site.log in the lab's directory."""
    log = lab.dir / "site.log"
    argv = [sys.executable, "-m", "ansible.cli.playbook", "site.yml", "-i", "inventories/lab"]
    env = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1", "PYTHONUNBUFFERED": "1"}
    env |= {"LAB_NAME": lab.name, "LAB_PREFIX": lab.prefix, "LAB_DIR": str(lab.dir)}
    begun = time.monotonic()
    lines = []
    with (
        log.open("w") as out,
        subprocess.Popen(
            argv,
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as play,
    ):
        assert play.stdout
        for line in play.stdout:
            out.write(line)
            lines.append(line)
            if verbose:
                print(line, end="", flush=True)
            elif found := re.match(r"PLAY \[(.*?)\] \*", line):
                say(f"{time.monotonic() - begun:5.0f} s  {found[1]}")
    output = "".join(lines)
    if play.returncode:
        failures = [n for n, line in enumerate(lines) if line.startswith(("fatal:", "ERROR", "[ERROR]", "failed:"))]
        shown = "".join(lines[failures[0] : failures[0] + 25] if failures else lines[-25:])
        raise LabError(f"site.yml failed; the whole output is in {log}\n\n{shown}")
    return recap(output)


def accepted(endpoint: str, token: str) -> bool:
    """Whether the fleet takes this token. An empty message is enough: the bearer is looked at before the body."""
    answer = httpx2.post(endpoint, json={}, headers={"authorization": f"Bearer {token}"}, timeout=20)
    return answer.status_code not in (401, 403)


def issue_token(lab: Lab) -> str:
    """A new token, made on one app host; every host accepts it."""
    host = next(h for h in HOSTS if h.group == "app")
    argv = lab.ssh(host, f"{TOKEN} issue {ENV_FILE} --name demo --json")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise LabError(f"{shlex.join(argv)}\n{(done.stdout + done.stderr).strip()}")
    return str(json.loads(done.stdout)["token"])


async def query(endpoint: str, token: str, expected: set[str]) -> tuple[dict[str, Any], Counter[str], list[float]]:
    """Ask until every expected host has answered: (the result, calls by host, milliseconds of each call)."""
    served: Counter[str] = Counter()
    times: list[float] = []
    seen: list[str] = []

    async def note(response: httpx2.Response) -> None:
        seen.append(response.headers.get("x-served-by", "?"))

    headers = {"authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30, event_hooks={"response": [note]}) as http,
        Client(streamable_http_client(endpoint, http_client=http)) as client,
    ):
        await client.list_tools()
        for _ in range(MOST_CALLS):
            begun = time.monotonic()
            answer = await client.call_tool("execute_query", {"sql": QUERY, "database": "ssb"})
            times.append((time.monotonic() - begun) * 1000)
            if answer.is_error or not answer.structured_content:
                raise LabError(f"execute_query: {' '.join(getattr(part, 'text', '') for part in answer.content)}")
            served[seen[-1]] += 1
            if expected <= set(served) and len(times) >= LEAST_CALLS:
                return answer.structured_content, served, times
    missing = ", ".join(sorted(expected - set(served)))
    raise LabError(f"{MOST_CALLS} calls and none was served by {missing}; look at: {playbook('status')}")


def environment() -> str:
    """What a command needs in front of it to mean this lab; nothing for the default one."""
    names = ("LAB_NAME", "LAB_PREFIX", "LAB_DIR")
    return "".join(f"{name}={shlex.quote(os.environ[name])} " for name in names if os.environ.get(name))


def playbook(verb: str) -> str:
    return f"{environment()}.venv/bin/ansible-playbook ansible/playbooks/{verb}.yml -i inventories/lab"


def next_steps(lab: Lab, endpoint: str) -> str:
    params = '{"name":"execute_query","arguments":{"sql":"SELECT 1"}}'
    call = f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}'
    demo = os.path.relpath(lab.dir / "demo.json")
    token = f'$(python3 -c \'import json; print(json.load(open("{demo}"))["token"])\')'
    return f"""\
  status of the fleet   {playbook("status")}
  restart it, no loss   {playbook("rolling_restart")}
  log in to a host      ssh -F {os.path.relpath(lab.ssh_config)} app-1
  one call by hand      curl -s {endpoint} -H "Authorization: Bearer {token}" \\
                          -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \\
                          -d '{call}'
  remove all of it      {environment()}make demo-down"""


def run(steps: Steps, verbose: bool) -> None:
    with steps.step("1/5 Hosts: containers with systemd and sshd"):
        lab = Lab.from_env()
        up(lab, say=say)
    with steps.step("2/5 Deploy: ansible-playbook site.yml -i inventories/lab"):
        hosts = deploy(lab, verbose)
        changed = {name: counts["changed"] for name, counts in hosts.items()}
        say(f"changed: {', '.join(f'{n}={c}' for n, c in changed.items())}")
    endpoint = f"http://{lab.address(next(h for h in HOSTS if h.group == 'balancers'))}/mcp"
    state = lab.dir / "demo.json"
    with steps.step("3/5 Token"):
        token = json.loads(state.read_text())["token"] if state.exists() else None
        if token and accepted(endpoint, token):
            say(f"the one in {os.path.relpath(state)} is still accepted")
        else:
            token = issue_token(lab)
            say("issued on app-1, kept in the shared store")
    with steps.step("4/5 Query: execute_query through the balancer, until every host has served"):
        app_hosts = {h.name for h in HOSTS if h.group == "app"}
        result, served, times = asyncio.run(query(endpoint, token, app_hosts))
    with steps.step(f"5/5 Remember: {os.path.relpath(state)}"):
        facts = [{"name": h.name, "address": lab.address(h), "groups": [h.group]} for h in HOSTS]
        record = {
            "endpoint": endpoint,
            "token": token,
            "ca_file": None,
            "hosts": facts,
            "ssh_config": str(lab.ssh_config),
        }
        write_file(state, json.dumps(record, indent=2) + "\n", 0o600)
    times.sort()
    print(f"\n{QUERY}\n\n{table([c['name'] for c in result['columns']], result['rows'])}\n")
    print(f"served by  {', '.join(f'{name} ({served[name]})' for name in sorted(served))}")
    print(f"call time  median {times[len(times) // 2]:.0f} ms, slowest {times[-1]:.0f} ms of {len(times)}")
    print(f"endpoint   {endpoint}\ntoken      {token}")
    print(f"\nWhat to try next\n{next_steps(lab, endpoint)}")
    print(f"\nchanged={sum(changed.values())} on {len(changed)} hosts, {steps.elapsed:.1f} s in all")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--verbose", action="store_true", help="show all of Ansible's output")
    args = parser.parse_args()
    steps = Steps()
    try:
        run(steps, args.verbose)
    except (LabError, httpx2.HTTPError, OSError, subprocess.TimeoutExpired, BaseExceptionGroup) as error:
        print(f"\ndemo: step {steps.current!r} failed after {steps.elapsed:.0f} s\n{reason(error)}", file=sys.stderr)
        print(f"\nlook at: tests/lab/lab.py status; {playbook('status')}", file=sys.stderr)
        return 1
    return 0


def reason(error: BaseException) -> str:
    """The innermost causes of a failure, one a line."""
    if isinstance(error, BaseExceptionGroup):
        return "\n".join(reason(inner) for inner in error.exceptions)
    return str(error) or repr(error)


if __name__ == "__main__":
    sys.exit(main())
