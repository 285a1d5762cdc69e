"""Settings: where they come from, what wins, and what a wrong one says."""

import re
from pathlib import Path

import pytest

from doris_mcp_server.config import ENVIRONMENT, load, read_env_file
from doris_mcp_server.errors import ConfigError

KEY = "ab" * 32
STATIC = "a-token-of-sixteen-and-more"


def test_the_users_names_and_defaults() -> None:
    settings = load(environ={})
    assert (settings.transport, settings.host, settings.port, settings.worker_count) == ("stdio", "127.0.0.1", 3000, 1)
    assert (settings.doris_port, settings.pool_size, settings.max_connections) == (9030, 20, 100)
    environ = {
        "WORKERS": "4",
        "SERVER_HOST": "127.0.0.1",
        "SERVER_PORT": "8080",
        "DORIS_HOST": "fe.example",
        "DORIS_PORT": "9031",
        "DORIS_USER": "reader",
        "DORIS_PASSWORD": "p",
        "DORIS_DATABASE": "ssb",
        "LOG_LEVEL": "debug",
        "MAX_CONNECTIONS": "7",
        "CONNECTION_POOL_SIZE": "3",
    }
    settings = load(environ=environ)
    assert (settings.workers, settings.port, settings.doris_host, settings.doris_port) == (4, 8080, "fe.example", 9031)
    assert (settings.doris_user, settings.doris_password, settings.doris_database) == ("reader", "p", "ssb")
    assert (settings.log_level, settings.max_connections, settings.pool_size) == ("DEBUG", 7, 3)


def test_a_flag_beats_the_environment_and_a_main_name_beats_its_alias() -> None:
    environ = {"SERVER_PORT": "1", "PORT": "2", "UVICORN_WORKERS": "5"}
    assert load(environ=environ).port == 1
    assert load({"port": 3}, environ).port == 3
    assert load(environ=environ).workers == 5


@pytest.mark.parametrize(
    ("environ", "cpus", "workers"),
    [
        ({}, 4, 1),
        ({"ENVIRONMENT": "development"}, 4, 1),
        ({"ENVIRONMENT": "production"}, 1, 3),
        ({"ENVIRONMENT": "production"}, 2, 5),
        ({"ENVIRONMENT": "production"}, 64, 8),
        ({"ENVIRONMENT": "production", "WORKERS": "2"}, 64, 2),
        ({"ENVIRONMENT": "production", "WORKERS": "0"}, 64, 64),
        ({"WORKERS": "0"}, 3, 3),
    ],
)
def test_how_many_workers_run(
    environ: dict[str, str], cpus: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cpus)))
    assert load(environ=environ).worker_count == workers


def test_the_names_of_the_production_guide_are_taken_too() -> None:
    environ = {"UVICORN_MAX_REQUESTS": "1000", "UVICORN_MAX_REQUESTS_JITTER": "100", "UVICORN_KEEPALIVE": "5"}
    settings = load(environ=environ)
    assert (settings.max_requests, settings.max_requests_jitter, settings.keep_alive_seconds) == (1000, 100, 5)
    assert load(environ=environ | {"DORIS_MCP_MAX_REQUESTS": "7"}).max_requests == 7


def test_secrets_come_from_files_and_credentials(tmp_path: Path) -> None:
    file = tmp_path / "pw"
    file.write_text("from file\n")
    (tmp_path / "doris_password").write_text("from credential\n")
    environ = {"DORIS_PASSWORD_FILE": str(file), "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert load(environ=environ).doris_password == "from file"
    assert load(environ={"CREDENTIALS_DIRECTORY": str(tmp_path)}).doris_password == "from credential"
    assert load(environ={**environ, "DORIS_PASSWORD": "direct"}).doris_password == "direct"


@pytest.mark.parametrize(
    ("environ", "names", "fix"),
    [
        ({"WORKERS": "many"}, "WORKERS", "WORKERS"),
        ({"SERVER_PORT": "70000"}, "SERVER_PORT", "SERVER_PORT"),
        ({"DORIS_MCP_MAXROWS": "3"}, "DORIS_MCP_MAXROWS", "DORIS_MCP_MAX_ROWS"),
        ({"DORIS_PASSWORD_FILE": "/nonexistent"}, "DORIS_PASSWORD_FILE", "readable"),
        ({"DORIS_MCP_TOKEN_KEY": "xyz"}, "DORIS_MCP_TOKEN_KEY", "DORIS_MCP_TOKEN_KEY"),
        ({"DORIS_MCP_TOKEN": "short"}, "DORIS_MCP_TOKEN", "DORIS_MCP_TOKEN"),
        ({"REDIS_URL": "redis://h"}, "DORIS_MCP_TOKEN_KEY", "openssl rand"),
        ({"TRANSPORT": "http", "SERVER_HOST": "0.0.0.0"}, "SERVER_HOST", "DORIS_MCP_TOKEN"),
    ],
)
def test_a_wrong_setting_names_itself_and_the_fix(environ: dict[str, str], names: str, fix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(environ=environ)
    assert names in caught.value.message
    assert fix in (caught.value.hint or "")


def test_beyond_loopback_is_fine_with_a_token() -> None:
    environ = {"TRANSPORT": "http", "SERVER_HOST": "0.0.0.0", "DORIS_MCP_TOKEN": STATIC}
    assert load(environ=environ).beyond_loopback


def test_no_secret_is_in_the_repr_nor_in_an_error() -> None:
    secret = "very/secret value which is too strange"
    with pytest.raises(ConfigError) as caught:
        load(environ={"DORIS_MCP_TOKEN": secret})
    assert secret not in caught.value.message + str(caught.value.hint)
    shown = repr(load(environ={"DORIS_PASSWORD": "hunter2", "DORIS_MCP_TOKEN_KEY": KEY, "DORIS_MCP_TOKEN": STATIC}))
    assert not any(word in shown for word in ("hunter2", KEY, STATIC))


def test_an_env_file_reads_as_systemd_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text('# comment\n; another\n\nWORKERS=3\nDORIS_HOST="fe 1"\nURL=a=b\n')
    assert read_env_file(str(file)) == {"WORKERS": "3", "DORIS_HOST": "fe 1", "URL": "a=b"}
    file.write_text("WORKERS=3\nnonsense\n")
    with pytest.raises(ConfigError, match=":2"):
        read_env_file(str(file))


def test_the_document_lists_every_variable_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs/configuration.md").read_text()
    listed = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", page.split("## Endpoints")[0]))
    values = {"DEBUG", "INFO", "WARNING", "ERROR"}
    assert listed - values == set(ENVIRONMENT)


def test_what_is_closed_where_nobody_says_otherwise() -> None:
    assert "*.mysql.*" in load(environ={}).closed_tables
    assert load(environ={"DORIS_MCP_CLOSED_TABLES": "none"}).closed_tables == ()
    more = load(environ={"DORIS_MCP_CLOSED_TABLES": "default, *.hr.*"}).closed_tables
    assert more == (*load(environ={}).closed_tables, "*.hr.*")
    assert load(environ={"DORIS_MCP_CLOSED_TABLES": "*.a.b, c.*.d"}).closed_tables == ("*.a.b", "c.*.d")
