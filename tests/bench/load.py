"""The load: keep-alive connections with one request at a time on each, every answer checked.

One process on raw sockets and epoll, because what the client costs is taken from the server on a small machine.
The figures that matter are divided by the server's CPU time, not by the clock.
"""

import contextlib
import gc
import re
import select
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from .answers import Answer, Unreadable, judge, parse
from .calls import INITIALIZE, INITIALIZED, MARK, Call, Target, request

PATIENCE = 30.0  # seconds without any answer until the requests under way are given up
_CHUNK = 1 << 18
_SESSION = re.compile(rb"\r\nmcp-session-id: *([\x21-\x7e]+)", re.IGNORECASE)


@dataclass
class Outcome:
    """What one run gave. Times in seconds; `errors` counts by kind; `client` is the client's own CPU time."""

    ok: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    client: float = 0.0
    latencies: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """Seconds within which that share of the right answers came; 0 when there was none."""
        ranked = sorted(self.latencies)
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0


class _Lane:
    """One connection and the request under way on it."""

    __slots__ = ("buffer", "number", "parts", "sent", "sock")

    def __init__(self, parts: list[bytes]) -> None:
        self.parts = parts
        self.sock: socket.socket | None = None
        self.buffer = b""
        self.number = b""
        self.sent = 0.0


class Load:
    """Connections to one target, open until `close`; `run` asks over them, as often as wanted."""

    def __init__(self, target: Target, call: Call, era: str, connections: int) -> None:
        self._target = target
        self._call = call
        self._next = int(MARK)
        self._epoll = select.epoll()
        self._by_fd: dict[int, _Lane] = {}
        self._steady: list[bytes] = []  # an answer that was judged right, cut where its number stands
        self._lanes: list[_Lane] = []
        try:
            for _ in range(connections):
                session = begin_session(target) if era == "legacy" else None
                lane = _Lane(request(target, call, era, session))
                self._open(lane)
                self._lanes.append(lane)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for lane in list(self._by_fd.values()):
            self._drop(lane)
        self._epoll.close()

    def run(self, *, seconds: float | None = None, requests: int | None = None) -> Outcome:
        """Keep every connection busy for `seconds`, or for `requests` in all; what was begun is answered at the end."""
        outcome = Outcome()
        left = requests if requests is not None else 1 << 62
        collecting = gc.isenabled()
        gc.disable()  # a pause here would show as the server's p99
        client = time.process_time()
        began = time.perf_counter()
        until = began + seconds if seconds is not None else float("inf")
        try:
            left -= self._begin(outcome, left)
            self._answers(outcome, left, until)
        finally:
            outcome.seconds = time.perf_counter() - began
            outcome.client = time.process_time() - client
            if collecting:
                gc.enable()
        return outcome

    def _begin(self, outcome: Outcome, left: int) -> int:
        """A first request on each connection; how many were sent."""
        sent = 0
        for lane in self._lanes[: max(0, left)]:
            if lane.sock is None and not self._reopen(lane, outcome):
                continue
            self._send(lane)
            sent += 1
        self._under_way = sent
        return sent

    def _answers(self, outcome: Outcome, left: int, until: float) -> None:
        """Take in answers, and send the next request on each until the time or the number is used up."""
        by_fd = self._by_fd
        while self._under_way:
            ready = self._epoll.poll(PATIENCE)
            if not ready:
                self._give_up(outcome)
                return
            for fd, _ in ready:
                lane = by_fd.get(fd)
                if lane is None or not self._take(lane, outcome):
                    continue
                self._under_way -= 1
                if left > 0 and time.perf_counter() < until:
                    left -= 1
                    if lane.sock is not None or self._reopen(lane, outcome):
                        self._send(lane)
                        self._under_way += 1

    def _take(self, lane: _Lane, outcome: Outcome) -> bool:
        """Read what came on a connection; True when that ended its request, well or not."""
        assert lane.sock is not None
        try:
            data = lane.sock.recv(_CHUNK)
        except ConnectionError:
            data = b""
        now = time.perf_counter()
        if not data or not lane.number:
            # Cut off, or bytes nobody asked for; between two runs a closed connection is no error.
            asked = bool(lane.number)
            self._drop(lane)
            if asked:
                outcome.errors["connection cut"] += 1
            return asked
        try:
            answer = parse(lane.buffer + data if lane.buffer else data)
        except Unreadable as error:
            self._drop(lane)
            outcome.errors[f"unreadable: {error}"] += 1
            return True
        if answer is None:
            lane.buffer += data
            return False
        self._count(lane, answer, outcome, now)
        if answer.closing:
            self._drop(lane)
        return True

    def _count(self, lane: _Lane, answer: Answer, outcome: Outcome, now: float) -> None:
        number, lane.number, lane.buffer = lane.number, b"", b""
        if not (self._steady and answer.status == 200 and number.join(self._steady) == answer.body):
            if problem := judge(answer, self._call, number.decode()):
                outcome.errors[problem] += 1
                return
            if self._call.steady:
                self._steady = answer.body.split(number)
        outcome.ok += 1
        outcome.latencies.append(now - lane.sent)

    def _send(self, lane: _Lane) -> None:
        assert lane.sock is not None
        self._next += 1
        lane.number = b"%d" % self._next
        lane.sent = time.perf_counter()
        with contextlib.suppress(ConnectionError):  # reading tells that it is cut
            lane.sock.sendall(lane.number.join(lane.parts))

    def _give_up(self, outcome: Outcome) -> None:
        for lane in list(self._by_fd.values()):
            if lane.number:
                outcome.errors[f"no answer for {PATIENCE:g} s"] += 1
                self._drop(lane)

    def _open(self, lane: _Lane) -> None:
        sock = _connect(self._target)
        lane.sock = sock
        self._by_fd[sock.fileno()] = lane
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _reopen(self, lane: _Lane, outcome: Outcome) -> bool:
        try:
            self._open(lane)
        except OSError:
            outcome.errors["cannot connect"] += 1
            return False
        return True

    def _drop(self, lane: _Lane) -> None:
        if lane.sock is not None:
            self._epoll.unregister(lane.sock.fileno())
            del self._by_fd[lane.sock.fileno()]
            lane.sock.close()
        lane.sock, lane.number, lane.buffer = None, b"", b""


