"""Every setting of the server: its names, bounds and default, and the one place that reads them.

Precedence: flag, environment variable, secret file (`X_FILE`, then a systemd credential), default. What the
configuration centre of a fleet says comes over all of it (`overrides`).
A leaf: anything may import it, it imports only `clusters`, `issuers`, `patterns`, `rates` and `errors`.
"""

import difflib
import os
import re
import socket
from collections.abc import Collection, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, cast
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from doris_mcp_server import clusters, issuers, patterns, rates
from doris_mcp_server.clusters import Account, Cluster
from doris_mcp_server.errors import ConfigError
from doris_mcp_server.issuers import Issuer
from doris_mcp_server.rates import Cap, Rate

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_split)]
"""A list, with commas between where it is given as text."""


def _env(name: str, *aliases: str, secret: bool = False) -> dict[str, Any]:
    return {"env": (name, *aliases), "secret": secret}


class Settings(BaseModel):
    """The server's settings, checked. Times are seconds, sizes bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    transport: Literal["http", "stdio"] = Field("stdio", json_schema_extra=_env("TRANSPORT"))
    host: str = Field("127.0.0.1", json_schema_extra=_env("SERVER_HOST", "HOST"))
    port: int = Field(3000, ge=0, le=65535, json_schema_extra=_env("SERVER_PORT", "PORT"))
    environment: Literal["development", "production"] = Field("development", json_schema_extra=_env("ENVIRONMENT"))
    workers: int | None = Field(None, ge=0, le=128, json_schema_extra=_env("WORKERS", "UVICORN_WORKERS"))
    max_requests: int = Field(
        0, ge=0, le=1_000_000_000, json_schema_extra=_env("DORIS_MCP_MAX_REQUESTS", "UVICORN_MAX_REQUESTS")
    )
    max_requests_jitter: int = Field(
        0,
        ge=0,
        le=1_000_000_000,
        json_schema_extra=_env("DORIS_MCP_MAX_REQUESTS_JITTER", "UVICORN_MAX_REQUESTS_JITTER"),
    )
    keep_alive_seconds: int = Field(
        75, ge=1, le=3600, json_schema_extra=_env("DORIS_MCP_KEEP_ALIVE_SECONDS", "UVICORN_KEEPALIVE")
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", json_schema_extra=_env("LOG_LEVEL"))
    node_name: str = Field(default_factory=socket.gethostname, json_schema_extra=_env("DORIS_MCP_NODE_NAME"))

    doris_host: str | None = Field(None, json_schema_extra=_env("DORIS_HOST"))
    doris_port: int = Field(9030, ge=1, le=65535, json_schema_extra=_env("DORIS_PORT"))
    doris_user: str = Field("root", json_schema_extra=_env("DORIS_USER"))
    doris_password: str = Field("", repr=False, json_schema_extra=_env("DORIS_PASSWORD", secret=True))
    doris_database: str | None = Field(None, json_schema_extra=_env("DORIS_DATABASE"))
    doris_tls: clusters.TLS = Field("disabled", json_schema_extra=_env("DORIS_MCP_DORIS_TLS"))
    doris_ca: str = Field("", json_schema_extra=_env("DORIS_MCP_DORIS_CA"))
    fe_http_port: int = Field(0, ge=0, le=65535, json_schema_extra=_env("DORIS_MCP_FE_HTTP_PORT"))
    fe_https: bool = Field(False, json_schema_extra=_env("DORIS_MCP_FE_HTTPS"))
    fe_http_timeout: float = Field(5.0, gt=0, le=300, json_schema_extra=_env("DORIS_MCP_FE_HTTP_TIMEOUT"))
    fe_http_max_bytes: int = Field(4 << 20, ge=1024, le=1 << 28, json_schema_extra=_env("DORIS_MCP_FE_HTTP_MAX_BYTES"))
    clusters: tuple[Cluster, ...] = Field((), repr=False, json_schema_extra=_env("DORIS_MCP_CLUSTERS", secret=True))
    driver: Literal["auto", "asyncmy", "aiomysql"] = Field("auto", json_schema_extra=_env("DORIS_MCP_DRIVER"))
    doris_connect_timeout: float = Field(1.5, gt=0, le=60, json_schema_extra=_env("DORIS_MCP_CONNECT_TIMEOUT"))
    pool_size: int = Field(20, ge=1, le=1000, json_schema_extra=_env("CONNECTION_POOL_SIZE"))
    max_connections: int = Field(100, ge=1, le=10_000, json_schema_extra=_env("MAX_CONNECTIONS"))

    max_concurrent: int = Field(100, ge=1, le=10_000, json_schema_extra=_env("DORIS_MCP_MAX_CONCURRENT"))
    max_concurrent_per_principal: int = Field(
        50, ge=1, le=10_000, json_schema_extra=_env("DORIS_MCP_MAX_CONCURRENT_PER_PRINCIPAL")
    )
    max_queued: int = Field(200, ge=0, le=100_000, json_schema_extra=_env("DORIS_MCP_MAX_QUEUED"))
    queue_seconds: float = Field(5.0, gt=0, le=300, json_schema_extra=_env("DORIS_MCP_QUEUE_SECONDS"))
    rate_limits: tuple[Rate, ...] = Field((), json_schema_extra=_env("DORIS_MCP_RATE_LIMITS"))
    concurrency_limits: tuple[Cap, ...] = Field((), json_schema_extra=_env("DORIS_MCP_CONCURRENCY_LIMITS"))
    trusted_proxies: Words = Field((), json_schema_extra=_env("DORIS_MCP_TRUSTED_PROXIES"))
    result_cache_seconds: float = Field(0, ge=0, le=86_400, json_schema_extra=_env("DORIS_MCP_RESULT_CACHE_SECONDS"))
    result_cache_bytes: int = Field(
        16 << 20, ge=1024, le=1 << 32, json_schema_extra=_env("DORIS_MCP_RESULT_CACHE_BYTES")
    )

    query_timeout: float = Field(30.0, gt=0, le=3600, json_schema_extra=_env("DORIS_MCP_QUERY_TIMEOUT"))
    max_rows: int = Field(1000, ge=1, le=1_000_000, json_schema_extra=_env("DORIS_MCP_MAX_ROWS"))
    max_result_bytes: int = Field(1 << 20, ge=1024, le=1 << 28, json_schema_extra=_env("DORIS_MCP_MAX_RESULT_BYTES"))
    max_body_bytes: int = Field(4 << 20, ge=1024, le=1 << 28, json_schema_extra=_env("DORIS_MCP_MAX_BODY_BYTES"))

    disabled_tools: Words = Field((), json_schema_extra=_env("DORIS_MCP_DISABLED_TOOLS"))
    allowed_tables: Annotated[Words, AfterValidator(patterns.tables)] = Field(
        (), json_schema_extra=_env("DORIS_MCP_ALLOWED_TABLES")
    )
    closed_tables: Annotated[Words, AfterValidator(patterns.closed_tables)] = Field(
        patterns.CLOSED_TABLES, json_schema_extra=_env("DORIS_MCP_CLOSED_TABLES")
    )
    refused_functions: Annotated[Words, AfterValidator(patterns.functions)] = Field(
        (), json_schema_extra=_env("DORIS_MCP_REFUSED_FUNCTIONS")
    )
    masked_columns: Annotated[Words, AfterValidator(patterns.columns)] = Field(
        (), json_schema_extra=_env("DORIS_MCP_MASKED_COLUMNS")
    )

    allowed_hosts: Words = Field((), json_schema_extra=_env("DORIS_MCP_ALLOWED_HOSTS"))
    allowed_origins: Words = Field((), json_schema_extra=_env("DORIS_MCP_ALLOWED_ORIGINS"))
    token: str = Field("", repr=False, json_schema_extra=_env("DORIS_MCP_TOKEN", secret=True))
    smoke_token: str = Field("", repr=False, json_schema_extra=_env("DORIS_MCP_SMOKE_TOKEN", secret=True))
    token_key: str = Field("", repr=False, json_schema_extra=_env("DORIS_MCP_TOKEN_KEY", secret=True))

    keys: Words = Field((), repr=False, json_schema_extra=_env("DORIS_MCP_KEYS", secret=True))
    public_url: str = Field("", json_schema_extra=_env("DORIS_MCP_PUBLIC_URL"))
    authorization_servers: Words = Field((), json_schema_extra=_env("DORIS_MCP_AUTHORIZATION_SERVERS"))
    issuers: tuple[Issuer, ...] = Field((), json_schema_extra=_env("DORIS_MCP_ISSUERS"))
    oauth: bool = Field(False, json_schema_extra=_env("DORIS_MCP_OAUTH"))
    session_idle_seconds: int = Field(1800, ge=10, le=604_800, json_schema_extra=_env("DORIS_MCP_SESSION_IDLE_SECONDS"))
    session_max_seconds: int = Field(
        86_400, ge=10, le=2_592_000, json_schema_extra=_env("DORIS_MCP_SESSION_MAX_SECONDS")
    )
    max_streams: int = Field(32, ge=1, le=10_000, json_schema_extra=_env("DORIS_MCP_MAX_STREAMS"))
    test_fixtures: Literal["none", "echo", "conformance"] = Field(
        "none", json_schema_extra=_env("DORIS_MCP_TEST_FIXTURES")
    )

    redis_url: str = Field("", repr=False, json_schema_extra=_env("REDIS_URL", secret=True))
    redis_password: str = Field("", repr=False, json_schema_extra=_env("REDIS_PASSWORD", secret=True))
    redis_sentinel_password: str = Field("", repr=False, json_schema_extra=_env("REDIS_SENTINEL_PASSWORD", secret=True))

    redis_ca: str = Field("", json_schema_extra=_env("DORIS_MCP_REDIS_CA"))
    state_dir: str = Field("", json_schema_extra=_env("DORIS_MCP_STATE_DIR"))

    drain_seconds: float = Field(30.0, gt=0, le=600, json_schema_extra=_env("DORIS_MCP_DRAIN_SECONDS"))
    ctl_socket: str = Field("", json_schema_extra=_env("DORIS_MCP_CTL_SOCKET"))
    runtime_dir: str = Field("", json_schema_extra=_env("DORIS_MCP_RUNTIME_DIR"))
    config_digest: str = Field("", json_schema_extra=_env("DORIS_MCP_CONFIG_DIGEST"))

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("transport", mode="before")
    @classmethod
    def _one_name_for_http(cls, value: object) -> object:
        return "http" if value in ("streamable-http", "streamable_http") else value

    @field_validator("clusters", mode="before")
    @classmethod
    def _read_clusters(cls, value: object) -> object:
        return clusters.parse(value) if isinstance(value, str) else value

    @field_validator("issuers", mode="before")
    @classmethod
    def _read_issuers(cls, value: object) -> object:
        return issuers.parse(value) if isinstance(value, str) else value

    @field_validator("rate_limits", mode="before")
    @classmethod
    def _read_rates(cls, value: object) -> object:
        return rates.parse(value) if isinstance(value, str) else value

    @field_validator("concurrency_limits", mode="before")
    @classmethod
    def _read_caps(cls, value: object) -> object:
        return rates.parse_caps(value) if isinstance(value, str) else value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                ip_network(text, strict=False)
            except ValueError:
                raise ValueError(f"{text!r} is no address; write 192.0.2.11 or 192.0.2.0/24, no names") from None
        return value

    @field_validator("doris_host")
    @classmethod
    def _reachable(cls, value: str | None) -> str | None:
        for text in (value or "").split(",") if value else ():
            clusters.frontend(text)
        return value

    @field_validator("token_key", "keys")
    @classmethod
    def _hex_key(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for key in (value,) if isinstance(value, str) else value:
            if key and not re.fullmatch(r"[0-9a-fA-F]{64}", key):
                raise ValueError("must be 64 hexadecimal digits (32 bytes); make one with: openssl rand -hex 32")
        return value

    @field_validator("public_url", "authorization_servers")
    @classmethod
    def _absolute_url(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for url in (value,) if isinstance(value, str) else value:
            if url and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", url):
                raise ValueError("must be an absolute http or https URL without user, query or fragment")
        return value

    @field_validator("token", "smoke_token")
    @classmethod
    def _strong_token(cls, value: str) -> str:
        if value and not re.fullmatch(r"[A-Za-z0-9._~+/=-]{16,512}", value):
            raise ValueError("must be 16 to 512 letters, digits or ._~+/=- ; make one with: openssl rand -hex 32")
        return value

    @property
    def doris(self) -> tuple[Cluster, ...]:
        """The clusters to serve, the default one first: DORIS_MCP_CLUSTERS, or the one in DORIS_*, or none."""
        if self.clusters or not self.doris_host:
            return self.clusters
        hosts = [clusters.frontend(text, self.doris_port) for text in self.doris_host.split(",")]
        account = Account(user=self.doris_user, password=self.doris_password, database=self.doris_database)
        return (
            Cluster(
                frontends=tuple(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in hosts),
                tls=self.doris_tls,
                ca=self.doris_ca,
                http_port=self.fe_http_port,
                https=self.fe_https,
                accounts={clusters.DEFAULT: account},
            ),
        )

    @property
    def beyond_loopback(self) -> bool:
        """Whether other machines can reach the listening address."""
        return self.host not in LOOPBACK

    @property
    def asks_for_tokens(self) -> bool:
        """Whether anything is set that makes a token good."""
        return bool(self.token or self.token_key or self.issuers)

    @property
    def worker_count(self) -> int:
        """How many worker processes to run. WORKERS=0 asks for one a CPU; left out, it depends on ENVIRONMENT."""
        cpus = len(os.sched_getaffinity(0))
        if self.workers is None:
            return min(max(2 * cpus + 1, 2), 8) if self.environment == "production" else 1
        return self.workers or cpus


class Variable(NamedTuple):
    """What an environment variable sets."""

    field: str
    secret: bool
    name: str  # its main name, for one that is an alias


def _environment() -> dict[str, Variable]:
    names: dict[str, Variable] = {}
    for field, info in Settings.model_fields.items():
        extra = cast("dict[str, Any]", info.json_schema_extra)
        variable = Variable(field, extra["secret"], extra["env"][0])
        names |= dict.fromkeys(extra["env"], variable)
    return names


ENVIRONMENT = _environment()
"""Environment variable → what it sets, main names before aliases."""


class Given(NamedTuple):
    """What was given, by field: its text (a flag's own value), and the variable, file or flag it came from."""

    values: dict[str, Any]
    source: dict[str, str]


def load(
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    serving: bool = True,
) -> Settings:
    """Read and check all settings.

    `flags` holds what the command line gave (None means not given), `serving` adds the checks that only
    a listening server needs.

    Raises: ConfigError, naming the variable and the fix; never quoting a secret.
    """
    values, source = given(flags, os.environ if environ is None else environ)
    return checked(values, source, serving=serving)


def given(flags: Mapping[str, Any] | None, environ: Mapping[str, str]) -> Given:
    """What flags, environment and files say, not checked yet. Raises: ConfigError for what nobody knows or can read."""
    _refuse_unknown(environ)
    values: dict[str, Any] = {}
    source: dict[str, str] = {}
    for name, variable in ENVIRONMENT.items():
        if variable.field in values:
            continue
        found = _read(name, environ, variable.secret)
        if found is not None:
            values[variable.field], source[variable.field] = found
    for field, value in (flags or {}).items():
        if value is not None:
            values[field], source[field] = value, f"--{field.replace('_', '-')}"
    return Given(values, source)


def checked(
    values: Mapping[str, Any], source: Mapping[str, str], *, serving: bool, then: str = " and start again"
) -> Settings:
    """Settings of these values. Raises: ConfigError, naming what is wrong as `source` does and the fix.

    `then` is what to do when that is corrected.
    """
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise _first_problem(error, source, then) from None
    _check_doris(settings)
    if serving:
        _check_serving(settings)
    return settings


def _read(name: str, environ: Mapping[str, str], secret: bool) -> tuple[str, str] | None:
    """The value of one variable and where it came from; an empty one counts as not set."""
    if environ.get(name):
        return environ[name], name
    if not secret:
        return None
    if path := environ.get(f"{name}_FILE"):
        try:
            return Path(path).read_text(encoding="utf-8").strip(), f"{name}_FILE"
        except OSError as error:
            raise ConfigError(
                f"{name}_FILE={path} cannot be read: {error.strerror}",
                hint=f"make the file readable for this user, or unset {name}_FILE",
            ) from None
    if directory := environ.get("CREDENTIALS_DIRECTORY"):
        credential = Path(directory) / name.lower()
        if credential.is_file():
            return credential.read_text(encoding="utf-8").strip(), f"credential {name.lower()}"
    return None


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    known = set(ENVIRONMENT) | {f"{name}_FILE" for name, variable in ENVIRONMENT.items() if variable.secret}
    for name in sorted(environ):
        if name.startswith("DORIS_MCP_") and name not in known:
            raise unknown(name, known)


def unknown(name: str, known: Collection[str] = ENVIRONMENT) -> ConfigError:
    """The error about a setting that is none, with what may be meant."""
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean {near[0]}?" if near else "docs/configuration.md lists all of them"
    return ConfigError(f"{name} is not a setting of this server", hint=meant)


def _first_problem(error: ValidationError, source: Mapping[str, str], then: str) -> ConfigError:
    problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
    field = str(problem["loc"][0]) if problem["loc"] else "settings"
    names = [name for name, variable in ENVIRONMENT.items() if variable.field == field]
    name = source.get(field) or (names[0] if names else f"--{field.replace('_', '-')}")
    words = problem["msg"].removeprefix("Value error, ")
    return ConfigError(f"{name}: {words}", hint=f"correct {name}{then}")


def _check_doris(settings: Settings) -> None:
    if settings.clusters and settings.doris_host:
        raise ConfigError(
            "DORIS_HOST and DORIS_MCP_CLUSTERS both say where Doris is",
            hint="unset DORIS_HOST, or put that Doris into DORIS_MCP_CLUSTERS too",
        )
    try:
        found = settings.doris
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise ConfigError(f"DORIS_HOST: {problem['msg']}", hint="correct the DORIS_* variables") from None
    for cluster in found:
        try:
            cluster.tls_context()
        except OSError as error:
            raise ConfigError(
                f"the CA of cluster {cluster.name}, {cluster.ca}, cannot be used: {error.strerror or error}",
                hint="give a PEM file this user can read (DORIS_MCP_DORIS_CA, or `ca` in DORIS_MCP_CLUSTERS)",
            ) from None


def _check_serving(settings: Settings) -> None:
    if settings.redis_url and not settings.token_key:
        raise ConfigError(
            "REDIS_URL is set but DORIS_MCP_TOKEN_KEY is not: tokens in the store are kept as keyed hashes",
            hint="give every host the same key: openssl rand -hex 32",
        )
    if settings.issuers and not settings.public_url:
        raise ConfigError(
            "DORIS_MCP_ISSUERS is set but DORIS_MCP_PUBLIC_URL is not: signed tokens must be meant for this server",
            hint="set DORIS_MCP_PUBLIC_URL to the address clients use, up to and with /mcp",
        )
    if settings.oauth:
        _check_oauth(settings)
    if settings.transport == "http" and settings.beyond_loopback and not settings.asks_for_tokens:
        raise ConfigError(
            f"SERVER_HOST={settings.host} is reachable from other machines, but no bearer token is configured",
            hint="set DORIS_MCP_TOKEN (or DORIS_MCP_TOKEN_FILE), or DORIS_MCP_TOKEN_KEY and issue tokens with "
            "`doris-mcp-server token issue`, or listen on 127.0.0.1",
        )


def _check_oauth(settings: Settings) -> None:
    needed = {
        "DORIS_MCP_PUBLIC_URL": (settings.public_url, "the address clients use, up to and with /mcp"),
        "DORIS_MCP_TOKEN_KEY": (settings.token_key, "the same on every host: openssl rand -hex 32"),
        "DORIS_HOST": (settings.doris, "the Doris whose accounts log in, or DORIS_MCP_CLUSTERS"),
    }
    for name, (value, what) in needed.items():
        if not value:
            raise ConfigError(f"DORIS_MCP_OAUTH is set but {name} is not", hint=f"set {name}: {what}")
    parts = urlsplit(settings.public_url)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise ConfigError(
            f"DORIS_MCP_OAUTH is set and DORIS_MCP_PUBLIC_URL={settings.public_url} is not https: "
            "passwords would be sent in the clear",
            hint="give the balancer a certificate, and DORIS_MCP_PUBLIC_URL its https address",
        )


def read_env_file(path: str) -> dict[str, str]:
    """The assignments of a systemd EnvironmentFile: `NAME=value` lines, `#` comments, optional quotes."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint="name a readable environment file") from None
    values: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if not line or line.startswith(("#", ";")):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise ConfigError(f"{path}:{number}: expected NAME=value", hint="correct that line")
        values[name.strip()] = value.strip().strip("\"'")
    return values
