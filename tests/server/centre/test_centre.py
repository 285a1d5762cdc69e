"""Versions of the fleet's settings: what they are in a store, who may write one, what only this fleet can read."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from doris_mcp_server import centre as centre_module
from doris_mcp_server.centre import FAMILY, NOTHING, Centre, Version, changes, place, seal, unseal
from doris_mcp_server.errors import SettingsUnreadable
from doris_mcp_server.state import Store

from .conftest import KEY, Open

ROWS = Version(1, "ann@app-1", "less", 1_700_000_000.0, {"DORIS_MCP_MAX_ROWS": "5"})


@pytest_asyncio.fixture
async def store(open_one: Open) -> AsyncIterator[Store]:
    opened = open_one()
    yield opened
    await opened.close()


async def test_a_version_is_written_once_and_read_as_it_was(store: Store) -> None:
    centre = Centre(store, KEY)
    assert await centre.newest() == NOTHING
    assert await centre.get(0) == NOTHING
    assert await centre.write(ROWS)
    assert not await centre.write(replace(ROWS, author="bob"))
    second = replace(ROWS, number=2, values={})
    assert await centre.write(second)
    assert await centre.newest() == second
    assert await centre.get(1) == ROWS
    assert await centre.get(3) is None
    assert await centre.history() == [ROWS, second]


async def test_of_many_writers_at_once_one_wins(open_one: Open) -> None:
    stores = [open_one() for _ in range(4)]
    wrote = await asyncio.gather(
        *(Centre(store, KEY).write(replace(ROWS, author=f"writer {n}")) for n, store in enumerate(stores))
    )
    assert sorted(wrote) == [False, False, False, True]
    found = {(await Centre(store, KEY).newest()).author for store in stores}
    assert found == {f"writer {wrote.index(True)}"}
    for store in stores:
        await store.close()


async def test_only_so_many_are_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(centre_module, "KEPT", 3)
    centre = Centre(store, KEY)
    for number in range(1, 12):
        assert await centre.write(replace(ROWS, number=number))
    assert [version.number for version in await centre.history()] == [9, 10, 11]
    assert await centre.get(8) is None


async def test_what_another_key_sealed_is_told_apart_from_nothing(store: Store) -> None:
    await Centre(store, "cd" * 32).write(ROWS)
    centre = Centre(store, KEY)
    with pytest.raises(SettingsUnreadable, match="DORIS_MCP_TOKEN_KEY") as caught:
        await centre.newest()
    assert "--anew" in str(caught.value.hint)
    assert [(version.number, version.comment[:14]) for version in await centre.history()] == [(1, "cannot be read")]


@pytest.mark.parametrize("text", ["", "1.", "1.AAAA", "1.!", "2.x", seal(ROWS, "cd" * 32), seal(ROWS, KEY)[:-8]])
def test_nothing_else_is_taken_for_a_version(text: str) -> None:
    with pytest.raises(SettingsUnreadable) as caught:
        unseal(text, KEY)
    assert caught.value.hint


def test_a_version_cannot_stand_in_the_place_of_another() -> None:
    text = seal(ROWS, KEY)
    assert unseal(text, KEY, 1) == unseal(text, KEY) == ROWS
    with pytest.raises(SettingsUnreadable):
        unseal(text, KEY, 2)


def test_no_value_can_be_read_in_the_store() -> None:
    assert "MAX_ROWS" not in seal(ROWS, KEY)
    assert place(42) == f"{FAMILY}/00000042"


def test_changes_are_told_by_name() -> None:
    assert changes({"A": "1", "B": "2", "C": "3"}, {"B": "2", "C": "4", "D": ""}) == ["A", "C", "D"]
