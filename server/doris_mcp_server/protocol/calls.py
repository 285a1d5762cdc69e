"""Running a tool: arguments checked, handler run, outcome counted and logged. Both ways into a tool end here."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
from pydantic import ValidationError

from doris_mcp_server.auth import SMOKE, Principal
from doris_mcp_server.auth.permits import Permits
from doris_mcp_server.auth.seats import Seats
from doris_mcp_server.clusters import Caller
from doris_mcp_server.errors import DorisRefusedLogin, InvalidArgument, Overloaded, ServerError, ShuttingDown
from doris_mcp_server.observe import Metrics, RepeatedEvent, event
from doris_mcp_server.protocol.admission import Admission
from doris_mcp_server.protocol.exchange import Task, this_task
from doris_mcp_server.protocol.request import Request
from doris_mcp_server.tools import Context, Tool

KEPT = 10_000  # things made once for a caller; beyond that they are all made again

PRINCIPAL = "doris_mcp.principal"
"""Where the verified caller stands in an ASGI scope that goes to the SDK."""

_SHUTTING_DOWN = ShuttingDown("The server is shutting down and stopped this call", hint="Send it again.")


def may(principal: Principal, tool: Tool) -> bool:
    """Whether this caller may see and call this tool: the one predicate behind both."""
    return tool.scope in principal.scopes


MakeContext = Callable[[Caller, str | None], Context]
"""Makes what a handler works with, from the caller and a cluster's name. May raise ServerError: no call runs then."""


class Calls:
    """Runs tools. What `context` makes for a caller is kept."""

    def __init__(
        self,
        context: MakeContext,
        admission: Admission,
        metrics: Metrics,
        permits: Permits,
        seats: Seats,
        refused: Callable[[Principal], None] | None = None,
    ) -> None:
        """`refused` is told of a caller with a login of his own (OAuth) whose account Doris did not let in."""
        self._permits = permits
        self._seats = seats
        self._make_context = context
        self._refused = refused
        self._admission = admission
        self._contexts: dict[tuple[Caller, str | None], Context] = {}
        self._lines: dict[tuple[str, str, str], RepeatedEvent] = {}
        self._metrics = metrics
        self._running: set[Task] = set()
        self._given_up: set[Task] = set()
        self._ended = False

    @property
    def limited(self) -> bool:
        return self._permits.on or self._seats.on

    @contextlib.asynccontextmanager
    async def permitted(self, tool: Tool, request: Request) -> AsyncIterator[None]:
        """Around a call. Raises: Overloaded where there are more, or more at once, than there may be."""
        name = request.principal.name
        if name == SMOKE:
            yield
            return
        async with self._seats.taken(("tool", tool.name), ("principal", name), ("address", request.address)):
            await self._permits.spend("tool", tool.name)
            yield

    def use(self, context: MakeContext) -> None:
        """Make what calls work with in this way from now on. Those that run go on with what they have."""
        self._make_context = context
        self._contexts.clear()

    def end(self) -> None:
        """Stop what runs, and let nothing begin: each call is answered with an error that says to send it again."""
        self._ended = True
        self._given_up |= self._running
        for task in self._running:
            task.cancel()

    async def run(self, tool: Tool, arguments: dict[str, Any], principal: Principal) -> tuple[bytes, bool]:
        """Run `tool`: what it gave, as JSON, and whether that is an error the model can act on.

        Whatever goes wrong becomes such an error. Only a cancellation gets through, and Overloaded: that is no answer
        to the call, but the word to send it later.
        """
        started = time.perf_counter()
        outcome = "cancelled"
        name = principal.name
        task = this_task()
        self._running.add(task)
        try:
            if self._ended:
                raise _SHUTTING_DOWN
            asked = tool.validate(arguments)
            if not self._admission.take(name):
                await self._admission.wait(name)
            try:
                answer = await tool.handler(self._context(principal.caller, tool.cluster(asked)), asked)
            finally:
                self._admission.leave(name)
            text = orjson.dumps(answer if isinstance(answer, dict) else answer.model_dump(mode="json"))
            outcome = "ok"
            return text, False
        except Overloaded:
            outcome = "overloaded"
            raise
        except asyncio.CancelledError:
            if task not in self._given_up:
                raise
            task.uncancel()
            outcome = "given up"
            return failure(_SHUTTING_DOWN), True
        except Exception as error:
            outcome = "error"
            if isinstance(error, DorisRefusedLogin) and principal.grant is not None and self._refused is not None:
                self._refused(principal)
                error = DorisRefusedLogin(error.message, hint="Log in again: the password may have changed.")
            return failure(_explain(error, tool)), True
        finally:
            self._running.discard(task)
            seconds = time.perf_counter() - started
            self._metrics.tool_call(tool.name, outcome, seconds)
            line = self._lines.get((tool.name, outcome, name))
            (line or self._line(tool.name, outcome, name)).log(seconds * 1e3)

    def _line(self, tool: str, outcome: str, principal: str) -> RepeatedEvent:
        if len(self._lines) >= KEPT:
            self._lines.clear()
        line = RepeatedEvent("tool call", tool=tool, outcome=outcome, principal=principal)
        self._lines[tool, outcome, principal] = line
        return line

    def _context(self, caller: Caller, cluster: str | None) -> Context:
        context = self._contexts.get((caller, cluster))
        if context is None:
            if len(self._contexts) >= KEPT:
                self._contexts.clear()
            context = self._contexts[caller, cluster] = self._make_context(caller, cluster)
        return context


def failure(error: ServerError) -> bytes:
    """An error as the result of a tool."""
    return orjson.dumps({"error": error.as_dict()})


def _explain(error: Exception, tool: Tool) -> ServerError:
    if isinstance(error, ServerError):
        return error
    if isinstance(error, ValidationError):
        problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in problem["loc"]) or "arguments"
        return InvalidArgument(f"{where}: {problem['msg']}", hint="tools/list has the schema of each tool")
    event("tool crashed", level=logging.ERROR, tool=tool.name)
    logging.getLogger("doris_mcp").error("unexpected error in %s", tool.name, exc_info=error)
    return ServerError("unexpected error in the server", hint="the server's log has the cause")
