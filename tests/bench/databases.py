"""The databases behind the measured servers, private processes on loopback ports; what they cost is in no figure.

MariaDB answers `SELECT 1` faster than any server here asks. The public server starts only for a database that calls
itself Doris, so it gets the demo engine, which does: at its speed the engine is no limit.
"""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ..ports import free_port
from .environments import NotMeasured

LIMIT = 60.0  # seconds a database may take to start


@contextlib.contextmanager
def mariadb(folder: Path, *options: str) -> Iterator[dict[str, str]]:
    """A MariaDB that takes everybody in; where it is, as our settings name it. Raises: NotMeasured.

    `options` are more of its command line.
    """
    binary = shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if not binary:
        raise NotMeasured("needs MariaDB")
    data = folder / "mariadb"
    data.mkdir()
    port = free_port()
    command = [
        *(binary, "--no-defaults", f"--datadir={data}", f"--socket={data}/socket", f"--pid-file={data}/pid"),
        *("--bind-address=127.0.0.1", f"--port={port}", f"--user={getpass.getuser()}"),
        # No system tables, so nothing to install first, and nobody is refused.
        *("--skip-grant-tables", "--skip-name-resolve", "--innodb-buffer-pool-size=16M", "--max-connections=1000"),
        *options,
    ]
    with running(command, folder / "mariadb.log") as process:
        listens(port, process)
        yield {"DORIS_HOST": "127.0.0.1", "DORIS_PORT": str(port), "DORIS_USER": "bench"}


@contextlib.contextmanager
def disguised(folder: Path) -> Iterator[dict[str, str]]:
    """The demo engine, calling itself Doris 3.0; where it is."""
    port = free_port()
    command = [sys.executable, "-m", "doris_mcp_server", "sandbox", "--doris-version", "3.0"]
    command += ["--port", str(port), "--rows", "1000"]
    with running(command, folder / "engine.log") as process:
        listens(port, process)
        yield {"DORIS_HOST": "127.0.0.1", "DORIS_PORT": str(port), "DORIS_USER": "root", "DORIS_DATABASE": "ssb"}


def end_in_order() -> None:
    """From here on SIGTERM ends this process as Ctrl-C does: every server it started is ended first."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@contextlib.contextmanager
def running(
    command: list[str], log: Path, environment: dict[str, str] | None = None, folder: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in `folder`, its output in `log`, ended on the way out."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            cwd=folder,
            start_new_session=True,  # Ctrl-C is for the bench, which ends everything in order
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def listens(port: int, process: subprocess.Popen[bytes], limit: float = LIMIT) -> None:
    """Wait until something answers on the port. Raises: NotMeasured when the process ends or takes too long."""
    until = time.monotonic() + limit
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None or time.monotonic() > until:
            raise NotMeasured(f"{Path(str(process.args[0])).name} did not start")  # type: ignore[index]
        time.sleep(0.01)  # until the next look
