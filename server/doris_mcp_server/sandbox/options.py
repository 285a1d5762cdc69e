"""What a demo engine may be started with beyond an address and an account."""

from dataclasses import dataclass
from pathlib import Path

from doris_mcp_server.errors import ConfigError
from doris_mcp_server.sandbox.versions import LATEST, VERSIONS


@dataclass(frozen=True, slots=True)
class Options:
    """`version`: the line of Doris to look like. `accounts`: a file of more accounts (see accounts.py).

    `tls_cert` and `tls_key`: PEM files, both or none; with `require_tls` nobody comes in without TLS.
    `http_port`: serve a frontend's HTTP pages there as well, 0: on a free one.
    """

    version: str = LATEST.name
    accounts: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    require_tls: bool = False
    http_port: int | None = None

    def __post_init__(self) -> None:
        if self.version not in VERSIONS:
            raise ConfigError(f"--doris-version {self.version} is unknown", hint=f"give {', '.join(VERSIONS)}")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("--tls-cert and --tls-key go together", hint="give both, or none")
        if self.require_tls and not self.tls_cert:
            raise ConfigError("--require-tls needs a certificate", hint="give --tls-cert FILE --tls-key FILE")
