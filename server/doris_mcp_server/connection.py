"""uvicorn's side of one client connection, with what it leaves out. A leaf."""

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle


class Connection(HttpToolsProtocol):
    """Tells the request that is being served when the connection is lost.

    uvicorn tells only the newest one. With a second request sent behind it, the one that runs would never hear that
    its client is gone, go on to its end and answer a closed connection.
    """

    _served: RequestResponseCycle | None = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        served = self._served
        if served is not None and not served.response_complete:
            served.disconnected = True
            served.message_event.set()
        super().connection_lost(exc)
