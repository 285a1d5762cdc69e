"""How workers follow the fleet's key ring: through the store and the clock, with the store away, over restarts."""

import asyncio
from pathlib import Path

import pytest

from doris_mcp_server.config import Settings
from doris_mcp_server.errors import IssuerUnavailable, KeysUnreadable, StoreUnavailable
from doris_mcp_server.keys import KeyRing, configured_keys, key_id
from doris_mcp_server.keys import rotation as rotation_module
from doris_mcp_server.keys.ring import PLACE, SEAL, Ring, unwrap, wrap
from doris_mcp_server.keys.rotation import Rotation
from doris_mcp_server.observe import Metrics
from doris_mcp_server.state import Store
from doris_mcp_server.state.bus import KEYS_WRITTEN, Bus
from doris_mcp_server.state.local import LocalStore

from ...clock import Clock
from ...flaky import FlakyStore
from ..conftest import LIMIT

FLEET = Settings(token_key="ab" * 32)
VAULT = Settings(token_key="ab" * 32, keys=("11" * 32, "22" * 32))
DELAY, OVERLAP = 90.0, 500.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rotation_module, "wall", clock)
    return clock


async def put(store: Store, ring: Ring, token_key: str = FLEET.token_key) -> None:
    assert await store.swap(PLACE, wrap(ring, token_key), await store.get(PLACE))


def following(settings: Settings, store: Store, bus: Bus | None = None) -> Rotation:
    return Rotation(settings, store, bus or Bus())


def rotated(ring: Ring, now: float) -> Ring:
    """The ring, begun with what workers have without one, and a key that is to take over."""
    if not ring.keys:
        ring = ring.followed(SEAL, now, delay=0, overlap=0, secret=configured_keys(FLEET)[0])
    return ring.followed(SEAL, now, delay=DELAY, overlap=OVERLAP)


async def test_two_workers_open_each_others_seals_before_during_and_after_a_rotation(clock: Clock) -> None:
    store = FlakyStore()
    one, two = following(FLEET, store), following(FLEET, store)
    before = one.keys.derive("session").seal(b"x")
    derived = two.keys.derive("session")
    assert derived.open(before) == b"x"
    ring = rotated(Ring(), clock.now)
    await put(store, ring)
    await one.look()
    assert one.status() == {"ring": 2, "seals": ring.keys[0].id}
    assert derived.open(before) == b"x"  # who has not heard of it yet
    clock.now += DELAY
    await two.look()
    one.turn()
    assert one.status() == two.status() == {"ring": 2, "seals": ring.keys[1].id}
    after = one.keys.derive("session").seal(b"y")
    assert (derived.open(before), derived.open(after)) == (b"x", b"y")
    clock.now += OVERLAP
    two.turn()
    assert (derived.open(before), derived.open(after)) == (None, b"y")


async def test_a_worker_whose_clock_is_behind_opens_what_the_next_key_sealed(clock: Clock) -> None:
    store = FlakyStore()
    ring = rotated(Ring(), clock.now)
    await put(store, ring)
    behind = following(FLEET, store)
    await behind.start()
    assert behind.keys.open(KeyRing([ring.keys[1].secret]).seal(b"x")) == b"x"
    assert behind.status()["seals"] == ring.keys[0].id


async def test_it_follows_news_and_the_clock_by_itself(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation_module, "POLL", LIMIT)  # so that only the news can be it
    monkeypatch.setattr(rotation_module, "TURN", 0.001)
    here, there = Bus(), Bus()
    here.carriers.append(there.deliver)
    store = LocalStore()
    rotation = following(FLEET, store, there)
    watching = asyncio.create_task(rotation.watch())
    try:
        ring = rotated(Ring(), clock.now)
        async with asyncio.timeout(LIMIT):
            await asyncio.sleep(0)
            await put(store, ring)
            here.publish(KEYS_WRITTEN, {})
            while rotation.status()["ring"] != ring.revision:
                await asyncio.sleep(0.001)
            clock.now += DELAY
            while rotation.status()["seals"] != ring.keys[1].id:
                await asyncio.sleep(0.001)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_without_a_token_key_there_is_nothing_to_follow() -> None:
    rotation = following(Settings(), LocalStore())
    await rotation.start()
    await rotation.watch()
    assert rotation.status()["ring"] == 0
    assert rotation.issuer_keys() == []


async def test_the_first_key_of_the_environment_seals_and_the_ring_opens(clock: Clock) -> None:
    store = FlakyStore()
    ring = rotated(Ring(), clock.now)
    await put(store, ring)
    vault, fleet = following(VAULT, store), following(FLEET, store)
    await vault.start()
    await fleet.start()
    assert vault.status() == {"ring": 2, "seals": key_id(b"\x11" * 32)}
    assert vault.keys.open(fleet.keys.seal(b"x")) == b"x"
    assert fleet.keys.open(vault.keys.seal(b"x")) is None
    # Once the store has that key too, hosts with and without the variable serve side by side.
    await put(store, ring.followed(SEAL, clock.now + DELAY, delay=DELAY, overlap=OVERLAP, secret=b"\x11" * 32))
    clock.now += DELAY
    await fleet.look()
    assert fleet.keys.open(vault.keys.seal(b"x")) == b"x"


