"""A login as a client and its user see it: the client's callback, where it sends the user, what the user does there."""

import asyncio
import contextlib
import hashlib
import secrets
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode

from aiohttp import web

from .browser import Page
from .conftest import LIMIT


@dataclass(frozen=True)
class Pkce:
    """PKCE of one client: what it keeps, and what it shows first."""

    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    @property
    def challenge(self) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return urlsafe_b64encode(digest).rstrip(b"=").decode()


@dataclass
class Callback:
    """A client's program on the user's machine: where it waits for the answer, and the answers."""

    uri: str
    heard: "asyncio.Queue[dict[str, str]]"

    async def answer(self) -> dict[str, str]:
        async with asyncio.timeout(LIMIT):
            return await self.heard.get()


@contextlib.asynccontextmanager
async def waiting() -> AsyncIterator[Callback]:
    heard: asyncio.Queue[dict[str, str]] = asyncio.Queue()

    async def take(request: web.Request) -> web.Response:
        heard.put_nowait(dict(parse_qsl(request.query_string)))
        return web.Response(text="Done. You can close this window.")

    app = web.Application()
    app.router.add_get("/callback", take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Callback(f"http://127.0.0.1:{runner.addresses[0][1]}/callback", heard)
    finally:
        await runner.cleanup()


def asking(mcp: str, client: str, redirect_uri: str, proof: Pkce, **more: str) -> str:
    """Where a client of the server at `mcp` sends its user."""
    asked = {
        "response_type": "code",
        "client_id": client,
        "redirect_uri": redirect_uri,
        "state": "what the client remembers",
        "code_challenge": proof.challenge,
        "code_challenge_method": "S256",
        "resource": mcp,
    }
    return f"{mcp.removesuffix('/mcp')}/oauth/authorize?{urlencode(asked | more)}"


async def allow(page: Page, user: str, password: str) -> None:
    await page.fill("[name=user]", user)
    await page.fill("[name=password]", password)
    await page.click("button[value=allow]")


def redeeming(mcp: str, client: str, redirect_uri: str, proof: Pkce, code: str) -> dict[str, str]:
    """The form with which it fetches its tokens."""
    return {
        "grant_type": "authorization_code",
        "client_id": client,
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": proof.verifier,
        "resource": mcp,
    }
