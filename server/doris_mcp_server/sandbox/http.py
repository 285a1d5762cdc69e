"""The HTTP side of the demo engine: the pages of a Doris frontend that tell about queries and health, GET only.

Paths, envelopes and the order of values are those of the frontend: QueryProfileAction, QueryProfileController,
ProfileAction, BootstrapFinishAction, HealthAction and MetricsAction.
"""

import asyncio
import base64
import contextlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

from doris_mcp_server.sandbox.accounts import Account
from doris_mcp_server.sandbox.engine import Engine
from doris_mcp_server.sandbox.history import Ran
from doris_mcp_server.sandbox.versions import DEMO

_SECONDS: Final = 10.0  # that a client may take for its request, and for taking the answer
_TIME: Final = "%Y-%m-%d %H:%M:%S"
_RATE_SECONDS: Final = 15  # over which a frontend counts its queries per second
# The frontend's own names; since 2.0 its rows come in another order and with more values than they say.
_NAMES: Final = [
    "Query ID",
    "FE节点",
    "查询用户",
    "执行数据库",
    "Sql",
    "查询类型",
    "开始时间",
    "结束时间",
    "执行时长",
    "状态",
]


@dataclass(frozen=True, slots=True)
class Running:
    """A statement under way, told as a `history.Ran` is."""

    query_id: str
    user: str
    database: str
    statement: str
    started: datetime
    state: str = "RUNNING"
    milliseconds: int | None = None

    @property
    def profile_text(self) -> str:
        values = {
            "Profile ID": self.query_id,
            "Task Type": "QUERY",
            "Start Time": f"{self.started:{_TIME}}",
            "End Time": "N/A",
            "Total": "N/A",
            "Task State": self.state,
            "User": self.user,
            "Default Db": self.database,
            "Sql Statement": self.statement,
            "Doris Version": DEMO,
        }
        return "Summary:\n" + "".join(f"   - {name}: {value}\n" for name, value in values.items())


Statement = Running | Ran


class Reply(NamedTuple):
    """One answer."""

    status: HTTPStatus
    kind: str
    body: bytes


