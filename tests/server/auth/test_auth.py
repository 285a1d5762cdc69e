"""Bearer tokens: static and issued ones, the warm way, revocation, audiences, and a store that goes away."""

import asyncio
from dataclasses import dataclass

import pytest

from doris_mcp_server import auth
from doris_mcp_server.auth import (
    ALL_SCOPES,
    GRACE,
    PATIENCE,
    POSITIVE_CACHE,
    SMOKE,
    USE_KEPT,
    Principal,
    Verifier,
    bearer,
    credentials,
)
from doris_mcp_server.auth.opaque import Token, Tokens
from doris_mcp_server.clusters import Account, Bound
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import StoreUnavailable
from doris_mcp_server.state import Grown
from doris_mcp_server.state.bus import Bus

from ...clock import Clock
from ...flaky import FlakyStore
from ..conftest import LIMIT

KEY = "cd" * 32


@dataclass
class Issued:
    """A token in a store, and who issued it."""

    store: FlakyStore
    bus: Bus
    tokens: Tokens
    token: str
    record: Token

    def verifier(self, clock: Clock | None = None, **settings: str) -> Verifier:
        return verifier(self.store, clock, self.bus, **settings)


def verifier(store: FlakyStore, clock: Clock | None = None, bus: Bus | None = None, **settings: str) -> Verifier:
    made = Settings(token_key=KEY, node_name="app-1", **settings)  # type: ignore[arg-type]
    return Verifier(made, store, bus or Bus(), clock or Clock())


def header(token: str) -> bytes:
    return f"Bearer {token}".encode()


@pytest.fixture
async def issued() -> Issued:
    store, bus = FlakyStore(), Bus()
    tokens = Tokens(store, bus, KEY)
    token, record = await tokens.issue("ann", ("catalog:read",), ttl=3600)
    store.asked = store.wrote = 0
    return Issued(store, bus, tokens, token, record)


async def test_an_issued_token_is_its_owner_with_its_scopes(issued: Issued) -> None:
    store, token = issued.store, issued.token
    principal = await issued.verifier().verify(token)
    assert principal is not None
    assert (principal.name, principal.scopes) == ("ann", frozenset({"catalog:read"}))
    assert await issued.verifier().verify(token + "x") is None
    asked = store.asked
    assert await issued.verifier().verify("x" * 10_000) is None
    assert store.asked == asked


async def test_a_warm_token_costs_no_store_and_a_revoked_one_dies_with_the_cache(
    issued: Issued,
) -> None:
    store, token = issued.store, issued.token
    clock = Clock()
    checks = issued.verifier(clock)
    assert checks.warm(header(token)) is None
    first = await checks.verify(token)
    assert first is not None
    assert checks.warm(header(token)) is first
    assert checks.warm(b"bearer " + token.encode()) is first
    assert await checks.verify(token) is first
    assert store.asked == 1
    assert await store.take(f"token:v1/{issued.record.id}")  # nobody was told
    assert checks.warm(header(token)) is first
    clock.now += POSITIVE_CACHE
    assert checks.warm(header(token)) is None
    assert await checks.verify(token) is None
    assert checks.warm(header(token)) is None


async def test_an_expired_token_is_refused_even_when_it_was_just_believed(
    issued: Issued,
) -> None:
    store = issued.store
    clock = Clock()
    token, _ = await issued.tokens.issue("bob", ALL_SCOPES, ttl=POSITIVE_CACHE / 2)
    checks = issued.verifier(clock)
    assert await checks.verify(token)
    clock.now += POSITIVE_CACHE / 2
    assert checks.warm(header(token)) is None
    store.away = True
    with pytest.raises(StoreUnavailable):
        await checks.verify(token)


async def test_with_the_store_away_only_the_recently_verified_pass_and_only_for_the_grace(
    issued: Issued,
) -> None:
    store, token = issued.store, issued.token
    clock = Clock()
    checks = issued.verifier(clock)
    first = await checks.verify(token)
    store.away = True
    clock.now += POSITIVE_CACHE
    assert await checks.verify(token) is first
    asked = store.asked
    assert checks.warm(header(token)) is first, "each request would wait for a store that does not answer"
    assert await checks.verify(token) is first
    assert store.asked == asked
    with pytest.raises(StoreUnavailable):
        await checks.verify("dmcp_0123456789ab_" + "x" * 43)
    assert await checks.verify("no-token-of-ours") is None
    clock.now += GRACE - POSITIVE_CACHE - 0.5
    assert await checks.verify(token) is first
    clock.now += 0.5
    assert checks.warm(header(token)) is None, "what is believed with the store away must end with the grace"
    with pytest.raises(StoreUnavailable):
        await checks.verify(token)
    store.away = False
    assert await checks.verify(token)


