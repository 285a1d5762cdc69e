"""A real browser for tests: Debian's Chromium without a window, driven over its DevTools protocol.

What a person does is done as a person does it: keys and clicks reach the page through the browser's own input.
"""

import asyncio
import base64
import contextlib
import itertools
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from .conftest import LIMIT, end

_LISTENS = re.compile(rb"DevTools listening on (ws://\S+)")


class Page:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._session: str | None = None

    async def listen(self) -> None:
        async for message in self._socket:
            data = json.loads(message.data)
            if (waiting := self._answers.pop(data.get("id"), None)) is not None and not waiting.done():
                waiting.set_result(data)

    async def do(self, method: str, **params: Any) -> Any:
        """One command of the protocol; what it gives."""
        id = next(self._ids)
        answer = self._answers[id] = asyncio.get_running_loop().create_future()
        session = {"sessionId": self._session} if self._session else {}
        await self._socket.send_json({"id": id, "method": method, "params": params, **session})
        async with asyncio.timeout(LIMIT):
            data = await answer
        assert "error" not in data, f"{method}: {data}"
        return data["result"]

    async def open(self) -> None:
        target = (await self.do("Target.createTarget", url="about:blank"))["targetId"]
        self._session = (await self.do("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        await self.do("Page.enable")

    async def go(self, url: str) -> None:
        found = await self.do("Page.navigate", url=url)
        assert "errorText" not in found, found
        await self.until("document.readyState === 'complete'")

    async def read(self, script: str) -> Any:
        """The value of a JavaScript expression in the page; for looking only."""
        return (await self.do("Runtime.evaluate", expression=script, returnByValue=True))["result"].get("value")

    async def until(self, script: str) -> None:
        """Wait until an expression is true; the page may be another one by then."""
        async with asyncio.timeout(LIMIT):
            while not await self._holds(script):
                await asyncio.sleep(0.02)

    async def _holds(self, script: str) -> bool:
        with contextlib.suppress(AssertionError):  # between two pages there is nothing to ask
            return bool(await self.read(f"Boolean({script})"))
        return False

    async def click(self, selector: str) -> None:
        where = await self.read(
            f"(e => {{e.scrollIntoView({{block: 'center'}}); const b = e.getBoundingClientRect(); "
            f"return [b.x + b.width / 2, b.y + b.height / 2]}})(document.querySelector({json.dumps(selector)}))"
        )
        assert where, f"{selector} is not there: {await self.text()}"
        for kind in ("mousePressed", "mouseReleased"):
            await self.do("Input.dispatchMouseEvent", type=kind, x=where[0], y=where[1], button="left", clickCount=1)

    async def fill(self, selector: str, text: str) -> None:
        """Type into a field, over what is there."""
        await self.click(selector)
        await self.read(f"document.querySelector({json.dumps(selector)}).select()")
        await self.do("Input.insertText", text=text)

    async def press_enter(self) -> None:
        for kind in ("keyDown", "keyUp"):
            key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
            await self.do("Input.dispatchKeyEvent", type=kind, **key)

    async def text(self) -> str:
        return str(await self.read("document.body.innerText"))

    async def url(self) -> str:
        return str(await self.read("location.href"))

    async def named(self) -> list[tuple[str, str, str]]:
        """(role, name, description) of all that a screen reader tells of, in order."""
        nodes = (await self.do("Accessibility.getFullAXTree"))["nodes"]
        return [
            tuple(node.get(part, {}).get("value", "") for part in ("role", "name", "description"))
            for node in nodes
            if not node["ignored"]
        ]

    async def picture(self, file: Path) -> None:
        """The whole page as PNG."""
        shot = await self.do("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))


@contextlib.asynccontextmanager
async def browsing(directory: Path) -> AsyncIterator[Page]:
    """A browser of this test's own, with one tab, that trusts any certificate."""
    binary = shutil.which("chromium")
    assert binary, "no chromium here: make deps-chromium"
    process = await asyncio.create_subprocess_exec(
        *(binary, "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={directory / 'browser'}"),
        *("--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"),
        *("--ignore-certificate-errors", *(("--no-sandbox",) if os.geteuid() == 0 else ())),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    listening: list[asyncio.Task[Any]] = []
    try:
        async with asyncio.timeout(LIMIT):
            while not (found := _LISTENS.search(await process.stderr.readline())):
                assert process.returncode is None and not process.stderr.at_eof(), "chromium ended"
        listening.append(asyncio.create_task(process.stderr.read()))
        async with aiohttp.ClientSession() as http, http.ws_connect(found[1].decode(), max_msg_size=0) as socket:
            page = Page(socket)
            listening.append(asyncio.create_task(page.listen()))
            await page.open()
            yield page
    finally:
        await end(process)
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
