"""What the configuration centre says, laid over the settings of a host: what may be said there, and what comes of it.

`values` map the main name of a variable to its text, as in an environment; an empty text is an empty value here.
"""

from collections.abc import Mapping
from typing import Any, Final

from doris_mcp_server.config import ENVIRONMENT, Settings, checked, unknown
from doris_mcp_server.errors import ConfigError

# fmt: off
HOT: Final = frozenset({
    "log_level",
    "query_timeout", "max_rows", "max_result_bytes",
    "max_concurrent", "max_concurrent_per_principal", "max_queued", "queue_seconds", "max_streams",
    "result_cache_seconds", "result_cache_bytes",
    "disabled_tools", "allowed_tables", "closed_tables", "masked_columns", "refused_functions",
    "allowed_hosts", "allowed_origins", "trusted_proxies",
    "rate_limits", "concurrency_limits",
})
"""Fields of Settings that a running worker exchanges. Whoever uses one takes its new value in `App.apply`."""
OWN: Final = frozenset({
    "transport", "host", "port", "environment", "workers", "max_requests", "max_requests_jitter", "node_name",
    "doris_ca", "redis_ca", "state_dir", "runtime_dir", "ctl_socket", "drain_seconds", "config_digest",
    "public_url", "authorization_servers", "issuers", "oauth", "session_max_seconds", "test_fixtures",
})
"""Fields that each host has for itself: what its supervisor and its unit go by, its files, and whom it trusts."""
# fmt: on
_KEEP_OUT: Final = "set it on the hosts themselves (an inventory's variables, or the environment file)"


def main_name(name: str) -> str:
    """The main name of a variable that may be set here. Raises: ConfigError for any other, with the reason."""
    variable = ENVIRONMENT.get(name)
    if variable is None:
        raise unknown(name)
    if variable.secret:
        raise ConfigError(f"{name} is a secret, and the configuration centre keeps none", hint=_KEEP_OUT)
    if variable.field in OWN:
        raise ConfigError(f"{name} is each host's own, and cannot be set for all of them", hint=_KEEP_OUT)
    return variable.name


def is_hot(name: str) -> bool:
    """Whether a running worker exchanges it; else a worker takes it when it starts."""
    variable = ENVIRONMENT.get(name)
    return variable is not None and variable.field in HOT


def overridden(base: Settings, values: Mapping[str, str]) -> Settings:
    """The settings of a host with `values` over them, checked like any others.

    Raises: ConfigError naming the variable.
    """
    fields: dict[str, Any] = {}
    source: dict[str, str] = {}
    for name, text in values.items():
        field = ENVIRONMENT[main_name(name)].field
        fields[field], source[field] = text, name
    # Not `model_dump`: clusters, for one, were read and stay read. `iter`, because `dict` takes the field `keys` amiss.
    return checked(dict(iter(base)) | fields, source, serving=False, then="; nothing was changed")


def bearable(base: Settings, values: Mapping[str, str]) -> tuple[Settings, dict[str, str]]:
    """The same with as many of `values` as this host can take, and the reason for each it cannot.

    A host may have a release, or settings of its own, that the one who set them did not know of.
    """
    try:
        return overridden(base, values), {}
    except ConfigError:
        taken: dict[str, str] = {}
        refused: dict[str, str] = {}
        for name, text in sorted(values.items()):
            try:
                overridden(base, {**taken, name: text})
                taken[name] = text
            except ConfigError as error:
                refused[name] = error.message
        return overridden(base, taken), refused
