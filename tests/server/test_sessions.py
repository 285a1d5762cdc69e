"""Portable sessions: who may use an id, on which worker, for how long, and what an attacker may try."""

import asyncio
import tempfile
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doris_mcp_server import sessions as sessions_module
from doris_mcp_server.errors import StoreUnavailable
from doris_mcp_server.keys import KeyRing
from doris_mcp_server.sessions import AWAY, ENDED, FAMILY, FIRST, LONGEST, WARM, Session, Sessions
from doris_mcp_server.state import local as local_module
from doris_mcp_server.state.bus import Bus

from ..clock import Clock
from ..flaky import FlakyStore
from .conftest import LIMIT

KEY, OTHER_KEY = b"k" * 32, b"x" * 32
VERSION = "2025-11-25"
IDLE, MAX = 100.0, 1000.0
SLACK = IDLE / 10 + WARM
EARLY = 0.1  # seconds before a moment: a float of the wall clock is exact to less than that


@dataclass
class Worker:
    bus: Bus
    store: FlakyStore
    sessions: Sessions

    async def find(self, text: str, principal: str = "ann") -> Session | None:
        """As a request does it: warm, else in full; and what that started is done."""
        found = self.sessions.warm(text.encode(), principal) or await self.sessions.find(text.encode(), principal)
        await self.sessions.close()
        return found


def host(workers: int, *keys: bytes, idle: float = IDLE, longest: float = MAX) -> list[Worker]:
    """The workers of one host, with what the supervisor does between them: an event goes to all the others."""
    made = []
    directory = tempfile.mkdtemp(dir=folder)
    for _ in range(workers):
        bus = Bus()
        store = FlakyStore(directory)
        ring = KeyRing(keys or (KEY,))
        made.append(Worker(bus, store, Sessions(ring, store, bus, idle_seconds=idle, max_seconds=longest)))
    for one in made:
        others = [other.bus for other in made if other is not one]
        one.bus.carriers += [bus.deliver for bus in others]
    return made


folder = Path()


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.folder", tmp_path)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module, name in ((sessions_module, "monotonic"), (sessions_module, "wall"), (local_module, "wall")):
        monkeypatch.setattr(module, name, clock)
    return clock


# --- who may use it, and where ---


async def test_a_session_begun_on_one_worker_goes_on_on_another(clock: Clock) -> None:
    one, two = host(2)
    text = one.sessions.begin("ann", VERSION)
    assert text.isascii()
    assert text.isprintable()
    assert " " not in text
    assert len(text) < LONGEST
    for worker in (one, two):
        session = await worker.find(text)
        assert session is not None
        assert (session.principal, session.version, session.began) == ("ann", VERSION, clock.now)
        assert session.id not in text
    assert one.sessions.begin("ann", VERSION) != text


async def test_the_worker_that_checked_a_session_does_not_ask_again_for_two_seconds(clock: Clock) -> None:
    one, two = host(2)
    text = one.sessions.begin("ann", VERSION)
    assert one.sessions.warm(text.encode(), "ann") is not None
    assert two.sessions.warm(text.encode(), "ann") is None
    assert await two.find(text)
    assert two.sessions.warm(text.encode(), "ann") is await two.find(text)
    assert (one.store.asked, two.store.asked) == (0, 1)
    clock.now += WARM
    assert two.sessions.warm(text.encode(), "ann") is None
    assert await two.find(text)
    assert two.store.asked == 2


@pytest.mark.parametrize("principal", ["bob", "an", "annn", "Ann", "", "ann\0", "ann ", "\ud800"])
async def test_another_principal_cannot_use_it_warm_or_cold(clock: Clock, principal: str) -> None:
    # CVE-2026-52869, CVE-2026-33946: a session id that is known is not enough.
    one, two = host(2)
    text = one.sessions.begin("ann", VERSION)
    for worker in (one, two):
        assert await worker.find(text, principal) is None
        assert await worker.find(text)
        assert await worker.find(text, principal) is None  # nor once its owner has warmed it
    assert await one.find(one.sessions.begin(principal, VERSION), principal)


async def test_keys_rotate_under_a_living_session(clock: Clock) -> None:
    (before,), (during,), (after,) = host(1, OTHER_KEY), host(1, KEY, OTHER_KEY), host(1, KEY)
    old = before.sessions.begin("ann", VERSION)
    new = during.sessions.begin("ann", VERSION)
    assert await during.find(old)
    assert await after.find(new)
    assert await after.find(old) is None
    assert await before.find(new) is None
    assert after.store.asked == 1  # a key that is not known costs no store


