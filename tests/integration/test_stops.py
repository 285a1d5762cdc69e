"""Stops under load, one after the other, on sockets that outlive the server: 0 killed, 0 refused, every answer right.

`STOPS=100 pytest tests/integration/test_stops.py` for more of them.
"""

import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from ..activation import activation
from ..conftest import Running
from ..echoes import ECHO, Echoes, echoing

STOPS = int(os.environ.get("STOPS", "8"))
STEPS = ["calls", "streams", "others", "connections", "background", "sessions", "doris", "store", "logs"]


async def test_every_answer_is_right_or_says_to_ask_again(tmp_path: Path) -> None:
    worst = dict.fromkeys(STEPS, 0.0)
    async with activation(tmp_path, 2) as host, AsyncExitStack() as clients:
        load = echoing(host.url, clients=4, seconds=(0.2, 0.5, 2.0), streams=2)
        echoes = await clients.enter_async_context(load)
        for stop in range(STOPS):
            # Every other time a call that takes two seconds is over the limit.
            variables = ECHO | {"DORIS_MCP_DRAIN_SECONDS": "1" if stop % 2 else "60"}
            async with host.start(workers=2, **variables) as server:
                await echoes.until(_more(echoes))
                sent = echoes.sent[2.0]
                await echoes.until(lambda seen, sent=sent: seen.sent[2.0] > sent)
                server.signal(signal.SIGTERM)
                code = await server.process.wait()
            _check(server, code, worst)
        async with host.start(workers=2, **ECHO):
            await echoes.until(_more(echoes))
            await clients.aclose()
    print(f"{STOPS} stops: {echoes}\nlongest (ms): {worst}")
    assert not echoes.wrong, echoes
    assert echoes.again["shutting_down"] and echoes.again["503"] and echoes.ended


def _more(echoes: Echoes) -> Callable[[Echoes], bool]:
    """Whether each kind of call was answered since now."""
    right, long_right = echoes.right, echoes.long_right
    return lambda seen: seen.right > right + 50 and seen.long_right > long_right + 2


def _check(server: Running, code: int, worst: dict[str, float]) -> None:
    """Nobody was killed, the exit code tells whether a call was cut, each step of each worker is in the log."""
    stopped = next(line for line in server.lines if line["message"] == "stopped")
    steps = [line for line in server.lines if line["message"] == "shutdown step"]
    cut = any(line["result"] != "ok" for line in steps)
    assert (stopped["killed"], code) == (0, int(cut)), server.lines
    workers = {line["pid"] for line in steps}
    assert len(workers) == 2
    for worker in workers:
        assert [line["step"] for line in steps if line["pid"] == worker] == STEPS
    for line in steps:
        worst[line["step"]] = max(worst[line["step"]], line["ms"])
