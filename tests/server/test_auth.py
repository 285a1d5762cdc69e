"""Bearer tokens: static and issued ones, revocation, and a store that goes away."""

import time

import pytest

from doris_mcp_server import auth
from doris_mcp_server.auth import ALL_SCOPES, SMOKE, Verifier, bearer, issue, keyed_hash
from doris_mcp_server.config import Settings
from doris_mcp_server.errors import StoreUnavailable
from doris_mcp_server.state import TokenRecord
from doris_mcp_server.state.memory import MemoryStore

KEY = "cd" * 32


class FlakyStore(MemoryStore):
    away = False
    asked = 0

    async def get_token(self, digest: str) -> TokenRecord | None:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("away")
        return await super().get_token(digest)


def verifier(store: MemoryStore, **settings: str) -> Verifier:
    return Verifier(Settings(token_key=KEY, redis_url="redis://unused", **settings), store)  # type: ignore[arg-type]


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
    assert await verifier(store).verify("x" * 10_000) is None


async def test_a_warm_token_costs_no_store_and_a_revoked_one_dies_with_the_cache(
    issued: tuple[FlakyStore, str, TokenRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, token, record = issued
    checks = verifier(store)
    assert await checks.verify(token)
    assert await checks.verify(token)
    assert store.asked == 1
    assert await store.revoke_token(record.id)
    monkeypatch.setattr(auth, "POSITIVE_CACHE", 0.0)
    assert await checks.verify(token) is None


async def test_an_expired_token_is_refused_even_when_cached(
    issued: tuple[FlakyStore, str, TokenRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, token, record = issued
    checks = verifier(store)
    assert await checks.verify(token)
    assert record.expires is not None
    late = record.expires + 1
    monkeypatch.setattr(time, "time", lambda: late)
    assert await checks.verify(token) is None


async def test_with_the_store_away_only_the_recently_verified_pass_and_only_for_the_grace(
    issued: tuple[FlakyStore, str, TokenRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, token, _ = issued
    checks = verifier(store)
    assert await checks.verify(token)
    store.away = True
    monkeypatch.setattr(auth, "POSITIVE_CACHE", 0.0)
    assert await checks.verify(token)
    with pytest.raises(StoreUnavailable):
        await checks.verify("never-seen-before-token")
    monkeypatch.setattr(auth, "STORE_AWAY_GRACE", 0.0)
    with pytest.raises(StoreUnavailable):
        await checks.verify(token)


async def test_static_tokens_need_no_store() -> None:
    store = FlakyStore()
    store.away = True
    checks = verifier(store, token="static-token-0123456789", smoke_token="smoke-token-0123456789")
    static = await checks.verify("static-token-0123456789")
    smoke = checks.static("smoke-token-0123456789")
    assert static is not None and smoke is not None
    assert static.scopes == frozenset(ALL_SCOPES)
    assert smoke.name == SMOKE
    assert checks.static("static-token-012345678") is None
    assert store.asked == 0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([b"Bearer abc"], "abc"),
        ([b"bearer  abc"], "abc"),
        ([b"Bearer "], None),
        ([b"Basic abc"], None),
        ([b"Bearer abc", b"Bearer abc"], None),
        ([b"Bearer \xff"], None),
        ([], None),
    ],
)
def test_bearer_reads_one_token_or_none(values: list[bytes], expected: str | None) -> None:
    assert bearer([(b"authorization", value) for value in values]) == expected