# --- what an attacker may try ---


def mutations(text: str) -> st.SearchStrategy[bytes]:
    """Ids near a good one: bytes changed, dropped, added, cut, decoded and changed, written another way."""
    raw = text.encode()
    content = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    place = st.integers(0, len(raw) - 1)
    byte = st.binary(min_size=1, max_size=1)

    def encoded(changed: bytes) -> bytes:
        return urlsafe_b64encode(changed).rstrip(b"=")

    return st.one_of(
        st.tuples(place, byte).map(lambda t: raw[: t[0]] + t[1] + raw[t[0] + 1 :]),
        st.tuples(place, byte).map(lambda t: raw[: t[0]] + t[1] + raw[t[0] :]),
        place.map(lambda at: raw[:at]),
        place.map(lambda at: raw[at + 1 :]),
        byte.map(lambda b: raw + b),
        byte.map(lambda b: b + raw),
        st.tuples(st.integers(0, len(content) - 1), st.integers(1, 255)).map(
            lambda t: encoded(content[: t[0]] + bytes([content[t[0]] ^ t[1]]) + content[t[0] + 1 :])
        ),
        st.integers(0, len(content) - 1).map(lambda at: encoded(content[:at])),
        st.binary(min_size=1, max_size=40).map(lambda more: encoded(content + more)),
        st.sampled_from([raw + b"=", raw + b"==", raw.swapcase(), raw[::-1], b'"' + raw + b'"', raw + b", " + raw]),
        st.binary(max_size=LONGEST + 20),
    ).filter(lambda tried: tried != raw)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_no_changed_id_is_a_session(data: st.DataObject) -> None:
    async def attempt() -> None:
        (worker,) = host(1)
        text = worker.sessions.begin("ann", VERSION)
        tried = data.draw(mutations(text))
        assert worker.sessions.warm(tried, "ann") is None
        assert await worker.sessions.find(tried, "ann") is None
        assert worker.store.asked == 0
        assert await worker.find(text)

    asyncio.run(attempt())


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 70))
def test_two_good_ids_do_not_make_a_third(cut: int) -> None:
    async def attempt() -> None:
        (worker,) = host(1)
        ann, bob = worker.sessions.begin("ann", VERSION), worker.sessions.begin("bob", "2025-06-18")
        for mixed in (ann[:cut] + bob[cut:], bob[:cut] + ann[cut:]):
            for principal in ("ann", "bob"):
                assert mixed in (ann, bob) or await worker.find(mixed, principal) is None

    asyncio.run(attempt())