class Site:
    """The listening side. `port` is where, once it does."""

    def __init__(self, engine: Engine, accounts: Mapping[str, Account]) -> None:
        self.port = 0
        self._engine = engine
        self._accounts = accounts
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def listen(self, host: str, port: int) -> None:
        """Raises OSError when the address cannot be had."""
        self._server = await asyncio.start_server(self._accept, host, port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server:
            self._server.close()
        for client in tuple(self._clients):
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    def answer(self, target: str, authorization: str) -> Reply:
        """The page at `target`, for who may see it."""
        parts = urlsplit(target)
        for pattern, page in _PUBLIC:
            if pattern.fullmatch(parts.path):
                return page(self)
        for pattern, page_of in _PAGES:
            if found := pattern.fullmatch(parts.path):
                account = self._admitted(authorization)
                if account is None:
                    return _envelope("Access denied", 401, "Unauthorized")
                id = found.groupdict().get("id") or parse_qs(parts.query).get("query_id", [""])[0]
                return page_of(self, self._seen_by(account), id)
        return Reply(HTTPStatus.NOT_FOUND, "text/plain", b"")

    def _admitted(self, authorization: str) -> Account | None:
        scheme, _, encoded = authorization.partition(" ")
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:
            return None
        account = self._accounts.get(user)
        good = account is not None and hmac.compare_digest(password.encode(), account.password.encode())
        return account if good and scheme.lower() == "basic" else None

    def _statements(self) -> list[Statement]:
        """All there are to tell of, newest first."""
        running = [
            Running(
                s.running.query_id, s.names.account.name, s.place.database or "", s.running.statement, s.running.started
            )
            for s in self._engine.sessions.values()
            if s.running.statement
        ]
        return [*sorted(running, key=lambda each: each.started, reverse=True), *self._engine.history.recent()]

    def _seen_by(self, account: Account) -> list[Statement]:
        return [each for each in self._statements() if account.is_admin or each.user == account.name]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._clients.add(client)
        client.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request and its answer; the connection ends with it."""
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                async with asyncio.timeout(_SECONDS):
                    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                    reply = self._reply(head.split("\r\n"))
                    writer.write(_head(reply) + reply.body)
                    await writer.drain()
        finally:
            writer.close()

    def _reply(self, lines: list[str]) -> Reply:
        request = lines[0].split(" ")
        if len(request) != 3 or not request[2].startswith("HTTP/1."):
            return Reply(HTTPStatus.BAD_REQUEST, "text/plain", b"")
        if request[0] != "GET":
            return Reply(HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", b"")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        try:
            return self.answer(request[1], headers.get("authorization", ""))
        except ValueError:  # a target that is none
            return Reply(HTTPStatus.BAD_REQUEST, "text/plain", b"")

    # --- the pages

    def _query_info(self, seen: list[Statement], id: str) -> Reply:
        rows = [self._row(ran) for ran in seen if id in ("", ran.query_id)]
        return _envelope({"column_names": _NAMES, "rows": rows})

    def _row(self, ran: Statement) -> list[str]:
        ended = _end(ran)
        times = [f"{ran.started:{_TIME}}", f"{ended:{_TIME}}" if ended else "N/A", _duration(ran.milliseconds)]
        where = ["internal", ran.database, ran.statement]
        return [ran.query_id, f"127.0.0.1:{self.port}", "QUERY", *times, ran.state, ran.user, *where, "N/A", "N/A"]

    def _profile(self, seen: list[Statement], id: str) -> Reply:
        ran = _found(seen, id)
        return _envelope({"profile": ran.profile_text} if ran else {})

    def _marked_profile(self, seen: list[Statement], id: str) -> Reply:
        ran = _found(seen, id)
        if ran is None:
            return _envelope(f"ID {id} does not exist", 1, "Error")
        return _envelope(ran.profile_text.replace("\n", "</br>").replace(" ", "&nbsp;&nbsp;"))

    def _plain_profile(self, seen: list[Statement], id: str) -> Reply:
        ran = _found(seen, id)
        text = ran.profile_text if ran else f"query id {id} not found"
        return Reply(HTTPStatus.OK, "text/plain", text.encode())

    def _bootstrap(self) -> Reply:
        # Without the cluster's token a frontend tells no more than that it is up.
        return _envelope({"replayedJournalId": 0, "queryPort": 0, "rpcPort": 0, "version": ""})

    def _health(self) -> Reply:
        return _envelope({"online_backend_num": 1, "total_backend_num": 1})

    def _metrics(self) -> Reply:
        ran = self._statements()
        took = sorted(each.milliseconds for each in ran if each.milliseconds is not None)
        since = datetime.now(UTC) - timedelta(seconds=_RATE_SECONDS)
        samples = {
            "doris_fe_qps": sum(each.started > since for each in ran) / _RATE_SECONDS,
            "doris_fe_connection_total": len(self._engine.sessions),
            "doris_fe_query_total": len(ran),
            "doris_fe_query_err": sum(each.state == "ERR" for each in ran),
            'doris_fe_query_latency_ms{quantile="0.99"}': took[len(took) * 99 // 100] if took else 0,
            'node_info{type="fe_node_num", state="total"}': 1,
            'node_info{type="be_node_num", state="total"}': 1,
            'node_info{type="be_node_num", state="alive"}': 1,
        }
        text = "".join(f"{name} {value}\n" for name, value in samples.items())
        return Reply(HTTPStatus.OK, "text/plain", text.encode())


_ID: Final = r"(?P<id>[\w-]+)"
_PUBLIC: tuple[tuple[re.Pattern[str], Callable[[Site], Reply]], ...] = (
    (re.compile("/api/bootstrap"), Site._bootstrap),
    (re.compile("/api/health"), Site._health),
    (re.compile("/metrics"), Site._metrics),
)
_PAGES: tuple[tuple[re.Pattern[str], Callable[[Site, list[Statement], str], Reply]], ...] = (
    (re.compile("/rest/v2/manager/query/query_info"), Site._query_info),
    (re.compile(f"/rest/v2/manager/query/profile/text/{_ID}"), Site._profile),
    (re.compile(f"/rest/v1/query_profile/{_ID}"), Site._marked_profile),
    (re.compile("/api/profile/text"), Site._plain_profile),
)


def _found(seen: list[Statement], id: str) -> Statement | None:
    return next((each for each in seen if each.query_id == id), None)


def _envelope(data: Any, code: int = 0, msg: str = "success") -> Reply:
    envelope = {"msg": msg, "code": code, "data": data, "count": 0}
    return Reply(HTTPStatus.OK, "application/json", json.dumps(envelope, ensure_ascii=False).encode())


def _head(reply: Reply) -> bytes:
    lines = (
        f"HTTP/1.1 {reply.status.value} {reply.status.phrase}",
        f"Content-Type: {reply.kind};charset=utf-8",
        f"Content-Length: {len(reply.body)}",
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode()


def _end(ran: Statement) -> datetime | None:
    return None if ran.milliseconds is None else ran.started + timedelta(milliseconds=ran.milliseconds)


def _duration(milliseconds: int | None) -> str:
    """As Doris writes it: 109ms, 1sec20ms; N/A while it runs."""
    if milliseconds is None:
        return "N/A"
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds}sec{rest}ms" if seconds else f"{rest}ms"
