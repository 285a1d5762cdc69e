"""Bearer tokens: static and issued ones, the warm way, revocation, audiences, and a store that goes away."""

import asyncio
from dataclasses import asdict, dataclass

import pytest

from doris_mcp_server import auth
from doris_mcp_server.auth import (
    ALL_SCOPES,
    POSITIVE_CACHE,
    SMOKE,
    STORE_AWAY_GRACE,
    Principal,
    Verifier,
    bearer,
    credentials,
    issue,
    keyed_hash,
)
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import InvalidArgument, StoreUnavailable
from doris_mcp_server.state import TokenRecord
from doris_mcp_server.state.memory import MemoryStore

from ...clock import Clock

KEY = "cd" * 32


class FlakyStore(MemoryStore):
    away = False
    asked = 0
    gate: asyncio.Event | None = None  # holds every answer back until it is set

    async def get_token(self, digest: str) -> TokenRecord | None:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.away:
            raise StoreUnavailable("away")
        return await super().get_token(digest)


@dataclass(frozen=True, slots=True)
class Bound(TokenRecord):
    """A token meant for one resource."""

    audience: str | None = None


def verifier(store: MemoryStore, clock: Clock | None = None, **settings: str) -> Verifier:
    made = Settings(token_key=KEY, redis_url="redis://unused", **settings)  # type: ignore[arg-type]
    return Verifier(made, store, clock or Clock())


def header(token: str) -> bytes:
    return f"Bearer {token}".encode()


@pytest.fixture
async def issued() -> tuple[FlakyStore, str, TokenRecord]:
    store = FlakyStore()
    token, record = issue("ann", ("catalog:read",), ttl=3600)
    await store.put_token(keyed_hash(KEY, token), record)
    return store, token, record


async def test_an_issued_token_is_its_owner_with_its_scopes(issued: tuple[FlakyStore, str, TokenRecord]) -> None:
    store, token, _ = issued
    principal = await verifier(store).verify(token)
    assert principal is not None
    assert (principal.name, principal.scopes) == ("ann", frozenset({"catalog:read"}))
    assert await verifier(store).verify(token + "x") is None
    asked = store.asked
    assert await verifier(store).verify("x" * 10_000) is None
    assert store.asked == asked


async def test_a_warm_token_costs_no_store_and_a_revoked_one_dies_with_the_cache(
    issued: tuple[FlakyStore, str, TokenRecord],
) -> None:
    store, token, record = issued
    clock = Clock()
    checks = verifier(store, clock)
    assert checks.warm(header(token)) is None
    first = await checks.verify(token)
    assert first is not None
    assert checks.warm(header(token)) is first
    assert checks.warm(b"bearer " + token.encode()) is first
    assert await checks.verify(token) is first
    assert store.asked == 1
    assert await store.revoke_token(record.id)
    clock.now += POSITIVE_CACHE
    assert checks.warm(header(token)) is None
    assert await checks.verify(token) is None
    assert checks.warm(header(token)) is None


async def test_an_expired_token_is_refused_even_when_it_was_just_believed(
    issued: tuple[FlakyStore, str, TokenRecord],
) -> None:
    store, _, _ = issued
    token, record = issue("bob", ALL_SCOPES, ttl=POSITIVE_CACHE / 2)
    await store.put_token(keyed_hash(KEY, token), record)
    clock = Clock()
    checks = verifier(store, clock)
    assert await checks.verify(token)
    clock.now += POSITIVE_CACHE / 2
    assert checks.warm(header(token)) is None
    store.away = True
    with pytest.raises(StoreUnavailable):
        await checks.verify(token)


async def test_with_the_store_away_only_the_recently_verified_pass_and_only_for_the_grace(
    issued: tuple[FlakyStore, str, TokenRecord],
) -> None:
    store, token, _ = issued
    clock = Clock()
    checks = verifier(store, clock)
    first = await checks.verify(token)
    store.away = True
    clock.now += POSITIVE_CACHE
    assert await checks.verify(token) is first
    asked = store.asked
    assert checks.warm(header(token)) is first, "each request would wait for a store that does not answer"
    assert await checks.verify(token) is first
    assert store.asked == asked
    with pytest.raises(StoreUnavailable):
        await checks.verify("never-seen-before-token")
    clock.now += STORE_AWAY_GRACE - POSITIVE_CACHE - 0.5
    assert await checks.verify(token) is first
    clock.now += 0.5
    assert checks.warm(header(token)) is None, "what is believed with the store away must end with the grace"
    with pytest.raises(StoreUnavailable):
        await checks.verify(token)
    store.away = False
    assert await checks.verify(token)


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
    issued: tuple[FlakyStore, str, TokenRecord],
) -> None:
    store, token, _ = issued
    store.gate = asyncio.Event()
    checks = verifier(store)
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


async def test_a_worker_remembers_a_bounded_number_of_tokens(
    issued: tuple[FlakyStore, str, TokenRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _, _ = issued
    monkeypatch.setattr(auth, "MAX_KNOWN", 10)
    checks = verifier(store, token="static-token-0123456789")
    for _ in range(50):
        token, record = issue("ann", ALL_SCOPES, ttl=None)
        await store.put_token(keyed_hash(KEY, token), record)
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
    token, record = issue("ann", ALL_SCOPES, ttl=None)
    await store.put_token(keyed_hash(KEY, token), Bound(**{**asdict(record), "audience": audience}))
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


@pytest.mark.parametrize("name", ["static", "smoke", "local"])
def test_nobody_is_issued_a_token_in_the_servers_own_names(name: str) -> None:
    """`smoke` would pass a closed gate."""
    with pytest.raises(InvalidArgument, match="is the server"):
        issue(name, ("catalog:read",), None)