@pytest.mark.parametrize("tried", [b"\xff" * 40, b"\xc3\xa9" * 20, b"A" * 10_240, b"\xff" * 10_240, b"A" * 201])
async def test_long_or_foreign_bytes_are_refused_before_any_work(tried: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    (worker,) = host(1)
    monkeypatch.setattr(KeyRing, "open", None)  # to call it would raise: no decoding, no MAC
    assert await worker.sessions.find(tried, "ann") is None
    assert worker.store.asked == 0


@pytest.mark.parametrize("tried", [b"", b"A", b"=" * 94, b"\0" * 94, b"A" * 94, b"A" * LONGEST, b"null", b"\r\n"])
async def test_odd_text_is_refused(tried: bytes) -> None:
    (worker,) = host(1)
    assert await worker.sessions.find(tried, "ann") is None
    assert worker.store.asked == 0


@pytest.mark.parametrize("purpose", ["cursor", "session", ""])
async def test_a_seal_of_another_purpose_is_no_session(purpose: str) -> None:
    (worker,) = host(1)
    content = b"\0" * 24 + VERSION.encode()
    for ring in (KeyRing([KEY]), KeyRing([KEY]).derive(purpose)):
        assert await worker.find(ring.seal(content, b"ann")) is None


@pytest.mark.parametrize("version", ["é", "v" * 33])
def test_a_version_that_is_none_begins_nothing(version: str) -> None:
    (worker,) = host(1)
    with pytest.raises(ValueError, match="protocol version"):
        worker.sessions.begin("ann", version)


# --- how long ---


async def test_ended_on_one_worker_ended_on_all_at_once(clock: Clock) -> None:
    one, two, three = host(3)
    text = one.sessions.begin("ann", VERSION)
    session = await two.find(text)
    assert session
    await one.sessions.end(session)
    for worker in (one, two, three):  # begun, warm, never seen
        assert worker.sessions.warm(text.encode(), "ann") is None
        assert await worker.find(text) is None
    clock.now += IDLE / 2
    assert await three.find(text) is None
    clock.now += IDLE * 2
    assert await three.find(text) is None


async def test_an_end_that_comes_while_the_store_is_asked_wins(clock: Clock) -> None:
    one, two = host(2)
    text = one.sessions.begin("ann", VERSION)
    session = await one.find(text)
    assert session
    two.store.gate = asyncio.Event()
    asking = asyncio.create_task(two.sessions.find(text.encode(), "ann"))
    async with asyncio.timeout(LIMIT):
        while not two.store.asked:
            await asyncio.sleep(0)
    await one.sessions.end(session)
    two.store.gate.set()  # its answer was on its way already
    assert await asking is None
    assert two.sessions.warm(text.encode(), "ann") is None


async def test_a_client_that_goes_away_has_ended_its_session_all_the_same(clock: Clock) -> None:
    one, two = host(2)
    text = one.sessions.begin("ann", VERSION)
    session = await one.find(text)
    assert session
    ending = asyncio.create_task(one.sessions.end(session))
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    await one.sessions.close()
    assert await two.store.get(f"{FAMILY}/{session.id}") == ENDED


async def test_an_unused_session_ends_by_itself_and_a_used_one_does_not(clock: Clock) -> None:
    one, two = host(2)
    unused, used = one.sessions.begin("ann", VERSION), one.sessions.begin("ann", VERSION)
    for _ in range(5):
        clock.now += IDLE - EARLY
        assert await one.find(used)
    assert await two.find(used)
    assert await two.find(unused) is None
    clock.now += IDLE + SLACK + EARLY
    assert await one.find(used) is None
    assert await two.find(used) is None


async def test_use_that_the_store_was_not_told_of_counts_on_every_worker(clock: Clock) -> None:
    one, two = host(2)
    for young in (True, False):
        text = one.sessions.begin("ann", VERSION)
        if not young:
            clock.now += IDLE / 2
            assert await one.find(text)  # the store is told
        told = one.store.wrote
        clock.now += (FIRST if young else IDLE / 10) - EARLY
        assert await one.find(text)  # too soon to tell it again
        clock.now += WARM - EARLY
        assert one.sessions.warm(text.encode(), "ann")
        assert one.store.wrote == told
        clock.now += IDLE
        assert await two.find(text)


async def test_the_absolute_lifetime_ends_a_session_in_use_even_a_warm_one(clock: Clock) -> None:
    (worker,) = host(1)
    text = worker.sessions.begin("ann", VERSION)
    end = clock.now + MAX
    while clock.now < end - EARLY:
        assert await worker.find(text)
        clock.now = min(clock.now + IDLE / 2, end - EARLY)
    assert await worker.find(text)
    clock.now = end
    assert worker.sessions.warm(text.encode(), "ann") is None
    assert await worker.find(text) is None


async def test_the_store_is_told_of_use_seldom_and_never_of_a_young_session(clock: Clock) -> None:
    (worker,) = host(1)
    text = worker.sessions.begin("ann", VERSION)
    began = clock.now
    while clock.now - began < FIRST:
        assert await worker.find(text)
        clock.now += 1
    assert worker.store.wrote == 0
    while clock.now - began < 50:
        assert await worker.find(text)
        clock.now += 1
    assert worker.store.wrote == 5


async def test_requests_that_come_together_ask_the_store_once(clock: Clock) -> None:
    one, two = host(2)
    text = one.sessions.begin("ann", VERSION)
    clock.now += IDLE / 2
    two.store.gate = asyncio.Event()
    asking = [asyncio.create_task(two.sessions.find(text.encode(), "ann")) for _ in range(50)]
    async with asyncio.timeout(LIMIT):
        while not two.store.asked:
            await asyncio.sleep(0)
    asking[0].cancel()  # the one that asked goes away; the others get their answer
    two.store.gate.set()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert all(isinstance(session, Session) for session in found[1:])
    await two.sessions.close()
    assert (two.store.asked, two.store.wrote) == (1, 1)


# --- without the store ---


async def test_a_store_that_is_away_ends_no_session_and_is_left_alone_for_a_second(clock: Clock) -> None:
    one, two = host(2)
    text = one.sessions.begin("ann", VERSION)
    two.store.away = True
    clock.now += IDLE * 3
    assert await two.find(text)
    assert two.store.asked == 1
    assert await two.find(one.sessions.begin("ann", VERSION))
    assert two.store.asked == 1
    assert await two.find(text[:-1] + "!") is None
    assert await two.find(text, "bob") is None
    clock.now += WARM
    two.store.away = False
    # It was used here while the store was away, so the missing record is no proof.
    assert await two.find(text)
    assert (two.store.asked, two.store.wrote) == (2, 1)
    assert await one.find(text)


async def test_a_store_that_hangs_is_as_good_as_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "ASK_LIMIT", 0.01)
    one, two = host(2)
    two.store.gate = asyncio.Event()
    assert await two.find(one.sessions.begin("ann", VERSION))


