"""One client on stdin and stdout: served until stdin ends or a signal comes, then closed at once."""

import asyncio
import logging
import os
import signal
from typing import NoReturn

from doris_mcp_server.app import App
from doris_mcp_server.config import Settings
from doris_mcp_server.observe import flush_logs


def serve(settings: Settings) -> NoReturn:
    """Ends the process. Exit code: 0, or 1 after an error."""
    asyncio.run(_serve(settings))
    raise AssertionError("unreachable")


async def _serve(settings: Settings) -> NoReturn:
    app = App(settings)
    stop = asyncio.Event()
    for sig in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sig, stop.set)
    await app.start()
    watching = asyncio.create_task(app.watch())
    serving = asyncio.create_task(_talk(app))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait([serving, stopped], return_when=asyncio.FIRST_COMPLETED)
    error = serving.exception() if serving.done() else None
    if error is not None:
        logging.getLogger("doris_mcp").error("stdio failed", exc_info=error)
    watching.cancel()
    app.protocol.end_calls()  # nobody waits for them any more
    await app.close()
    flush_logs()
    # A thread reads stdin and cannot be interrupted: an ordinary end would wait for the client to say something.
    os._exit(1 if error else 0)


async def _talk(app: App) -> None:
    await (await app.protocol.sdk()).serve_stdio()
