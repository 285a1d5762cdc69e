"""The result cache: what is kept, for how long, and for whom."""

import pytest

from doris_mcp_server.tools.cache import ResultCache

from ...clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> ResultCache:
    return ResultCache(seconds=10, max_bytes=10, clock=clock)


def test_a_result_is_kept_as_long_as_it_may_be(cache: ResultCache, clock: Clock) -> None:
    cache.put("a", b"1")
    clock.now += 9
    assert cache.get("a") == (b"1", 9)
    clock.now += 1
    assert cache.get("a") is None
    cache.put("a", b"2")
    assert cache.get("a") == (b"2", 0)


def test_what_was_not_asked_for_longest_goes_first(cache: ResultCache) -> None:
    cache.put("a", b"1234")
    cache.put("b", b"1234")
    cache.get("a")
    cache.put("c", b"123")
    assert [cache.get(key) is not None for key in "abc"] == [True, False, True]


def test_sizes_are_counted_right_when_results_are_replaced(cache: ResultCache) -> None:
    for _ in range(100):
        cache.put("a", b"12345")
    cache.put("b", b"12345")
    assert cache.get("a") is not None
    assert cache.get("b") is not None


def test_one_that_is_too_large_is_not_kept_and_drives_nothing_out(cache: ResultCache) -> None:
    cache.put("a", b"1")
    cache.put("b", b"x" * 11)
    assert cache.get("a") is not None
    assert cache.get("b") is None