# --- the store away, empty, or not ours ---


async def test_a_store_that_is_away_at_the_start_leaves_the_keys_of_the_settings(clock: Clock) -> None:
    store = FlakyStore()
    await put(store, rotated(Ring(), clock.now))
    store.away = True
    rotation = following(FLEET, store)
    await rotation.start()
    await rotation.check()
    assert rotation.status() == {"ring": 0, "seals": key_id(configured_keys(FLEET)[0])}
    with pytest.raises(IssuerUnavailable):  # nobody is told that his token is none
        rotation.issuer_keys()
    store.away = False
    await rotation.look()
    assert rotation.issuer_keys() == []
    assert rotation.status()["ring"] == 2


async def test_the_last_known_ring_goes_on_and_outlives_a_restart_without_a_store(clock: Clock, tmp_path: Path) -> None:
    settings = FLEET.model_copy(update={"runtime_dir": str(tmp_path)})
    store = FlakyStore()
    ring = rotated(Ring(), clock.now)
    await put(store, ring)
    before = following(settings, store)
    await before.start()
    store.away = True
    with pytest.raises(StoreUnavailable):
        await before.look()
    clock.now += DELAY
    before.turn()
    after = following(settings, store)
    await after.start()
    assert before.status() == after.status() == {"ring": 2, "seals": ring.keys[1].id}
    assert [file.name for file in tmp_path.iterdir()] == ["keys"]
    assert ring.keys[1].secret.hex() not in (tmp_path / "keys").read_text()


@pytest.mark.parametrize(
    "text",
    [b"", b"1.", b"\xff\xff", b"2.AAAA", pytest.param(wrap(Ring(5), "cd" * 32).encode(), id="under another key")],
)
async def test_a_file_that_is_not_ours_is_left_alone(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(text)
    rotation = following(FLEET.model_copy(update={"runtime_dir": str(tmp_path)}), LocalStore())
    assert rotation.status()["ring"] == 0


async def test_a_runtime_folder_that_is_gone_costs_the_file_only(clock: Clock, tmp_path: Path) -> None:
    store = FlakyStore()
    await put(store, rotated(Ring(), clock.now))
    rotation = following(FLEET.model_copy(update={"runtime_dir": str(tmp_path / "gone")}), store)
    await rotation.start()
    assert rotation.status()["ring"] == 2


@pytest.mark.parametrize("older", [True, False])
async def test_a_store_that_lost_the_ring_gets_it_back(clock: Clock, older: bool) -> None:
    store, lost = FlakyStore(), FlakyStore()
    first = rotated(Ring(), clock.now)
    ring = rotated(first, clock.now + DELAY)
    await put(store, ring)
    if older:
        await put(lost, first)
    rotation = following(FLEET, store)
    await rotation.start()
    rotation._store = lost  # what a failover may lead to
    await rotation.look()
    text = await lost.get(PLACE)
    assert text is not None
    assert unwrap(text, FLEET.token_key) == ring
    await rotation.look()
    assert rotation.status()["ring"] == ring.revision


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2.AAAA", "format 2"),
        pytest.param(wrap(Ring(9), "cd" * 32), "DORIS_MCP_TOKEN_KEY", id="under another key"),
        ("", "format"),
        ("1.!", "not sealed"),
    ],
)
async def test_a_ring_that_cannot_be_read_keeps_a_new_worker_from_being_ready_and_no_other(
    clock: Clock, text: str, words: str
) -> None:
    store = FlakyStore()
    ring = rotated(Ring(), clock.now)
    await put(store, ring)
    known = following(FLEET, store)
    await known.start()
    good = await store.get(PLACE)
    assert await store.swap(PLACE, text, good)
    new = following(FLEET, store)
    await new.start()
    with pytest.raises(KeysUnreadable, match=words) as caught:
        await new.check()
    assert caught.value.hint
    await known.look()
    await known.check()
    assert known.status()["ring"] == ring.revision
    assert await store.get(PLACE) == text  # another's: not ours to put right
    assert good is not None
    assert await store.swap(PLACE, good, text)
    await new.look()
    await new.check()
    assert new.status() == known.status()


async def test_metrics_show_the_ring_and_the_age_of_its_key(clock: Clock) -> None:
    store = FlakyStore()
    await put(store, rotated(Ring(), clock.now))
    rotation = following(FLEET, store)
    metrics = Metrics()
    metrics.sources.append(rotation.show)
    await rotation.start()
    clock.now += DELAY + 30
    rotation.turn()
    metrics.flush()
    told = metrics.render().decode()
    assert "doris_mcp_key_ring 2.0" in told
    assert "doris_mcp_key_age_seconds 30.0" in told
