"""Issued tokens: what their records say, how they are renewed and ended, and what a stranger may try."""

import time
from dataclasses import replace

import pytest

from doris_mcp_server.auth import ALL_SCOPES
from doris_mcp_server.auth.opaque import FAMILY, REVOKED, Tokens, token_id
from doris_mcp_server.clusters import Account, Bound
from doris_mcp_server.errors import StoreUnavailable
from doris_mcp_server.state.bus import Bus

from ...flaky import FlakyStore

KEY = "cd" * 32
BOUND = Bound(cluster="default", account=Account(user="ann", password="secret"))


@pytest.fixture
def store() -> FlakyStore:
    return FlakyStore()


@pytest.fixture
def tokens(store: FlakyStore) -> Tokens:
    return Tokens(store, Bus(), KEY)


async def test_a_token_is_found_by_its_whole_text_only(tokens: Tokens, store: FlakyStore) -> None:
    token, record = await tokens.issue("ann", ALL_SCOPES, 3600)
    other, _ = await tokens.issue("bob", ALL_SCOPES, None)
    assert await tokens.find(token) == record
    assert token_id(token) == record.id
    secret = token.split("_", 2)[2]
    assert secret not in str(await store.find(FAMILY))
    for forged in (
        token[:-1] + ("A" if token[-1] != "A" else "B"),
        token + "A",
        token[:-1],
        token.upper(),
        f"dmcp_{record.id}_{other.split('_', 2)[2]}",
        f"dmcp_{record.id}_",
        record.id,
        "",
    ):
        assert await tokens.find(forged) is None
    assert await Tokens(store, Bus(), "ef" * 32).find(token) is None, "another key, another hash"


async def test_what_has_expired_is_gone_and_the_rest_is_listed_oldest_first(tokens: Tokens) -> None:
    first = (await tokens.issue("ann", ALL_SCOPES, None))[1]
    second = (await tokens.issue("bob", ("catalog:read",), 3600))[1]
    late, record = await tokens.issue("eve", ALL_SCOPES, -1)
    assert await tokens.find(late) is None
    await tokens.keep(replace(record, expires=time.time() - 1))
    assert await tokens.find(late) is None
    assert await tokens.all() == [first, second]


async def test_a_renewed_token_is_its_holders_and_the_old_one_ends_after_the_overlap(tokens: Tokens) -> None:
    old, record = await tokens.issue(
        "ann", ("catalog:read",), 7200, principal="ann@x", bound=BOUND, audience="https://x/mcp"
    )
    renewed = await tokens.rotate(record.id, 60)
    assert renewed is not None
    token, new = renewed
    assert await tokens.find(token) == new
    same = {"id": new.id, "created": new.created, "expires": new.expires, "hash": new.hash, "account": new.account}
    assert new == replace(record, **same)
    assert tokens.bound(new) == BOUND
    assert new.expires is not None and new.expires - new.created == pytest.approx(7200)
    ending = await tokens.find(old)
    assert ending is not None and ending.expires is not None
    assert 50 < ending.expires - time.time() <= 60
    assert await tokens.rotate(record.id, 0)
    assert await tokens.find(old) is None
    assert await tokens.rotate(record.id, 0) is None


async def test_revoking_says_which_there_were_and_denies_them_before_it_forgets_them(
    tokens: Tokens, store: FlakyStore
) -> None:
    ids = [(await tokens.issue(name, ALL_SCOPES, 60))[1].id for name in ("ann", "bob")]
    assert await tokens.revoke(["nobody", *ids]) == ids
    assert await tokens.all() == []
    grown = await store.grown(REVOKED, None)
    assert grown is not None and set(grown.until) == set(ids)
    assert await tokens.revoke(ids) == []


async def test_nothing_is_forgotten_when_the_denial_was_not_written(tokens: Tokens, store: FlakyStore) -> None:
    _, record = await tokens.issue("ann", ALL_SCOPES, None)
    store.away = True
    with pytest.raises(StoreUnavailable):
        await tokens.revoke([record.id])
    store.away = False
    assert await tokens.get(record.id) == record


async def test_a_failover_brings_no_revoked_token_back(tokens: Tokens, store: FlakyStore) -> None:
    token, record = await tokens.issue("ann", ALL_SCOPES, None)
    assert await tokens.revoke([record.id]) == [record.id]
    await store.fail_over()
    assert await tokens.find(token) is None


async def test_a_token_that_is_denied_and_not_yet_forgotten_is_neither_shown_nor_renewed_and_can_be_revoked(
    tokens: Tokens,
) -> None:
    _, record = await tokens.issue("ann", ALL_SCOPES, None)
    assert await tokens.good(record.id) == record
    await tokens.deny({record.id: time.time() + 60})  # cut off here
    assert await tokens.good(record.id) is None
    assert await tokens.rotate(record.id, 60) is None
    assert await tokens.revoke([record.id]) == [record.id]
    assert await tokens.get(record.id) is None


async def test_a_record_of_another_release_is_read_as_far_as_it_is_known(tokens: Tokens, store: FlakyStore) -> None:
    token, record = await tokens.issue("ann", ALL_SCOPES, None)
    text = await store.get(f"{FAMILY}/{record.id}")
    assert text is not None
    await store.put(f"{FAMILY}/{record.id}", text.replace("{", '{"mood": "new", ', 1))
    assert await tokens.find(token) == record
    for broken in ("not json", "[]", "{}", text.replace("scopes", "scope")):
        await store.put(f"{FAMILY}/{record.id}", broken)
        with pytest.raises(StoreUnavailable, match="cannot be read"):
            await tokens.find(token)
