"""The filter plugins of our roles."""

from pathlib import Path

import pytest

from .plugins import ROLES, ROOT, imported, plugin


@pytest.fixture
def roles(tmp_path: Path) -> str:
    """Two roles, one with two entry points."""
    for role, text in {
        "web": "{main: {options: {web_port: {}, web_name: {}}}, stop: {options: {web_grace: {}}}}",
        "web_cache": "{main: {}}",
    }.items():
        (tmp_path / role / "meta").mkdir(parents=True)
        (tmp_path / role / "meta/argument_specs.yml").write_text(f"argument_specs: {text}")
    return str(tmp_path)


def test_unknown_variables_are_named_with_what_was_meant(roles: str) -> None:
    unknown = plugin("common/filter_plugins/unknown_variables.py").unknown_variables
    given = ["web_port", "web_prot", "web_cache_size", "webport", "ansible_host", "my_web_port"]
    assert unknown(given, roles) == ["web_cache_size", "web_prot (did you mean web_port?)"]


def test_variables_of_any_entry_point_are_known(roles: str) -> None:
    unknown = plugin("common/filter_plugins/unknown_variables.py").unknown_variables
    assert unknown(["web_grace"], roles) == []


def test_the_real_roles_declare_what_the_lab_sets() -> None:
    unknown = plugin("common/filter_plugins/unknown_variables.py").unknown_variables
    assert unknown(["doris_mcp_port", "nginx_members", "nginx_memebers", "doris_mcp_prot"], str(ROLES)) == [
        "doris_mcp_prot (did you mean doris_mcp_port?)",
        "nginx_memebers (did you mean nginx_members?)",
    ]


def test_a_table_has_its_columns_aligned() -> None:
    as_table = imported(ROOT / "ansible/playbooks/filter_plugins/as_table.py").as_table
    assert as_table([{"host": "app-1", "ready": "yes"}, {"host": "a", "ready": 0}]) == [
        "host  | ready",
        "app-1 | yes",
        "a     | 0",
    ]
    assert as_table([]) == []