async def test_a_touch_that_failed_is_made_up_for(clock: Clock) -> None:
    (worker,) = host(1)
    text = worker.sessions.begin("ann", VERSION)
    clock.now += IDLE / 2
    present = worker.store._present
    asked = iter([present, lambda: (_ for _ in ()).throw(StoreUnavailable("away"))])
    worker.store._present = lambda: next(asked, present)()  # type: ignore[method-assign]
    assert await worker.find(text)
    assert worker.store.wrote == 1
    clock.now += WARM
    assert await worker.find(text)
    assert worker.store.wrote == 2


async def test_an_end_without_the_store_holds_here_and_is_written_later(clock: Clock) -> None:
    (here,) = host(1)
    text = here.sessions.begin("ann", VERSION)
    other = here.sessions.begin("ann", VERSION)
    session = await here.find(text)
    assert session
    here.store.away = True
    await here.sessions.end(session)
    assert await here.find(text) is None
    here.store.away = False
    clock.now += max(AWAY, WARM)
    assert await here.find(other)
    await here.sessions.close()
    assert await here.store.get(f"{FAMILY}/{session.id}") == ENDED


# --- what a worker remembers is bounded ---


async def test_memory_is_bounded_and_what_is_forgotten_still_works(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_module, "KEPT", 20)
    (worker,) = host(1)
    texts = [worker.sessions.begin("ann", VERSION) for _ in range(100)]
    assert len(worker.sessions._seen) == 20
    assert worker.sessions.warm(texts[0].encode(), "ann") is None
    for text in texts:
        session = await worker.find(text)
        assert session
        await worker.sessions.end(session)
    assert len(worker.sessions._ended) == 20
    clock.now += WARM
    assert [await worker.find(text) for text in texts] == [None] * 100
    assert len(worker.sessions._asking) == len(worker.sessions._tasks) == 0


# --- all of it together, against what the words say ---

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.floats(0.5, IDLE * 1.3)),
        st.tuples(st.just("wait"), st.sampled_from([WARM - EARLY, IDLE / 10 - EARLY, IDLE - EARLY, IDLE])),
        st.tuples(st.just("use"), st.integers(0, 2)),
        st.tuples(st.just("use"), st.integers(0, 2)),
        st.tuples(st.just("end"), st.integers(0, 2)),
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_a_session_lives_exactly_as_long_as_promised_on_every_worker(steps: list[tuple[str, float]]) -> None:
    async def live(clock: Clock) -> None:
        workers = host(3)
        text = workers[0].sessions.begin("ann", VERSION)
        began = used = clock.now
        ended = over = False
        for what, value in steps:
            if what == "wait":
                clock.now += value
                continue
            found = await workers[int(value)].find(text)
            unused = clock.now - used
            if ended or clock.now - began >= MAX or unused > IDLE + SLACK + EARLY:
                assert found is None
            elif unused <= IDLE and not over:
                assert found is not None
            over = over or found is None
            if found:
                used = clock.now
                if what == "end":
                    await workers[int(value)].sessions.end(found)
                    ended = True

    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        for module, name in ((sessions_module, "monotonic"), (sessions_module, "wall"), (local_module, "wall")):
            patch.setattr(module, name, clock)
        asyncio.run(live(clock))
