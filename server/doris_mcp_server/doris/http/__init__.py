"""The HTTP side of a cluster's frontends (port 8030): profiles, recent queries, metrics.

Only the configured frontends are ever talked to. Each request carries the Doris account of the caller it is made for,
so the frontend decides what may be seen. Nothing of HTTP is imported before the first request: most workers never
make one.
"""

import asyncio
import base64
import importlib
import re
import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from doris_mcp_server.doris.http.page import Absent, Frontend
from doris_mcp_server.doris.http.profiles import RecentQuery, plain_text, recent_queries
from doris_mcp_server.errors import (
    AnswerTooLarge,
    ConfigError,
    DorisError,
    DorisRefusedLogin,
    DorisUnavailable,
    InvalidArgument,
    QueryFailed,
)

if TYPE_CHECKING:
    from doris_mcp_server.doris.http.transport import Transport

MAX_REDIRECTS: Final = 2
CONNECT_TIMEOUT: Final = 2.0  # seconds
QUERY_ID: Final = r"^[0-9a-fA-F]{1,16}-[0-9a-fA-F]{1,16}$"


class FrontendHTTP:
    """The frontends of one cluster (host, HTTP port), asked in that order; each has `timeout` seconds for an answer.

    `frontends` is also the list of those a redirect may lead to. An answer of more than `max_bytes` is AnswerTooLarge.
    """

    def __init__(
        self,
        frontends: Sequence[tuple[str, int]],
        *,
        tls: ssl.SSLContext | None = None,
        timeout: float = 5.0,
        max_bytes: int = 4 << 20,
    ) -> None:
        self.frontends = tuple(Frontend(host.lower(), port) for host, port in frontends)
        self._tls = tls
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._transport: asyncio.Task[Transport] | None = None
        self._closing = False

    def account(self, user: str, password: str) -> "AccountHTTP":
        """These frontends as one Doris account sees them."""
        return AccountHTTP(self, user, password)

    async def get(self, frontend: Frontend, target: str, authorization: str | None = None) -> bytes:
        """The body of `target` (path and query, quoted) at a frontend, or where it may redirect. Raises DorisError."""
        transport = await self._opened()
        for _ in range(MAX_REDIRECTS + 1):
            answer = await transport.get(frontend, target, authorization)
            if answer.location is None:
                return frontend.body(answer.status, answer.body)
            frontend, target = self._allowed(answer.location, frontend)
        raise QueryFailed(f"{frontend} was reached by more than {MAX_REDIRECTS} redirects and redirects again")

    async def close(self) -> None:
        """Take no more requests and drop the connections."""
        self._closing = True
        if self._transport is not None:
            await (await self._transport).close()

    async def _opened(self) -> "Transport":
        if self._closing:
            raise DorisUnavailable("The server is shutting down")
        if self._transport is None:
            self._transport = asyncio.create_task(self._load())
        return await asyncio.shield(self._transport)

    async def _load(self) -> "Transport":
        module = await asyncio.to_thread(importlib.import_module, "doris_mcp_server.doris.http.transport")
        made: Transport = module.Transport(
            self._tls,
            connect_timeout=min(CONNECT_TIMEOUT, self._timeout),
            timeout=self._timeout,
            max_bytes=self._max_bytes,
        )
        return made

    def _allowed(self, location: str, frontend: Frontend) -> tuple[Frontend, str]:
        """Where a redirect leads, if it may. Doris puts the password into some of them: only the place is told."""
        ours = "https" if self._tls else "http"
        try:
            parts = urlsplit(location)
            scheme = parts.scheme or ours
            port = parts.port or (443 if scheme == "https" else 80)
            to = Frontend(parts.hostname, port) if parts.hostname else frontend
        except ValueError:
            raise QueryFailed(f"{frontend} redirects to something that is no address") from None
        if to not in self.frontends or scheme != ours:
            raise QueryFailed(
                f"{frontend} redirects to {scheme}://{to.host}:{to.port}, which is none of the configured frontends",
                hint="An operator can configure the frontends as they call themselves, and https if they want it.",
            )
        query = f"?{quote(parts.query, safe='=&%')}" if parts.query else ""
        return to, "/" + quote(parts.path.lstrip("/"), safe="/%") + query


class AccountHTTP:
    """What one Doris account sees of the frontends."""

    def __init__(self, http: FrontendHTTP, user: str, password: str) -> None:
        self._http = http
        self._user = user
        self._password = password

    async def profile(self, query_id: str) -> str:
        """The profile of a query as text. Every frontend is asked: it lives on the one that ran the query.

        Raises InvalidArgument, QueryFailed when no frontend has it or the account may not see it, other DorisError.
        """
        if not re.fullmatch(QUERY_ID, query_id):
            raise InvalidArgument("query_id must be two hexadecimal numbers with a dash between them")
        failed: DorisError | None = None
        for frontend in self._http.frontends:
            try:
                text = await self._profile_at(frontend, query_id)
            except (DorisRefusedLogin, AnswerTooLarge):
                raise
            except DorisError as error:
                failed = failed or error
                continue
            if text:
                return text
        raise failed or QueryFailed(
            f"No frontend has a profile of {query_id} that the account may see",
            hint="Doris keeps profiles only of recent queries that ran with enable_profile = true.",
        )

    async def queries(self) -> list[RecentQuery]:
        """Recent queries with a profile that the account may see, newest first. The frontend asked asks the others."""
        failed: DorisError | None = None
        for frontend in self._http.frontends:
            try:
                return recent_queries(await self._data(frontend, "/rest/v2/manager/query/query_info"))
            except DorisUnavailable as error:
                failed = failed or error
        raise failed or DorisUnavailable("No frontend is configured")

    async def metrics(self) -> dict[str, str | DorisError]:
        """Prometheus text of each frontend by `host:port`, or why there is none. Raises DorisRefusedLogin."""
        frontends = self._http.frontends
        answers = await asyncio.gather(*(self._metrics_of(frontend) for frontend in frontends))
        for answer in answers:
            if isinstance(answer, DorisRefusedLogin):
                raise answer
        return {f"{host}:{port}": answer for (host, port), answer in zip(frontends, answers, strict=True)}

    async def _profile_at(self, frontend: Frontend, query_id: str) -> str:
        """The profile as this frontend has or finds it, else "". One without that page has an older one."""
        try:
            data = await self._data(frontend, f"/rest/v2/manager/query/profile/text/{query_id}")
        except Absent:
            data = await self._data(frontend, f"/rest/v1/query_profile/{query_id}")
        text = data.get("profile") if isinstance(data, dict) else data
        return plain_text(text) if isinstance(text, str) else ""

    async def _metrics_of(self, frontend: Frontend) -> str | DorisError:
        try:
            body = await self._http.get(frontend, "/metrics", self._authorization())
            if body.startswith(b"{"):  # no metrics: an envelope, with the reason
                frontend.data(body)
            return body.decode("utf-8", "replace")
        except DorisError as error:
            return error

    async def _data(self, frontend: Frontend, path: str) -> Any:
        return frontend.data(await self._http.get(frontend, path, self._authorization()))

    def _authorization(self) -> str:
        if ":" in self._user:
            # Everything behind the first colon would be the password: another account than the caller's.
            raise ConfigError("a Doris account with a colon in its name cannot log in over HTTP")
        return "Basic " + base64.b64encode(f"{self._user}:{self._password}".encode()).decode("ascii")