async def test_a_revoked_token_is_refused_at_once_here_and_where_it_is_heard_of(issued: Issued) -> None:
    """Warm, cold, in the grace, and with the answer of the store under way."""
    here, there, clock = issued.verifier(), Bus(), Clock()
    issued.bus.carriers.append(there.deliver)
    other = verifier(issued.store, clock, there)
    for checks in (here, other):
        assert await checks.verify(issued.token)
    assert await issued.tokens.revoke([issued.record.id, "unknown"]) == [issued.record.id]
    for checks in (here, other):
        assert checks.warm(header(issued.token)) is None
        assert await checks.verify(issued.token) is None
    await issued.tokens.keep(issued.record)  # a failover that lost its end
    assert await other.verify(issued.token) is None
    issued.store.away = True
    with pytest.raises(StoreUnavailable):
        await other.verify(issued.token)


async def test_a_revocation_that_comes_while_the_store_is_asked_counts(issued: Issued) -> None:
    issued.store.gate = asyncio.Event()
    checks = issued.verifier()
    asking = asyncio.create_task(checks.verify(issued.token))
    async with asyncio.timeout(LIMIT):
        while not issued.store.asked:
            await asyncio.sleep(0)
    issued.bus.publish("token.denied", {"until": {issued.record.id: 4e9}})
    issued.store.gate.set()
    assert await asking is None
    assert checks.warm(header(issued.token)) is None


async def test_who_is_known_waits_only_a_moment_for_a_store_that_hangs(issued: Issued) -> None:
    clock = Clock()
    checks = issued.verifier(clock)
    first = await checks.verify(issued.token)
    issued.store.gate = asyncio.Event()
    clock.now += POSITIVE_CACHE
    async with asyncio.timeout(PATIENCE + LIMIT):
        assert await checks.verify(issued.token) is first
    clock.now += GRACE
    waiting = asyncio.create_task(checks.verify(issued.token))
    await asyncio.sleep(0)
    issued.store.gate.set()
    assert await waiting == first


