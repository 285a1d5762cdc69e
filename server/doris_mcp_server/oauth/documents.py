"""Clients that publish a document about themselves: their `client_id` is its address.

After draft-ietf-oauth-client-id-metadata-document, as MCP 2026-07-28 wants it (authorization/client-registration).
Whoever calls the login page chooses what is fetched, so only public addresses are asked, briefly, and for little.
"""

import asyncio
import hashlib
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

import orjson

from doris_mcp_server.oauth.clients import Client, described
from doris_mcp_server.oauth.messages import Refused
from doris_mcp_server.observe import event
from doris_mcp_server.state import Store

if TYPE_CHECKING:
    import httpx2

FAMILY: Final = "oauth-document:v1"
SIZE: Final = 8192  # bytes of a document
SECONDS: Final = 5.0  # for a whole fetch
AT_ONCE: Final = 4  # fetches of a worker
LONGEST: Final = 512  # characters of an address
KEPT: Final = (60.0, 300.0, 3600.0)  # seconds a document is kept: at least, where it does not say it, at most
FAILED: Final = 30.0  # seconds it is not asked for again
# Permits a second, and at once: for each who calls, and for the fleet. They bound what lies in the store, too.
_EACH: Final = (0.2, 10)
_ALL: Final = (2.0, 50)
_URL = re.compile(
    r"https://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::(?P<port>[0-9]{1,5}))?"
    r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]+(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?"
)
# What is_global lets through and leads, or may lead, back inside: protocol assignments, 6to4's relay, and 6to4.
_NOT_PUBLIC: Final = tuple(ip_network(net) for net in ("192.0.0.0/24", "192.88.99.0/24", "2002::/16", "3fff::/20"))
_UNICAST: Final = ip_network("2000::/3")  # all that is assigned of IPv6, so none of the ways to write an IPv4 in one

Resolve = Callable[[str, int], Awaitable[list[str]]]


class Page(NamedTuple):
    """What came back: the document, and for how many seconds it may be kept, None where it does not say."""

    body: bytes
    max_age: float | None


def is_address(client_id: str) -> bool:
    """Whether a `client_id` is meant to be the address of a document."""
    return client_id.startswith("https://")


def is_public(address: str) -> bool:
    """Whether an IP address is one that anybody on the internet could ask as well."""
    found: IPv4Address | IPv6Address = ip_address(address)
    if isinstance(found, IPv6Address) and (found.ipv4_mapped is not None or found not in _UNICAST):
        return False
    return found.is_global and not found.is_multicast and not any(found in net for net in _NOT_PUBLIC)


async def resolved(host: str, port: int) -> list[str]:
    """The IP addresses of a name. OSError where it has none."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Documents:
    """Fetches such documents and keeps what they say in the store. `context`, `resolve` and `admits` are for tests."""

    def __init__(
        self,
        store: Store,
        *,
        context: ssl.SSLContext | None = None,
        resolve: Resolve = resolved,
        admits: Callable[[str], bool] = is_public,
    ) -> None:
        self._store = store
        self._context = context
        self._resolve = resolve
        self._admits = admits
        self._room = asyncio.Semaphore(AT_ONCE)

    async def find(self, url: str, address: str) -> Client:
        """The client that describes itself there; `address` is who wants to know.

        Raises: Refused with the reason, StoreUnavailable.
        """
        parts = _URL.fullmatch(url) if len(url) <= LONGEST else None
        port = int(parts["port"] or 443) if parts is not None else 0
        if parts is None or not 0 < port < 1 << 16 or not {".", ".."}.isdisjoint(urlsplit(url).path.split("/")):
            raise _unusable("it must be an https address with a path, without user, fragment or dots for folders")
        name = f"{FAMILY}/{hashlib.sha256(url.encode()).hexdigest()}"
        if (kept := await self._store.get(name)) is not None:
            return _client(url, kept)
        await self._spend("fleet", *_ALL)
        await self._spend(address, *_EACH)
        kept, seconds = await self._describe(url, parts["host"], port)
        await self._store.put(name, kept, seconds)
        return _client(url, kept)

    async def _spend(self, who: str, rate: float, burst: int) -> None:
        given, wait = await self._store.spend(f"oauth-fetch:v1/{who}", 1, rate=rate, burst=burst)
        if not given:
            raise Refused("temporarily_unavailable", "too many new clients at once", status=429, after=wait)

    async def _describe(self, url: str, host: str, port: int) -> tuple[str, float]:
        """What the store keeps of the document, or of what is wrong with it, and for how many seconds."""
        import httpx2

        try:
            async with asyncio.timeout(SECONDS), self._room:
                page = await self._fetch(url, host, port)
            document = orjson.loads(page.body)
            client = described(document)
            if document.get("client_id") != url:
                raise ValueError("its client_id is another one")
            least, usual, most = KEPT
            seconds = usual if page.max_age is None else min(max(page.max_age, least), most)
            return orjson.dumps({"client": client}).decode(), seconds
        except Refused as refused:
            reason = refused.words
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, UnicodeError):
            reason = "it cannot be had"  # what exactly is nobody's business who chose the address
        except ValueError as error:
            reason = str(error)
        event("oauth: client document refused", host=host, reason=reason[:200])
        return orjson.dumps({"refused": reason[:200]}).decode(), FAILED

    async def _fetch(self, url: str, host: str, port: int) -> Page:
        """Raises ValueError in our words, OSError, HTTPError."""
        import httpx2

        addresses = await self._resolve(host, port)
        if not addresses or not all(self._admits(address) for address in addresses):
            raise ValueError("its host is not on the public internet")
        # Connected to the very address that was looked at: asked again, the name may lead elsewhere.
        pinned = httpx2.URL(url).copy_with(host=addresses[0])
        headers = {"host": host if port == 443 else f"{host}:{port}", "accept": "application/json"}
        if self._context is None:  # reads some hundred certificates
            self._context = await asyncio.to_thread(ssl.create_default_context)
        transport = httpx2.AsyncHTTPTransport(verify=self._context, trust_env=False)
        request = httpx2.Request(
            "GET",
            pinned,
            headers=headers | {"accept-encoding": "identity"},
            extensions={"sni_hostname": host, "timeout": {"connect": SECONDS, "read": SECONDS}},
        )
        async with transport:
            response = await transport.handle_async_request(request)
            try:
                return await _read(response)
            finally:
                await response.aclose()


async def _read(response: "httpx2.Response") -> Page:
    if response.status_code != 200:  # a redirect, too: the id is the address itself
        raise ValueError(f"status {response.status_code} instead of 200")
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise ValueError("it is not application/json")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise ValueError("it is compressed, which was not asked for")
    body = b""
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > SIZE:
            raise ValueError(f"it has more than {SIZE} bytes")
    return Page(body, _max_age(response.headers.get("cache-control", "")))


def _max_age(header: str) -> float | None:
    if "no-store" in header or "no-cache" in header:
        return 0.0
    found = re.search(r"\bmax-age=([0-9]{1,9})", header)
    return float(found[1]) if found else None


def _client(url: str, kept: str) -> Client:
    found = orjson.loads(kept)
    if "refused" in found:
        raise _unusable(found["refused"])
    name, uris = found["client"]
    return Client(url, name, tuple(uris), published=True)


def _unusable(reason: str) -> Refused:
    return Refused("invalid_client", f"the client's document cannot be used: {reason}")
