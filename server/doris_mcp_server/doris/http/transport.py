"""One GET over HTTP to one frontend, bounded in time and bytes. The package loads this when a frontend is first asked.

Stands on the library's transport, not on its client: so there are no cookies (a frontend's cookie is a login, and one
caller's would go out with the next one's request), no redirects, no proxies and no .netrc, whatever the environment.
"""

import asyncio
import contextlib
import logging
import ssl
from dataclasses import dataclass

import httpx2

from doris_mcp_server.doris.http.page import Frontend
from doris_mcp_server.errors import AnswerTooLarge, DorisUnavailable, QueryFailed

# Its debug lines quote the headers of answers, among them cookies and redirects with a password in them.
logging.getLogger("httpcore2").setLevel(logging.INFO)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `location` is where a redirect points, None if it is none."""

    status: int
    location: str | None
    body: bytes


class Transport:
    """Pooled connections to the frontends of one cluster. `tls`: speak https and trust what this context trusts."""

    def __init__(self, tls: ssl.SSLContext | None, *, connect_timeout: float, timeout: float, max_bytes: int) -> None:
        self._scheme = "https" if tls else "http"
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._phases = {"connect": connect_timeout, "read": timeout, "write": timeout, "pool": timeout}
        # Without TLS the context is never used; an empty one spares the memory of a set of root certificates.
        context = tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        limits = httpx2.Limits(max_connections=32, max_keepalive_connections=4, keepalive_expiry=5)
        self._pool = httpx2.AsyncHTTPTransport(verify=context, trust_env=False, limits=limits)

    async def get(self, frontend: Frontend, target: str, authorization: str | None) -> Answer:
        """GET `target` (path and query, quoted). Raises DorisUnavailable, AnswerTooLarge or QueryFailed."""
        url = httpx2.URL(scheme=self._scheme, host=frontend.host, port=frontend.port, raw_path=target.encode("ascii"))
        headers = {"accept-encoding": "identity"}  # the size of what is compressed could not be bounded
        if authorization:
            headers["authorization"] = authorization
        request = httpx2.Request("GET", url, headers=headers, extensions={"timeout": self._phases})
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._pool.handle_async_request(request)
                async with contextlib.aclosing(response):
                    return Answer(response.status_code, _location(response), await self._body(response, frontend))
        except (TimeoutError, httpx2.TimeoutException):
            raise DorisUnavailable(f"{frontend} did not answer in time (at most {self._timeout:g} s)") from None
        except httpx2.TransportError as error:
            words = str(error) or type(error).__name__
            raise DorisUnavailable(f"{frontend} cannot be read: {words}") from None

    async def close(self) -> None:
        await self._pool.aclose()

    async def _body(self, response: httpx2.Response, frontend: Frontend) -> bytes:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise QueryFailed(f"{frontend} answered compressed, which was not asked for")
        body = bytearray()
        async for chunk in response.aiter_raw():
            if len(body) + len(chunk) > self._max_bytes:
                raise AnswerTooLarge(
                    f"{frontend} answered with more than {self._max_bytes} bytes",
                    hint="An operator can raise DORIS_MCP_FE_HTTP_MAX_BYTES.",
                )
            body += chunk
        return bytes(body)


def _location(response: httpx2.Response) -> str | None:
    return response.headers.get("location") if 300 <= response.status_code < 400 else None
