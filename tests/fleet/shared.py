"""`make prove-shared`: what all hosts share holds, whatever becomes of the store.

On a lab of its own, under load: tokens issued on one host are good on all, and every worker refuses revoked ones; the
primary of the store is killed, stopped, cut off and moved by plan, again and again, while tokens are revoked; then all
of the store goes away, comes back, and is emptied. `tests/fleet/test_shared.py` does the same once, in small.
"""

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from doris_mcp_server.auth import GRACE
from doris_mcp_server.auth.opaque import REVOKED
from doris_mcp_server.errors import StoreUnavailable
from doris_mcp_server.shared import Shared

from .eyes import Eyes
from .fleet import ROOT, Fleet
from .load.verdict import table
from .store import CLI, FAULTS, SCOPES, Redis, Revoker, store
from .watch import watch

USUAL = 0.2  # seconds after its acknowledgement within which 99 of 100 revocations are known to every worker
LATEST = 3.0  # seconds within which all are
OUTAGE = 3.0  # seconds after which the store takes writes again
RETURN = 2.0  # seconds after the store's return within which everybody is served
SLACK = 3.0  # seconds by which a grace may look shorter (it counts from the last look that knew all) or longer
LIMIT = 60.0  # seconds for what has no bound of its own


@dataclass(frozen=True)
class Outage:
    """What one accident to the store cost."""

    name: str
    acknowledged: int  # revocations
    lost: int  # of these, tokens that some worker accepts
    gap: float  # seconds without an acknowledgement
    failed: int  # requests of callers that were verified before
    requests: int
    why: tuple[str, ...]  # they failed


async def revocations(fleet: Fleet, count: int) -> list[float]:
    """Seconds from the acknowledgement of each revocation until no worker let its token in any more."""
    times: list[float] = []
    async with store(fleet) as (_, tokens), Eyes(fleet) as eyes:
        for _ in range(count):
            token, record = await tokens.issue("revoked", SCOPES, 3600)
            await eyes.until(token, [200], LIMIT)
            assert await tokens.revoke([record.id])
            times.append(await eyes.until(token, [401], LIMIT))
    return times


async def accident(fleet: Fleet, name: str) -> Outage:
    """Let `name` of FAULTS happen while tokens are revoked and clients ask."""
    redis = Redis(fleet)
    await redis.whole()
    async with store(fleet) as (_, tokens), Eyes(fleet) as eyes, watch(fleet, f"store {name}", accident=True) as load:
        revoker = Revoker(tokens)
        async with revoker.at_work():
            await revoker.more(20, LIMIT)
            heal = await asyncio.to_thread(FAULTS[name], redis)
            try:
                await revoker.more(50, LIMIT)
            finally:
                await asyncio.to_thread(heal)
            await redis.whole()
            await revoker.more(20, LIMIT)
        lost = 0
        for token in revoker.acknowledged:
            try:
                await eyes.until(token, [401], LATEST)
            except TimeoutError:
                lost += 1
            lost += await tokens.find(token) is not None
    report = load.report
    return Outage(
        name,
        len(revoker.acknowledged),
        lost,
        revoker.longest_gap,
        report.failed,
        sum(report.hosts.values()),
        tuple(report.reasons),
    )


@dataclass(frozen=True)
class Absence:
    """What was seen while all of the store was away. Seconds."""

    served: float  # verified callers, from its end on
    refused: set[int]  # statuses afterwards
    back: float  # from its return until every worker served them again
    revived: int  # answers that let a revoked token in, at any time


async def absence(fleet: Fleet) -> Absence:
    """Stop every Redis and Sentinel; start them again when nobody is served any more; then empty the store."""
    redis = Redis(fleet)
    await redis.whole()
    hosts = fleet.names("redis")
    async with store(fleet) as (shared, tokens), Eyes(fleet) as eyes:
        token, _ = await tokens.issue("verified", SCOPES, 3600)
        bad, revoked = await tokens.issue("revoked", SCOPES, 3600)
        for each in (token, bad):
            await eyes.until(each, [200], LIMIT)
        await tokens.revoke([revoked.id])
        await eyes.until(bad, [401], LATEST)
        revived = 0

        async def together(command: str) -> None:
            await asyncio.gather(*(asyncio.to_thread(fleet.on, host, command) for host in hosts))

        await together("sudo systemctl stop redis-sentinel redis-server")
        began = time.monotonic()
        seen: set[int] = set()
        served = 0.0
        try:
            while seen != {503}:
                seen = set(await eyes.see(token))
                if 200 in seen:
                    served = time.monotonic() - began
                assert 401 not in seen, "a verified caller was told that his token is not valid"
                revived += 200 in await eyes.see(bad)
                assert time.monotonic() - began < LIMIT, seen
            assert await _retry_after(fleet, token)
        finally:
            await together("sudo systemctl start redis-server redis-sentinel")
        await _answers(shared)
        back = await eyes.until(token, [200], LIMIT)
        revived += 200 in await eyes.see(bad)
        await redis.whole()
        await tokens.keep(revoked)  # a backup from before
        await asyncio.to_thread(fleet.on, await asyncio.to_thread(redis.primary), f"{CLI} redis flushall")
        await tokens.keep(revoked)
        await eyes.until(token, [401], LIMIT)
        for _ in range(20):
            revived += 200 in await eyes.see(bad)
        await _put_back(shared, revoked.id)
    return Absence(served, seen, back, revived)


