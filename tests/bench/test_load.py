"""The bench counts as right only what is right, whatever a server may answer."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from . import load
from .calls import ECHO, LIST, QUERY, Call, Target, listing
from .load import Outcome, connected
from .measure import measure
from .systems import Running

Message = dict[str, Any]
Handler = Callable[[Message, int], bytes | None]
FOURTH = 4  # the request that gets the bad answer; the answers before it taught the load what a right one looks like


def http(body: bytes, status: str = "200 OK", extra: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{extra}\r\n".encode() + body


def right(message: Message, **changes: Any) -> bytes:
    return http(json.dumps(answer(message, **changes)).encode())


def answer(message: Message, **changes: Any) -> Message:
    """The right answer to an `echo`, but for the changes to it or to its result."""
    structured = {"text": message["params"]["arguments"]["text"]}
    result = {"content": [{"type": "text", "text": json.dumps(structured)}], "structuredContent": structured}
    result |= changes.pop("result", {})
    return {"jsonrpc": "2.0", "id": message["id"], "result": result, **changes}


class Server:
    """Answers each request with what the handler makes of it and its place in the order; None cuts the connection."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept)]
        self._open: list[socket.socket] = []
        self.requests: list[bytes] = []
        self.connections = 0
        self.target = Target(self._listener.getsockname()[1], "token", {"modern": "/mcp", "legacy": "/mcp"})
        self._threads[0].start()

    def close(self) -> None:
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(sock)
            self._threads.append(threading.Thread(target=self._serve, args=(sock,)))
            self._threads[-1].start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, sock.makefile("rb") as reader:
            while head := self._head(reader):
                length = int(next(line for line in head if line.startswith(b"content-length")).split(b":")[1])
                message = json.loads(reader.read(length))
                with self._lock:
                    self.requests.append(b"".join(head))
                    number = len(self.requests)
                out = self._handler(message, number)
                if out is None:
                    return
                sock.sendall(out)
                if not out.startswith(b"HTTP/1.1 ") or b"connection: close" in out or b"cut" in out:
                    return

    @staticmethod
    def _head(reader: Any) -> list[bytes]:
        head = []
        with contextlib.suppress(ConnectionError):
            while (line := reader.readline()) not in (b"\r\n", b""):
                head.append(line)
        return head


@pytest.fixture
def serve() -> Iterator[Callable[[Handler], Server]]:
    servers: list[Server] = []

    def start(handler: Handler) -> Server:
        servers.append(Server(handler))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


Serve = Callable[[Handler], Server]


def run(server: Server, call: Call = ECHO, era: str = "modern", *, connections: int = 1, requests: int = 10) -> Outcome:
    with connected(server.target, call, era, connections) as asked:
        return asked.run(requests=requests)


def chunked(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    pieces = [body[:9], body[9:]]
    return head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def as_stream(message: Message) -> bytes:
    note = b'data: {"jsonrpc":"2.0","method":"notifications/message"}\n\n'
    return chunked(
        b"event: message\n" + note + b"event: message\ndata: " + json.dumps(answer(message)).encode() + b"\n\n"
    )


@pytest.mark.parametrize("reply", [right, as_stream], ids=["JSON", "stream"])
def test_right_answers_are_counted_and_the_connections_are_kept(
    serve: Serve, reply: Callable[[Message], bytes]
) -> None:
    server = serve(lambda message, _: reply(message))
    outcome = run(server, connections=3, requests=50)
    assert (outcome.ok, outcome.errors.total(), len(outcome.latencies)) == (50, 0, 50), outcome.errors
    assert (len(server.requests), server.connections) == (50, 3)


def no_result(message: Message) -> bytes:
    return http(json.dumps({"jsonrpc": "2.0", "id": message["id"]}).encode())


def twice(message: Message) -> bytes:
    return right(message) * 2


def bad_answers() -> list[Any]:
    """(what is counted, what the server does)"""
    return [
        pytest.param("wrong id", lambda message: right(message, id=message["id"] - 1), id="the id of another request"),
        pytest.param("wrong id", lambda message: right(message, id=str(message["id"])), id="the id as text"),
        pytest.param("wrong id", lambda message: right(message, id=None), id="no id"),
        pytest.param(
            "wrong result",
            lambda message: right(message, result={"structuredContent": {"text": "message 3000001"}}),
            id="somebody else's result",
        ),
        pytest.param(
            "wrong result",
            lambda message: right(message, result={"content": [{"type": "text", "text": "{}"}]}),
            id="text that says something else",
        ),
        pytest.param("wrong result", lambda message: right(message, result={"content": []}), id="no content"),
        pytest.param("isError", lambda message: right(message, result={"isError": True}), id="isError"),
        pytest.param(
            "JSON-RPC error -32603",
            lambda message: http(
                json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32603, "message": "oh"}}).encode()
            ),
            id="an error",
        ),
        pytest.param("no result", no_result, id="no result"),
        pytest.param("HTTP 500", lambda message: http(b"oh", "500 Internal Server Error"), id="500"),
        pytest.param("HTTP 503", lambda message: http(b"", "503 Service Unavailable"), id="503"),
        pytest.param(
            "HTTP 401",
            lambda message: http(json.dumps(answer(message)).encode(), "401 Unauthorized"),
            id="the right body under 401",
        ),
        pytest.param("unreadable JSON", lambda message: http(b'{"jsonrpc": "2.0", "id"'), id="half a JSON"),
        pytest.param("no JSON-RPC", lambda message: http(b"[]"), id="a batch"),
        pytest.param("connection cut", lambda message: None, id="cut instead of an answer"),
        pytest.param(
            "connection cut", lambda message: b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\ncut", id="cut half-way"
        ),
        pytest.param("unreadable: more bytes than one answer", twice, id="an answer given twice"),
        pytest.param("unreadable: no HTTP/1.1 status line", lambda message: b"oh\r\n\r\n", id="no HTTP"),
        pytest.param(
            "unreadable: neither a length nor chunks", lambda message: b"HTTP/1.1 200 OK\r\n\r\n{}", id="no length"
        ),
    ]


