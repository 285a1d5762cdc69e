"""`--sandbox`: the demo engine as a child process beside the server, for as long as the server lives."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator

from doris_mcp_server.errors import ConfigError

HOST = "127.0.0.1"
USER = "root"
DATABASE = "ssb"


@contextlib.contextmanager
def beside() -> Iterator[tuple[int, int]]:
    """Start the engine on free loopback ports, give these (MySQL, HTTP), and end it on the way out.

    The child also ends when this process is killed: its stdin reaches its end.
    Raises: ConfigError when it does not come up; it has said why on stderr.
    """
    ready, told = os.pipe()
    command = [sys.executable, "-m", "doris_mcp_server", "sandbox", "--host", HOST, "--port", "0", "--user", USER]
    with os.fdopen(ready, encoding="utf-8") as answers:
        engine = subprocess.Popen(
            [*command, "--http-port", "0", "--ready-fd", str(told), "--exit-with-parent"],
            stdin=subprocess.PIPE,
            stdout=sys.stderr,  # stdout may be the stdio transport
            pass_fds=[told],
            process_group=0,  # Ctrl-C is for the server, which needs its engine until it has drained
        )
        os.close(told)
        try:
            line = answers.readline()
            if not line:
                raise ConfigError("the demo engine did not start", hint="its own message stands above")
            ports = json.loads(line)
            yield ports["port"], ports["http_port"]
        finally:
            assert engine.stdin is not None
            engine.stdin.close()
            try:
                engine.wait(timeout=10)
            except subprocess.TimeoutExpired:
                engine.kill()
                engine.wait()
