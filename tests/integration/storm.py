"""A storm of callers who change their minds: most calls are given up at a random moment, every answer is checked."""

import asyncio
import contextlib
import json
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from doris_mcp_server.answers import CANCELLED, OVERLOADED

from .wire import LEGACY, META, Answer, Connection, modern, post, rpc

_ROWS = f"(SELECT 1 AS n{' UNION ALL SELECT 1' * 9})"
_PRODUCT = ", ".join(f"{_ROWS} AS t{number}" for number in range(14))
ENDLESS: Final = {
    "sandbox": "sleep(60), sleep(60)",
    # MariaDB looks for its client every five seconds while it sleeps; while it counts, only KILL stops it.
    "mariadb": f"(SELECT count(*) FROM {_PRODUCT}) AS counted",
}
"""Takes longer than any test waits, by database: what still runs this was forgotten."""
TOO_LARGE: Final = "repeat('{nonce}', 150000) AS large"
"""More than a socket takes in whose other end does not read."""
MOST: Final = 1 << 23  # bytes of a result that must be allowed for it
_HELLO = '"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"storm","version":"1"}'
_FATES = {  # what becomes of a call, and of how many in a hundred
    "finish": 9,
    "pair": 4,  # two requests in one write
    "dribble": 4,  # the second half of the body comes late
    "leave": 23,
    "reset": 23,
    "half": 9,  # gone with half of the body sent
    "word": 20,  # notifications/cancelled over another connection
    "word and leave": 7,
    "deaf": 1,  # reads nothing of a large answer while the next call is under way, then hears both or leaves
}
_FINISHING = ("finish", "pair", "dribble")


@dataclass(frozen=True)
class Call:
    """One execute_query, its nonce in the statement and its id in the envelope."""

    id: int | str
    nonce: str
    sql: str
    seconds: float  # it takes at least
    session: str | None  # None: a call of 2026-07-28; "": of the handshake era, without a session
    odd: bool  # something the lean path leaves to the SDK
    progress: bool

    def request(self) -> tuple[bytes, bytes]:
        """Head and body."""
        modern_era = self.session is None
        params: dict[str, Any] = {"name": "execute_query", "arguments": {"sql": self.sql}}
        if modern_era or self.progress:
            params["_meta"] = (META if modern_era else {}) | ({"progressToken": self.nonce} if self.progress else {})
        if self.odd:
            params["requestState" if modern_era else "task"] = None
        headers = modern("tools/call", "execute_query") if modern_era else LEGACY
        if self.session:
            headers = headers | {"Mcp-Session-Id": self.session}
        message = {"jsonrpc": "2.0", "id": self.id, "method": "tools/call", "params": params}
        body = json.dumps(message).encode()
        return post(body, headers)[: -len(body)], body

    def verdict(self, answer: Answer | None) -> str:
        """`ok`, `overloaded` or `cancelled` where that is the answer to this call, else what is wrong with it."""
        if answer is None:
            return "no answer"
        if answer.status not in (200, 429):
            return f"HTTP {answer.status}: {answer.body[:300]!r}"
        message = answer.message()
        if message.get("id") != self.id:
            return f"the answer to {message.get('id')!r}"
        if error := message.get("error"):
            said = {(200, CANCELLED): "cancelled", (429, OVERLOADED): "overloaded"}
            return said.get((answer.status, error["code"]), f"HTTP {answer.status}: {error}")
        result = message["result"]
        if result.get("isError"):
            problem = json.loads(result["content"][0]["text"])["error"]
            return "overloaded" if problem["kind"] == "overloaded" else f"tool error {problem}"
        rows = result["structuredContent"]["rows"]
        fits = len(rows) == 1 and rows[0][0] == self.nonce and rows == json.loads(result["content"][0]["text"])["rows"]
        return "ok" if fits else f"somebody else's rows: {str(rows)[:300]}"


@dataclass
class Storm:
    """`seen` counts calls by what became of them; `wrong` says what must not have been."""

    port: int
    seed: int
    endless: str
    long_at_once: int  # long calls: with more, most calls would be given up while they wait for a connection
    long_calls: int = 0
    clients: int = 0  # so far
    given_up: int = 0  # calls of which no answer came before they were
    seen: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    under_way: dict[int | str, None] = field(default_factory=dict)  # the ids of calls nobody may give up

    async def blow(self, calls: int, clients: int) -> None:
        """Go on with so many clients until so many calls, of all, were given up."""
        first, self.clients = self.clients, self.clients + clients
        async with asyncio.TaskGroup() as group:
            for number in range(first, self.clients):
                group.create_task(Client(self, number).run(lambda: self.given_up < calls and not self.wrong))