async def _retry_after(fleet: Fleet, token: str) -> str | None:
    """What a host tells a caller whom it cannot verify."""
    url = f"http://{fleet.address(fleet.names('app')[0])}:3000/mcp"
    headers = {"host": fleet.address("lb-1"), "authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as http, http.post(url, json={}, headers=headers) as response:
        assert response.status == 503
        return response.headers.get("retry-after")


async def _answers(shared: Shared) -> None:
    """Return when the store takes writes again."""
    async with asyncio.timeout(LIMIT):
        while True:
            try:
                await shared.store.put("proof/returned", "", 60, durable=True)
                return
            except StoreUnavailable:
                continue


async def _put_back(shared: Shared, id: str) -> None:
    """Return when the workers have put the revocation back."""
    async with asyncio.timeout(LIMIT):
        while (grown := await shared.store.grown(REVOKED, None)) is None or id not in grown.until:
            await asyncio.sleep(0.05)


def quantile(times: Sequence[float], part: float) -> float:
    return sorted(times)[min(int(len(times) * part), len(times) - 1)]


def checked(times: Sequence[float], outages: Sequence[Outage], away: Absence) -> list[tuple[str, str, bool]]:
    """What was promised, what was seen, and whether that keeps it."""
    p99, longest = quantile(times, 0.99), max(times)
    lost, failed = sum(o.lost for o in outages), sum(o.failed for o in outages)
    gap = max(o.gap for o in outages)
    return [
        (f"99 of 100 revocations known to every worker within {USUAL} s", f"{p99:.3f} s", p99 <= USUAL),
        (f"all of {len(times)} within {LATEST:g} s", f"{longest:.3f} s", longest <= LATEST),
        (f"0 of {sum(o.acknowledged for o in outages)} acknowledged revocations lost", f"{lost}", lost == 0),
        (f"0 of {sum(o.requests for o in outages)} requests failed", f"{failed}", failed == 0),
        (f"the store takes writes again within {OUTAGE:g} s", f"{gap:.2f} s", gap <= OUTAGE),
        (
            f"without a store, verified callers are served for {GRACE:g} s, within {SLACK:g} s",
            f"{away.served:.1f} s",
            GRACE - SLACK <= away.served <= GRACE + SLACK,
        ),
        ("then told to come again, with 503", f"{sorted(away.refused)}", away.refused == {503}),
        (f"served within {RETURN:g} s of its return", f"{away.back:.2f} s", away.back <= RETURN),
        ("no revoked token let in, without a store or with an emptied one", f"{away.revived}", away.revived == 0),
    ]


def report(times: Sequence[float], outages: Sequence[Outage], away: Absence) -> tuple[str, bool]:
    """The tables, and whether all was kept."""
    rows = [["accident", "revoked", "lost", "writes back s", "requests", "failed"]]
    for o in outages:
        rows.append([o.name, f"{o.acknowledged:,}", str(o.lost), f"{o.gap:.2f}", f"{o.requests:,}", str(o.failed)])
    promises = checked(times, outages, away)
    kept = [["promised", "seen", "kept"], *([words, seen, "yes" if good else "NO"] for words, seen, good in promises)]
    median = statistics.median(times)
    return f"{table(rows)}\n\n{table(kept)}\n\nmedian of the revocations {median * 1000:.1f} ms", all(
        good for _, _, good in promises
    )


async def prove(fleet: Fleet, count: int, times: int) -> bool:
    seen = await revocations(fleet, count)
    print(f"▸ {count} revoked: {statistics.median(seen):.3f} s in the median, {max(seen):.3f} s at most", flush=True)
    outages = []
    for number in range(times):
        for name in FAULTS:
            outages.append(await accident(fleet, name))
            print(f"▸ {number + 1}: {outages[-1]}", flush=True)
    away = await absence(fleet)
    print(f"▸ {away}", flush=True)
    words, kept = report(seen, outages, away)
    print(f"\n{words}")
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(prog="make prove-shared", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--revocations", type=int, default=1000, help="tokens revoked one by one (1000)")
    parser.add_argument("--times", type=int, default=5, help="how often each accident happens (5)")
    parser.add_argument("--keep", action="store_true", help="leave the lab as it is")
    args = parser.parse_args()
    name = os.environ.get("LAB_NAME") or "doris-mcp-shared"
    directory = Path(os.environ.get("LAB_DIR") or ROOT / ".lab" / name.removeprefix("doris-mcp-")).resolve()
    fleet = Fleet(name, os.environ.get("LAB_PREFIX") or "10.93.79", directory)
    there = (directory / "lab.json").exists() and args.keep
    if not there:
        fleet.lab("down")
    try:
        fleet.lab("up")
        fleet.play("site.yml")
        fleet.token = fleet.issue_token()
        kept = asyncio.run(prove(fleet, args.revocations, args.times))
    finally:
        if not args.keep:
            fleet.lab("down")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
