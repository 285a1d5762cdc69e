"""Calls that are under way: the client's going away, its word that it wants no answer, signs of life, the answer.

A quick call costs an entry in a dict. One timer for all of them finds those that take longer; only these become an
Exchange with a task that waits for the client's end, and only one that shows progress, or is silent for long, is
answered as a stream.
"""

import asyncio
from typing import Any, Final

import orjson

from doris_mcp_server.answers import CANCELLED, Answers, Receive, Send, event

LONG: Final = 0.02  # seconds between looks; a call seen twice is watched from then on
SILENCE: Final = 15.0  # seconds until a stream is begun and kept alive, so that no proxy gives up on it
PROGRESS: Final = 1.0  # seconds between signs of life, where the client asked for them


Task = asyncio.Task[Any]


def this_task() -> Task:
    """The task that serves the request."""
    task = asyncio.current_task()
    assert task is not None
    return task


def cancelled(id: Any) -> bytes:
    """The answer to a request whose client does not want it any more."""
    return orjson.dumps({"jsonrpc": "2.0", "id": id, "error": {"code": CANCELLED, "message": "Request cancelled"}})


Call = tuple[Receive, Send, int | str | None, str]
"""What is needed once a call takes long: how to hear and to answer its client, its progress token, a title."""
Key = tuple[str, int | str]
"""Whose call it is: session id and request id. A bare request id could be anybody's."""


class Exchange:
    """A call that somebody has to look after, and the task that serves it."""

    gone = False  # the client closed its connection
    cancelled = False  # the client said that it wants no answer
    streaming = False
    _watches: tuple[asyncio.Task[None], ...] = ()

    def __init__(self, task: Task, answers: Answers, call: Call) -> None:
        self._task = task
        self._answers = answers
        self._receive, self._send, self._progress, self._title = call

    def cancel(self) -> None:
        """Stop the work: the client does not want it any more."""
        if not (self.gone or self.cancelled):
            self.cancelled = True
            self._task.cancel()

    def forgive(self) -> bool:
        """Of a CancelledError in the task: whether the client is behind it. The task then goes on."""
        if self.gone or self.cancelled:
            self._task.uncancel()
            return True
        return False

    async def answer(self, message: bytes) -> None:
        """Send the JSON-RPC answer, as the whole body or as the last event of a stream that has begun."""
        if self.streaming:
            await self._send({"type": "http.response.body", "body": event(message)})
        else:
            await self._answers.ok(self._send, message)

    def watch(self) -> None:
        keep_alive = self._ping() if self._progress is None else self._beat()
        self._watches = (asyncio.create_task(self._until_gone()), asyncio.create_task(keep_alive))

    def unwatch(self) -> None:
        for watch in self._watches:
            watch.cancel()

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self.cancelled:
            self.gone = True
            self._task.cancel()

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(SILENCE)
            await self._stream(b": ping\r\n\r\n")

    async def _beat(self) -> None:
        """Tell how long it has been running; what share of the work that is, Doris does not tell."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            await asyncio.sleep(PROGRESS)
            seconds = round(loop.time() - began, 1)
            params: dict[str, Any] = {
                "progressToken": self._progress,
                "progress": seconds,
                "message": f"{self._title}: running for {seconds:.0f} s",
            }
            note = {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
            await self._stream(event(orjson.dumps(note)))

    async def _stream(self, frame: bytes) -> None:
        if not self.streaming:
            # First the deed: a client that does not read holds it up, and by then the call may be over.
            await self._answers.begin_stream(self._send)
            self.streaming = True
        await self._send({"type": "http.response.body", "body": frame, "more_body": True})


class Underway:
    """The calls of one worker, by the task that serves them: looked at while they last, found by their key."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._quick: dict[Task, Call] = {}
        self._seen: set[Task] = set()
        self._exchanges: dict[Task, Exchange] = {}
        self._tasks: dict[Key, tuple[Task, Call]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, task: Task, call: Call, key: Key | None, *, watch: bool = True) -> None:
        if watch:
            self._quick[task] = call
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(LONG, self._look)
        if key is not None:
            self._tasks[key] = task, call

    def end(self, task: Task, key: Key | None) -> Exchange | None:
        """The call is over; what had to look after it, if anything had to."""
        self._quick.pop(task, None)
        if key is not None and self._tasks.get(key, (None,))[0] is task:
            del self._tasks[key]
        if not self._exchanges:
            return None
        exchange = self._exchanges.pop(task, None)
        if exchange is not None:
            exchange.unwatch()
        return exchange

    def cancel(self, key: Key) -> None:
        if (found := self._tasks.get(key)) is not None:
            self._exchange(*found).cancel()

    def exchange(self, task: Task) -> Exchange | None:
        """What looks after the call of this task, if anything has to."""
        return self._exchanges.get(task)

    def _exchange(self, task: Task, call: Call) -> Exchange:
        exchange = self._exchanges.get(task)
        if exchange is None:
            exchange = self._exchanges[task] = Exchange(task, self._answers, call)
        return exchange

    def _look(self) -> None:
        for task in self._seen & self._quick.keys():
            self._exchange(task, self._quick.pop(task)).watch()
        self._seen = set(self._quick)
        again = bool(self._seen)
        self._timer = asyncio.get_running_loop().call_later(LONG, self._look) if again else None
