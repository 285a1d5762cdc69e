"""What the configuration centre may set, and what comes of it on a host."""

import re
from pathlib import Path

import pytest

from doris_mcp_server.app import App
from doris_mcp_server.config import ENVIRONMENT, Settings, load
from doris_mcp_server.errors import ConfigError
from doris_mcp_server.overrides import HOT, OWN, bearable, is_hot, main_name, overridden

SECRETS = sorted({variable.name for variable in ENVIRONMENT.values() if variable.secret})
HOSTS = sorted({variable.name for variable in ENVIRONMENT.values() if variable.field in OWN})


def test_each_kind_of_setting_is_known() -> None:
    assert set(Settings.model_fields) >= HOT | OWN
    assert not HOT & OWN
    assert {"REDIS_URL", "DORIS_MCP_TOKEN_KEY", "DORIS_PASSWORD", "DORIS_MCP_CLUSTERS"} <= set(SECRETS)
    assert {"SERVER_HOST", "DORIS_MCP_NODE_NAME", "DORIS_MCP_STATE_DIR", "DORIS_MCP_CTL_SOCKET"} <= set(HOSTS)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *((name, "secret") for name in SECRETS),
        *((name, "each host's own") for name in HOSTS),
        ("DORIS_MCP_MAXROWS", "not a setting"),
        ("PATH", "not a setting"),
    ],
)
def test_what_cannot_be_set_says_why(name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=name) as caught:
        overridden(Settings(), {name: "1"})
    assert reason in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"DORIS_MCP_MAX_ROWS": "many"}, "DORIS_MCP_MAX_ROWS: "),
        ({"DORIS_MCP_MAX_ROWS": ""}, "DORIS_MCP_MAX_ROWS: "),
        ({"DORIS_MCP_QUERY_TIMEOUT": "0"}, "DORIS_MCP_QUERY_TIMEOUT: "),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL: "),
        ({"DORIS_HOST": "a:b"}, "DORIS_HOST: the port"),
        ({"DORIS_MCP_ALLOWED_TABLES": "ssb.*"}, "'ssb.*' is not catalog.database.table"),
        ({"DORIS_MCP_ALLOWED_TABLES": "a.b.c.d"}, "catalog.database.table"),
        ({"DORIS_MCP_CLOSED_TABLES": "none,a.b.c"}, "'none' is not catalog.database.table"),
        ({"DORIS_MCP_CLOSED_TABLES": "mysql.user"}, "'mysql.user' is not catalog.database.table"),
        ({"DORIS_MCP_REFUSED_FUNCTIONS": "my_udf()"}, "'my_udf()' is no name of a function"),
        ({"DORIS_MCP_MASKED_COLUMNS": "customer.*"}, "'customer.*' is not a column"),
        ({"DORIS_MCP_MASKED_COLUMNS": "a.b.c.d.e"}, "is not a column"),
        ({"DORIS_MCP_MASKED_COLUMNS": "`c`"}, "is not a column"),
    ],
)
def test_what_is_invalid_names_its_field(values: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        overridden(Settings(), {**values, "DORIS_PORT": "9031"})
    assert words in caught.value.message
    assert next(iter(values)) in caught.value.message
    assert "nothing was changed" in str(caught.value.hint)


def test_it_comes_over_environment_and_files() -> None:
    base = load(environ={"DORIS_MCP_MAX_ROWS": "7", "DORIS_MCP_DISABLED_TOOLS": "list_tables", "DORIS_PASSWORD": "x"})
    over = overridden(base, {"DORIS_MCP_MAX_ROWS": "9", "DORIS_MCP_DISABLED_TOOLS": "", "LOG_LEVEL": "debug"})
    assert (over.max_rows, over.disabled_tools, over.log_level, over.doris_password) == (9, (), "DEBUG", "x")
    assert overridden(base, {}) == base


def test_clusters_stay_what_was_read() -> None:
    clusters = '{"a": {"frontends": ["h:1"], "accounts": {"default": {"user": "u"}}}}'
    base = load(environ={"DORIS_MCP_CLUSTERS": clusters})
    assert overridden(base, {"LOG_LEVEL": "DEBUG"}).clusters == base.clusters
    with pytest.raises(ConfigError, match="DORIS_HOST"):
        overridden(base, {"DORIS_HOST": "h"})


def test_a_host_takes_what_it_can() -> None:
    taken, refused = bearable(Settings(), {"DORIS_MCP_MAX_ROWS": "9", "NEWER": "1", "DORIS_MCP_QUERY_TIMEOUT": "x"})
    assert (taken.max_rows, taken.query_timeout) == (9, 30)
    assert sorted(refused) == ["DORIS_MCP_QUERY_TIMEOUT", "NEWER"]
    assert bearable(Settings(), {"DORIS_MCP_MAX_ROWS": "9"})[1] == {}


def test_names_and_how_soon_they_count() -> None:
    assert main_name("DORIS_MCP_MAX_ROWS") == "DORIS_MCP_MAX_ROWS"
    assert main_name("UVICORN_KEEPALIVE") == "DORIS_MCP_KEEP_ALIVE_SECONDS"
    assert is_hot("LOG_LEVEL") and not is_hot("DORIS_HOST") and not is_hot("NEWER")


class Watched:
    """Settings that remember what of them was used."""

    def __init__(self) -> None:
        self.used: set[str] = set()

    def __getattr__(self, name: str) -> object:
        self.used.add(name)
        return getattr(Settings(result_cache_seconds=1), name)


async def test_every_hot_setting_is_taken_by_a_running_worker_and_no_other_is() -> None:
    app = App(Settings())
    watched = Watched()
    app.apply(watched)  # type: ignore[arg-type]
    await app.close()
    assert watched.used == HOT


def test_the_document_lists_every_hot_setting() -> None:
    page = (Path(__file__).parents[2] / "docs/configuration.md").read_text()
    row = next(line for line in page.splitlines() if "| at once, on every worker" in line)
    listed = {name.replace("…", "DORIS_MCP") for name in re.findall(r"`((?:…_)?[A-Z][A-Z_]+)`", row)}
    assert listed == {variable.name for variable in ENVIRONMENT.values() if variable.field in HOT}


def test_an_empty_list_of_closed_tables_is_the_default_one() -> None:
    """`none` opens them, and nothing less."""
    base = Settings()
    assert overridden(base, {"DORIS_MCP_CLOSED_TABLES": ""}).closed_tables == base.closed_tables
    assert overridden(base, {"DORIS_MCP_CLOSED_TABLES": "none"}).closed_tables == ()