@pytest.mark.parametrize(("kind", "reply"), bad_answers())
def test_a_bad_answer_is_an_error_and_the_rest_goes_on(
    kind: str, reply: Callable[[Message], bytes | None], serve: Serve
) -> None:
    server = serve(lambda message, number: reply(message) if number == FOURTH else right(message))
    outcome = run(server)
    assert (outcome.ok, dict(outcome.errors)) == (9, {kind: 1})
    assert len(server.requests) == 10


def test_a_connection_closed_in_order_is_no_error(serve: Serve) -> None:
    server = serve(lambda message, _: http(json.dumps(answer(message)).encode(), extra="connection: close\r\n"))
    outcome = run(server)
    assert (outcome.ok, outcome.errors.total(), server.connections) == (10, 0, 10)


def test_an_answer_that_never_comes_is_an_error(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "PATIENCE", 0.2)
    silent = threading.Event()

    def handler(message: Message, number: int) -> bytes | None:
        if number == FOURTH:
            silent.wait(60)
            return None
        return right(message)

    outcome = run(serve(handler))
    silent.set()
    assert (outcome.ok, outcome.errors.total()) == (3, 1), outcome.errors
    assert "no answer" in next(iter(outcome.errors))


def test_a_server_that_is_gone_ends_the_run_with_errors(serve: Serve) -> None:
    server = serve(lambda message, _: None)
    with connected(server.target, ECHO, "modern", 2) as asked:
        server.close()
        outcome = asked.run(requests=10)
    assert outcome.ok == 0
    assert set(outcome.errors) == {"connection cut", "cannot connect"}


def test_a_list_must_stay_the_same(serve: Serve) -> None:
    def handler(message: Message, number: int) -> bytes:
        tools = [{"name": "a"}] if number != FOURTH else [{"name": "b"}]
        return http(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {"tools": tools}}).encode())

    outcome = run(serve(handler), listing({"tools": [{"name": "a"}]}))
    assert (outcome.ok, dict(outcome.errors)) == (9, {"wrong result": 1})
    assert not LIST.right({"tools": []}, "3000001")


@pytest.mark.parametrize("rows", [[[2]], [], [[1], [1]], None])
def test_a_query_must_give_its_one_row(rows: Any) -> None:
    def result(rows: Any) -> Message:
        found = {"rows": rows, "row_count": 1, "truncated": False, "elapsed_ms": 1.5}
        return {"structuredContent": found, "content": [{"type": "text", "text": json.dumps(found)}]}

    assert QUERY.right(result([[1]]), "3000001")
    assert not QUERY.right(result(rows), "3000001")


def test_the_legacy_era_begins_a_session_on_each_connection_and_keeps_to_it(serve: Serve) -> None:
    begun: list[str] = []

    def handler(message: Message, number: int) -> bytes:
        if message["method"] == "initialize":
            begun.append(f"session-{number}")
            result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {}}
            body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()
            return http(body, extra=f"mcp-session-id: {begun[-1]}\r\n")
        return http(b"", "202 Accepted") if "id" not in message else right(message)

    server = serve(handler)
    outcome = run(server, era="legacy", connections=2, requests=10)
    assert (outcome.ok, outcome.errors.total(), len(begun)) == (10, 0, 2)
    calls = [head for head in server.requests if b"mcp-session-id" in head]
    assert len(calls) == 12  # `initialized` and five calls on each
    assert {session for session in begun for head in calls if f"mcp-session-id: {session}\r\n".encode() in head} == set(
        begun
    )


class Idle(Running):
    """A system that costs nothing, in processes that this test invents."""

    def __init__(self, target: Target, log: Any, pids: list[set[int]]) -> None:
        self.target, self.log, self._pids = target, log, pids

    def cpu(self) -> dict[int, float]:
        return dict.fromkeys(self._pids.pop(0), 1.0)

    def memory(self) -> dict[str, float]:
        return {"rss_mb": 1.0, "pss_mb": 1.0, "worker_rss_mb": 1.0}


@pytest.mark.parametrize(("pids", "errors"), [([{1, 2}, {1, 2}], 0), ([{1, 2}, {1, 3}], 1)])
def test_a_worker_that_ends_meanwhile_is_an_error(
    pids: list[set[int]], errors: int, serve: Serve, tmp_path: Any
) -> None:
    server = serve(lambda message, _: right(message))
    sample = measure(Idle(server.target, tmp_path / "log", pids), ECHO, "modern", 2, requests=10)
    assert sample.values["errors"] == errors, sample.errors


def test_errors_of_the_warm_up_count_and_a_server_that_cannot_begin_is_an_error(serve: Serve, tmp_path: Any) -> None:
    server = serve(lambda message, number: right(message) if number > 1 else http(b"", "502 Bad Gateway"))
    pids = [{1}, {1}]
    sample = measure(Idle(server.target, tmp_path / "log", pids), ECHO, "modern", 2, requests=10)
    assert dict(sample.errors) == {"HTTP 502": 1}
    server.close()
    sample = measure(Idle(server.target, tmp_path / "log", pids), ECHO, "modern", 2, requests=10)
    assert sample.values["errors"] == 1
