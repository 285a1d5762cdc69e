"""The journal: lines in order, few writes, and never a wait where an event loop runs, whatever the reader does."""

import asyncio
import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from doris_mcp_server.observe import journal as module
from doris_mcp_server.observe.journal import BATCH, Journal, Outlet

from ..conftest import LIMIT


class Pipe:
    """A pipe and what came out of it."""

    def __init__(self) -> None:
        self.reads, self.writes = os.pipe()
        os.set_blocking(self.reads, False)

    def take(self) -> bytes:
        """What is in the pipe now."""
        taken = b""
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self.reads, 1 << 20):
                taken += part
        return taken

    async def until(self, done: Callable[[bytes], bool]) -> bytes:
        """Read until `done` of all that came."""
        loop, news, taken = asyncio.get_running_loop(), asyncio.Event(), b""
        loop.add_reader(self.reads, news.set)
        try:
            async with asyncio.timeout(LIMIT):
                while not done(taken):
                    await news.wait()
                    news.clear()
                    taken += self.take()
        finally:
            loop.remove_reader(self.reads)
        return taken

    def close_reader(self) -> None:
        os.close(self.reads)
        self.reads = -1

    def close(self) -> None:
        for fd in (self.reads, self.writes):
            if fd >= 0:
                os.close(fd)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


@pytest.fixture
def journal(pipe: Pipe) -> Iterator[Journal]:
    journal = Journal(Outlet(pipe.writes), bound=200_000)
    yield journal
    journal.close()


class Counting(Outlet):
    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.sends = 0

    def send(self, data: bytes) -> int:
        self.sends += 1
        return super().send(data)


def numbered(number: int, size: int = 100) -> bytes:
    return b"%d %s\n" % (number, b"x" * (size - len(str(number)) - 2))


def numbers(taken: bytes) -> list[int]:
    return [int(row.split()[0]) for row in taken.splitlines() if row[:1].isdigit()]


def dropped(taken: bytes) -> int:
    notes = [row for row in taken.splitlines() if b"log lines dropped" in row]
    return sum(int(note.split(b'"lines":')[1].rstrip(b"}")) for note in notes)