class Line:
    """A connection that is opened when it is needed."""

    def __init__(self, to: int, *, narrow: bool = False) -> None:
        self._to = to
        self._narrow = narrow  # takes in next to nothing that is not read
        self._writer: asyncio.StreamWriter | None = None
        self._connection: Connection | None = None

    @property
    def port(self) -> int:
        """Ours, of the connection that is open."""
        assert self._writer is not None
        port: int = self._writer.get_extra_info("sockname")[1]
        return port

    async def open(self) -> Connection:
        if self._connection is None:
            sock = socket.socket()
            sock.setblocking(False)
            if self._narrow:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self._to))
            reader, self._writer = await asyncio.open_connection(sock=sock, limit=4096 if self._narrow else 1 << 16)
            self._connection = Connection(reader, self._writer)
        return self._connection

    async def drop(self, *, reset: bool = False) -> None:
        """Close, or have the kernel reset it."""
        writer, self._writer, self._connection = self._writer, None, None
        if writer is None:
            return
        if reset:
            sock: socket.socket = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


class Client:
    """One caller: a connection for its calls and one to say that it wants no answer."""

    def __init__(self, storm: Storm, number: int) -> None:
        self._storm = storm
        self._number = number
        self._dice = random.Random(f"{storm.seed}/{number}")
        self._calls = Line(storm.port)
        self._words = Line(storm.port)
        self._session = ""
        self._made = 0

    async def run(self, going_on: Callable[[], bool]) -> None:
        try:
            self._session = await self._begin()
            while going_on():
                fate = self._dice.choices(list(_FATES), list(_FATES.values()))[0]
                await self._act(fate)
            await self._act("finish")  # an answer too many on this connection would be taken for this one's
        finally:
            await self._calls.drop()
            await self._words.drop()

    # -- what a call is --------------------------------------------------------------------------------------

    def _make(self, fate: str) -> Call:
        dice = self._dice
        kind = dice.random()
        era = "session" if fate.startswith("word") else dice.choices(["modern", "session", "bare"], [45, 45, 10])[0]
        if kind < 0.02:
            return self._call("repeat('{nonce}', 20000) AS large", 0.0, era)
        if kind < 0.3 and self._storm.long_calls < self._storm.long_at_once:
            if kind < 0.15 and fate in ("leave", "reset", "word and leave"):
                return self._call(self._storm.endless, 120.0, era)
            seconds = round(0.05 * 40 ** dice.random() ** 3, 3)  # up to 2 s, half of them within 0.08
            return self._call(f"sleep({seconds}) AS slept", seconds, era)
        return self._call("1 AS one", 0.0, era)

    def _call(self, column: str, seconds: float, era: str, *, progress: bool = False) -> Call:
        dice = self._dice
        self._made += 1
        nonce = f"{self._number}-{self._made}-{dice.randrange(1 << 32):08x}"
        return Call(
            id=nonce if dice.random() < 0.5 else self._number * 1_000_000 + self._made,
            nonce=nonce,
            sql=f"SELECT '{nonce}' AS nonce, {column.format(nonce=nonce)}",
            seconds=seconds,
            session={"modern": None, "session": self._session, "bare": ""}[era],
            odd=dice.random() < 0.08,
            progress=progress or dice.random() < 0.3,
        )

    def _moment(self, call: Call) -> float:
        """Seconds from the request to the change of mind."""
        moments = [0.05, 0.1, 0.2] if call.seconds else [0.0, 0.003, 0.01, 0.03, 0.1]
        most = self._dice.choice(moments)
        return self._dice.uniform(0, most)

    # -- what becomes of it ----------------------------------------------------------------------------------

    async def _act(self, fate: str) -> None:
        if fate == "deaf":
            await self._be_deaf()
            return
        call = self._make(fate)
        self._storm.long_calls += call.seconds > 0
        if fate in _FINISHING:
            await self._finish(fate, call)
        elif fate == "half":
            await self._half(call)
        else:
            await self._give_up(fate, call)
        self._storm.long_calls -= call.seconds > 0

    async def _finish(self, fate: str, call: Call) -> None:
        connection = await self._calls.open()
        calls = [call]
        head, body = call.request()
        if fate == "dribble":
            middle = self._dice.randrange(len(body))
            connection.send(head + body[:middle])
            await asyncio.sleep(self._dice.uniform(0, 0.05))
            connection.send(body[middle:])
        elif fate == "pair":
            calls.append(self._make(fate))
            connection.send(head + body + b"".join(calls[1].request()))
        else:
            connection.send(head + body)
        for each in calls:
            self._storm.under_way[each.id] = None
        if self._dice.random() < 0.2:
            await self._foreign_word()
        for each in calls:
            verdict = await self._hear(connection, each)
            del self._storm.under_way[each.id]
            self._note(fate, each, verdict, ("ok", "overloaded"))

    async def _be_deaf(self) -> None:
        large = self._call(TOO_LARGE, 0.0, "modern")
        seconds = self._dice.choice([0.0, 0.1, 1.3])  # a sign of life comes after one
        call = self._call(f"sleep({seconds}) AS slept", seconds, "modern", progress=True)
        line = Line(self._storm.port, narrow=True)
        connection = await line.open()
        connection.send(b"".join(large.request() + call.request()))
        await asyncio.sleep(self._dice.uniform(0, 2 * seconds + 0.1))
        if self._dice.random() < 0.5:
            for each in (large, call):
                self._note("deaf", each, await self._hear(connection, each), ("ok", "overloaded"))
            await line.drop()
        else:
            await line.drop(reset=self._dice.random() < 0.5)
            self._count("deaf", "given up")

    async def _half(self, call: Call) -> None:
        connection = await self._calls.open()
        head, body = call.request()
        connection.send(head + body[: self._dice.randrange(len(body))])
        if self._dice.random() < 0.5:
            await asyncio.sleep(self._dice.uniform(0, 0.02))
        await self._calls.drop(reset=self._dice.random() < 0.5)
        self._count("half", "given up")

    async def _give_up(self, fate: str, call: Call) -> None:
        connection = await self._calls.open()
        connection.send(b"".join(call.request()))
        reading = asyncio.create_task(self._hear(connection, call))
        await asyncio.wait({reading}, timeout=self._moment(call))
        if reading.done():
            self._note(fate, call, reading.result(), ("ok", "overloaded"), "too late: ")
            return
        if fate.startswith("word"):
            await self._say(self._session, call.id)
        if fate == "word":
            self._note(fate, call, await reading, ("ok", "overloaded", "cancelled"))
            return
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await self._calls.drop(reset=fate == "reset")
        self._count(fate, "given up")

    def _note(self, fate: str, call: Call, verdict: str, right: tuple[str, ...], what: str = "") -> None:
        if verdict in right:
            self._count(fate, what + verdict)
        else:
            self._storm.wrong.append(f"{fate} {call.id} ({call.sql[:80]}): {what}{verdict}")

    def _count(self, fate: str, what: str) -> None:
        self._storm.seen[f"{fate}: {what}"] += 1
        self._storm.given_up += what in ("given up", "cancelled")

    # -- how it is said --------------------------------------------------------------------------------------

    @staticmethod
    async def _hear(connection: Connection, call: Call) -> str:
        try:
            return call.verdict(await connection.answer())
        except (OSError, EOFError, ValueError, AssertionError) as error:
            return f"no whole answer: {error!r}"

    async def _begin(self) -> str:
        connection = await self._words.open()
        connection.send(post(rpc("initialize", _HELLO, era="handshake"), LEGACY))
        answer = await connection.answer()
        assert answer is not None and answer.status == 200, answer
        return answer.headers["mcp-session-id"]

    async def _say(self, session: str, id: int | str) -> None:
        """That `id` is not wanted any more."""
        connection = await self._words.open()
        body = rpc("notifications/cancelled", f'"requestId":{json.dumps(id)}', id=None, era="handshake")
        connection.send(post(body, LEGACY | {"Mcp-Session-Id": session}))
        answer = await connection.answer()
        if answer is None or answer.status != 202:
            self._storm.wrong.append(f"a word was answered {answer}")

    async def _foreign_word(self) -> None:
        """Give up somebody else's call: nobody may."""
        if others := [id for id in self._storm.under_way if not self._is_mine(id)]:
            await self._say(self._session, self._dice.choice(others))

    def _is_mine(self, id: int | str) -> bool:
        number = id // 1_000_000 if isinstance(id, int) else int(id.split("-")[0])
        return number == self._number