async def test_who_hears_nothing_of_revocations_lets_nobody_in_for_longer_than_the_grace(
    issued: Issued, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A primary that is cut off answers every question, from the past, and confirms nothing."""
    clock = Clock()
    checks = issued.verifier(clock)
    assert await checks.verify(issued.token)

    async def cut_off(name: str, mark: str | None) -> Grown | None:
        raise StoreUnavailable("Redis does not answer: NOREPLICAS")

    monkeypatch.setattr(issued.store, "grown", cut_off)
    clock.now += GRACE - 0.5
    assert await checks.verify(issued.token)
    clock.now += 0.5
    assert checks.warm(header(issued.token)) is None
    with pytest.raises(StoreUnavailable):
        await checks.verify(issued.token)
    monkeypatch.undo()
    assert await checks.verify(issued.token)


async def test_a_bound_token_brings_its_doris_account_which_no_store_shows(issued: Issued) -> None:
    bound = Bound(cluster="default", account=Account(user="ann_rw", password="doris-password"))
    token, record = await issued.tokens.issue("ann", ALL_SCOPES, None, bound=bound)
    principal = await issued.verifier().verify(token)
    assert principal is not None
    assert principal.bound == principal.caller.bound == bound
    assert "ann_rw" not in str(await issued.store.find("token:v1"))
    await issued.store.put(f"token:v1/{issued.record.id}", str(await issued.store.get(f"token:v1/{record.id}")))
    moved = Verifier(Settings(token_key="ef" * 32), issued.store, Bus())
    with pytest.raises(StoreUnavailable, match="DORIS_MCP_TOKEN_KEY"):
        moved.tokens.bound(record)


async def test_the_store_is_told_now_and_then_that_a_token_is_used(issued: Issued) -> None:
    clock = Clock()
    checks = issued.verifier(clock)
    for _ in range(3):
        assert await checks.verify(issued.token)
        await asyncio.gather(*checks._notes)
        clock.now += USE_KEPT / 2
    assert issued.store.wrote == 2
    (use,) = (await issued.tokens.uses()).values()
    assert use.node == "app-1"
    issued.store.away = True
    clock.now += USE_KEPT
    assert not checks._notes


async def test_static_tokens_need_no_store_and_are_always_warm() -> None:
    store = FlakyStore()
    store.away = True
    clock = Clock()
    checks = verifier(store, clock, token="static-token-0123456789", smoke_token="smoke-token-0123456789")
    static = await checks.verify("static-token-0123456789")
    smoke = checks.static("smoke-token-0123456789")
    assert static is not None and smoke is not None
    assert static.scopes == frozenset(ALL_SCOPES)
    assert smoke.name == SMOKE
    assert checks.static("static-token-012345678") is None
    clock.now += 10**9
    assert checks.warm(header("static-token-0123456789")) is static
    assert checks.warm(header("smoke-token-0123456789")) is smoke
    assert store.asked == 0


@pytest.mark.parametrize(
    "value",
    [b"", b"Bearer", b"Bearer ", b"Basic static-token-0123456789", b"static-token-0123456789",
     b"Bearer static-token-012345678", b"Bearer static-token-0123456789 ", b"Bearer  static-token-0123456789"],
)  # fmt: skip
async def test_only_the_exact_header_is_warm(value: bytes) -> None:
    assert verifier(FlakyStore(), token="static-token-0123456789").warm(value) is None


async def test_many_requests_at_once_ask_the_store_once_and_one_that_goes_away_takes_none_with_it(
    issued: Issued,
) -> None:
    store, token = issued.store, issued.token
    store.gate = asyncio.Event()
    checks = issued.verifier()
    requests = [asyncio.create_task(checks.verify(token)) for _ in range(50)]
    while not store.asked:
        await asyncio.sleep(0)
    requests[0].cancel()
    store.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await requests[0]
    assert {p.name for p in await asyncio.gather(*requests[1:]) if p} == {"ann"}
    assert store.asked == 1
    assert not checks._asking


async def test_a_worker_remembers_a_bounded_number_of_tokens(issued: Issued, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "MAX_KNOWN", 10)
    checks = issued.verifier(token="static-token-0123456789")
    for _ in range(50):
        token, _ = await issued.tokens.issue("ann", ALL_SCOPES, ttl=None)
        assert await checks.verify(token)
        assert checks.warm(header(token))
    assert len(checks._known) <= 10
    assert checks.warm(header("static-token-0123456789"))


OURS = "https://mcp.example.com/mcp"


@pytest.mark.parametrize(
    ("audience", "public_url", "good"),
    [
        (None, OURS, True),
        (None, "", True),
        (OURS, OURS, True),
        ("HTTPS://MCP.example.com:443/mcp/", OURS, True),
        ("http://mcp.example.com/mcp", OURS, False),
        ("https://mcp.example.com/other", OURS, False),
        ("https://mcp.example.com", OURS, False),
        ("https://mcp.example.com.evil.test/mcp", OURS, False),
        ("https://ann@mcp.example.com/mcp", OURS, False),
        ("https://mcp.example.com:8443/mcp", OURS, False),
        ("https://mcp.example.com/mcp?x", OURS, False),
        ("", OURS, False),
        ("nonsense", OURS, False),
        (OURS, "", False),  # without a public address nobody can say that we are meant
    ],
)
async def test_a_token_bound_to_another_resource_is_not_valid_here(
    audience: str | None, public_url: str, good: bool
) -> None:
    store = FlakyStore()
    token, _ = await Tokens(store, Bus(), KEY).issue("ann", ALL_SCOPES, None, audience=audience)
    checks = verifier(store, public_url=public_url)
    principal = await checks.verify(token)
    assert principal == (Principal("ann", frozenset(ALL_SCOPES)) if good else None)
    assert (checks.warm(header(token)) is not None) is good


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([b"Bearer abc"], "abc"),
        ([b"bearer  abc"], "abc"),
        ([b"Bearer "], None),
        ([b"Bearer"], None),
        ([b""], None),
        ([b"Basic abc"], None),
        ([b"Bearer abc", b"Bearer abc"], None),
        ([b"Bearer abc", b""], None),
        ([b"Bearer \xff"], None),
        ([], None),
    ],
)
def test_bearer_reads_one_token_or_none(values: list[bytes], expected: str | None) -> None:
    headers = [(b"host", b"localhost"), *((b"authorization", value) for value in values)]
    assert bearer(headers) == expected
    assert credentials(headers) == (values[0] if len(values) == 1 else None)