def fill(fd: int) -> None:
    """Leave no room in a pipe, without changing the flags of `fd`."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    while poll.poll(0):
        os.write(fd, b"-" * select.PIPE_BUF)


async def test_info_lines_of_one_batch_are_one_write(pipe: Pipe) -> None:
    outlet = Counting(pipe.writes)
    journal = Journal(outlet)
    for number in range(30):
        journal.write(numbered(number), False)
    assert pipe.take() == b""
    taken = await pipe.until(lambda taken: taken.count(b"\n") == 30)
    assert numbers(taken) == list(range(30))
    assert outlet.sends == 1
    journal.close()


async def test_a_big_batch_does_not_wait_for_more(journal: Journal, pipe: Pipe) -> None:
    for number in range(BATCH // 100):
        journal.write(numbered(number), False)
    assert pipe.take() == b""
    journal.write(numbered(-1), False)
    assert len(pipe.take().splitlines()) > BATCH // 100


async def test_a_warning_is_written_at_once_after_what_was_before_it(journal: Journal, pipe: Pipe) -> None:
    journal.write(b"1 info\n", False)
    journal.write(b"2 warning\n", True)
    assert numbers(pipe.take()) == [1, 2]
    journal.write(b"3 info\n", False)
    assert numbers(await pipe.until(lambda taken: b"3" in taken)) == [3]


def test_without_a_loop_each_line_is_written_at_once(journal: Journal, pipe: Pipe) -> None:
    journal.write(b"1 info\n", False)
    assert numbers(pipe.take()) == [1]


def test_what_a_loop_left_behind_comes_before_the_next_line(journal: Journal, pipe: Pipe) -> None:
    async def left_behind(number: int) -> None:
        journal.write(b"%d info\n" % number, False)

    asyncio.run(left_behind(1))
    assert pipe.take() == b""
    journal.write(b"2 info\n", False)
    assert numbers(pipe.take()) == [1, 2]
    asyncio.run(left_behind(3))

    async def in_another_loop() -> bytes:
        journal.write(b"4 info\n", False)
        return await pipe.until(lambda taken: b"4" in taken)

    assert numbers(asyncio.run(in_another_loop())) == [3, 4]


async def test_a_reader_that_stands_still_costs_info_lines_and_no_wait(journal: Journal, pipe: Pipe) -> None:
    fill(pipe.writes)
    for number in range(5000):  # two and a half times the bound
        journal.write(numbered(number), False)
    taken = pipe.take()
    journal.write(b"5000 warning\n", True)
    journal.write(numbered(5001), False)  # there is room again, but not yet all is written that was before it
    taken += await pipe.until(lambda taken: b"log lines dropped" in taken)
    kept = numbers(taken.lstrip(b"-"))
    assert kept == [*range(2000), 5000]
    assert dropped(taken) == 3001
    journal.write(numbered(5002), False)
    after = await pipe.until(lambda taken: taken.endswith(b"\n"))
    assert numbers(after) == [5002] and dropped(after) == 0


async def test_even_warnings_are_not_kept_without_bound(journal: Journal, pipe: Pipe) -> None:
    fill(pipe.writes)
    for number in range(10_000):
        journal.write(numbered(number), True)
    taken = await pipe.until(lambda taken: b"log lines dropped" in taken)
    assert numbers(taken.lstrip(b"-")) == list(range(4000))
    assert dropped(taken) == 6000


@pytest.mark.parametrize("own", ["own descriptor", "a pipe of another user"])
async def test_a_full_pipe_takes_what_it_can_and_each_line_whole(
    own: str, pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    if own != "own descriptor":

        def refused(*_: object) -> int:
            raise PermissionError

        monkeypatch.setattr(module.os, "open", refused)
    journal = Journal(Outlet(pipe.writes))
    monkeypatch.undo()
    flags = os.get_blocking(pipe.writes)
    for number in range(300):
        journal.write(numbered(number, 1000), True)
    journal.write(numbered(300, 30_000), True)  # longer than what a pipe takes in one piece
    first = pipe.take()
    rest = await pipe.until(lambda taken: (first + taken).endswith(b"x\n") and b"\n300 " in first + taken)
    assert numbers(first + rest) == list(range(301))
    assert os.get_blocking(pipe.writes) is flags  # whoever shares the pipe sees no change
    journal.close()


async def test_a_socket_that_is_not_read_holds_nobody_up() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        journal = Journal(Outlet(ours.fileno()), bound=100_000)
        for number in range(10_000):
            journal.write(numbered(number), True)
        taken = b""
        async with asyncio.timeout(LIMIT):
            while b"log lines dropped" not in taken:
                taken += await asyncio.get_running_loop().sock_recv(theirs, 1 << 20)
        kept = numbers(taken)
        assert kept == list(range(len(kept))) and len(kept) + dropped(taken) == 10_000
        journal.close()


async def test_a_reader_that_went_away_is_survived(journal: Journal, pipe: Pipe) -> None:
    pipe.close_reader()
    journal.write(b"1\n", False)
    journal.write(b"2\n", True)
    assert journal.flush(0.0)


def test_lines_lost_on_a_full_disk_are_counted(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("wb") as full:
        journal = Journal(Outlet(full.fileno()))
        for number in range(3):
            journal.write(numbered(number), False)
        # room again
        outlet = Outlet(pipe.writes)
        monkeypatch.setattr(journal, "_outlet", outlet)
        journal.write(numbered(3), False)
        taken = pipe.take()
        assert numbers(taken) == [3] and dropped(taken) == 3
        journal.close()
    monkeypatch.undo()
    journal.close()


def test_without_a_loop_it_waits_for_a_slow_reader(journal: Journal, pipe: Pipe) -> None:
    fill(pipe.writes)
    reading = threading.Timer(0.05, os.read, (pipe.reads, select.PIPE_BUF))
    reading.start()
    journal.write(b"1 info\n", False)
    reading.join()
    assert numbers(pipe.take().lstrip(b"-")) == [1]


def test_without_a_loop_it_waits_in_vain_only_once(
    pipe: Pipe, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = []
    monkeypatch.setattr(journal._outlet, "wait", waits.append)
    monkeypatch.setattr(journal, "_patience", 0.01)
    fill(pipe.writes)
    journal.write(b"1 info\n", False)
    assert waits
    waits.clear()
    journal.write(b"2 info\n", False)
    assert not waits
    pipe.take()
    journal.write(b"3 info\n", False)
    assert numbers(pipe.take()) == [1, 2, 3]


async def test_threads_and_the_loop_share_it(journal: Journal, pipe: Pipe) -> None:
    def many(who: int) -> None:
        for number in range(500):
            journal.write(numbered(who * 1000 + number), number % 50 == 0)

    work = [asyncio.to_thread(many, who) for who in range(1, 4)]
    done = asyncio.gather(*work)
    many(0)
    taken = await pipe.until(lambda taken: taken.count(b"\n") >= 2000)
    await done
    found = numbers(taken)
    assert len(found) == 2000 and all(len(row) == 99 for row in taken.splitlines())
    for who in range(4):
        assert [number for number in found if number // 1000 == who] == [who * 1000 + n for n in range(500)]


def test_a_descriptor_that_was_closed_behind_its_back_is_opened_anew(pipe: Pipe) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    other = Pipe()
    outlet = Outlet(pipe.writes)
    journal = Journal(outlet)
    number = outlet._fd
    os.dup2(other.writes, number)  # as after a fork that closed everything: the number is somebody else's
    journal.write(b"1 info\n", False)
    os.close(outlet._fd)
    journal.write(b"2 info\n", False)
    assert numbers(pipe.take()) == [1, 2]
    assert other.take() == b""
    journal.close()
    other.close()
    os.close(number)  # still its new owner's
    assert len(list(Path("/proc/self/fd").iterdir())) == before