@contextlib.contextmanager
def connected(target: Target, call: Call, era: str, connections: int) -> Iterator[Load]:
    """A Load that is closed on the way out. Raises: OSError, WrongAnswer when a session cannot be begun."""
    load = Load(target, call, era, connections)
    try:
        yield load
    finally:
        load.close()


class WrongAnswer(Exception):
    """A single question was not answered as it must be."""


def ask(target: Target, call: Call, era: str, session: str | None = None, timeout: float = PATIENCE) -> Answer:
    """One request on a connection of its own. Raises: OSError, Unreadable, WrongAnswer when it is not a right one."""
    number = str(int(MARK) + 1)
    data = b""
    with _connect(target, timeout) as sock:
        sock.sendall(number.encode().join(request(target, call, era, session)))
        while (answer := parse(data)) is None:
            more = sock.recv(_CHUNK)
            if not more:
                raise ConnectionError("cut before the answer was whole")
            data += more
    if call is INITIALIZED:
        return answer
    if problem := judge(answer, call, number):
        raise WrongAnswer(f"{call.name}, {era}: {problem}: {answer.body[:300].decode(errors='replace')}")
    return answer


def begin_session(target: Target) -> str | None:
    """The handshake; the session's id when the server gives one."""
    if not target.handshakes:
        return "x" * 100  # the limit reads as many bytes as the others
    answer = ask(target, INITIALIZE, "legacy")
    found = _SESSION.search(answer.head)
    session = found[1].decode() if found else None
    ask(target, INITIALIZED, "legacy", session)
    return session


def _connect(target: Target, timeout: float | None = None) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", target.port), PATIENCE)
    sock.settimeout(timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
