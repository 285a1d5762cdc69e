"""What a role promises: defaults, argument specs and README name the same variables, inventories the same secrets."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
INVENTORIES = sorted(path.name for path in (ROOT / "inventories").iterdir() if path.is_dir())


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def defaults(role: str) -> dict[str, Any]:
    return load(ROOT / "roles" / role / "defaults/main.yml") or {}


def entry_points(role: str) -> dict[str, dict[str, Any]]:
    specs = load(ROOT / "roles" / role / "meta/argument_specs.yml")["argument_specs"]
    return {name: entry.get("options") or {} for name, entry in specs.items()}


def test_there_are_roles_and_inventories() -> None:
    assert {"common", "doris_mcp", "doris_sandbox", "nginx", "redis_sentinel"} <= set(ROLES)
    assert {"lab", "local", "prod", "staging"} <= set(INVENTORIES)


@pytest.mark.parametrize("role", ROLES)
def test_every_default_is_specified_and_nothing_else(role: str) -> None:
    assert set(defaults(role)) == set(entry_points(role)["main"])


@pytest.mark.parametrize("role", ROLES)
def test_no_entry_point_takes_a_variable_that_main_does_not(role: str) -> None:
    for name, options in entry_points(role).items():
        assert set(options) <= set(entry_points(role)["main"]), name
        assert (ROOT / "roles" / role / "tasks" / f"{name}.yml").is_file()


@pytest.mark.parametrize("role", ROLES)
def test_specified_defaults_are_the_real_ones(role: str) -> None:
    for name, option in entry_points(role)["main"].items():
        assert option.get("description"), name
        if "default" in option:
            assert option["default"] == defaults(role)[name], name


@pytest.mark.parametrize("role", ROLES)
def test_the_readme_names_exactly_the_public_variables(role: str) -> None:
    text = (ROOT / "roles" / role / "README.md").read_text(encoding="utf-8")
    rows = set(re.findall(rf"^\| `({role}_\w+)` \|", text, re.MULTILINE))
    assert rows == set(defaults(role))


@pytest.mark.parametrize("role", ROLES)
def test_public_variables_carry_the_role_name_and_a_comment(role: str) -> None:
    lines = (ROOT / "roles" / role / "defaults/main.yml").read_text(encoding="utf-8").splitlines()
    for name in defaults(role):
        assert name.startswith(f"{role}_"), name
        above = lines[: next(i for i, line in enumerate(lines) if line.startswith(f"{name}:"))]
        # A comment may stand over several variables in a row that belong together.
        paragraph = "\n".join(above).rpartition("\n\n")[2]
        assert any(line.startswith("# ") for line in paragraph.splitlines()), f"{name} has no comment"


@pytest.mark.parametrize("role", ROLES)
def test_secrets_stay_out_of_the_output(role: str) -> None:
    """A task that writes a secret names the switch that hides it."""
    switch = f"{role}_secure_logging"
    writes = [
        task
        for path in (ROOT / "roles" / role / "tasks").glob("*.yml")
        for task in flat(load(path) or [])
        if re.search(
            r"'(content|files)'.*(secret|password|_key\b)",
            repr(task.get("ansible.builtin.copy", task.get("text_files"))),
        )
    ]
    assert all(switch in str(task.get("no_log")) for task in writes), [task["name"] for task in writes]


def flat(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tasks with those of their blocks."""
    inner = [t for task in tasks for key in ("block", "rescue", "always") for t in flat(task.get(key, []))]
    return [*tasks, *inner]


@pytest.mark.parametrize("inventory", INVENTORIES)
def test_every_secret_an_inventory_uses_is_in_its_vault(inventory: str) -> None:
    folder = ROOT / "inventories" / inventory / "group_vars"
    vaults = [path for path in folder.rglob("vault*.yml") if path.name in ("vault.yml", "vault.example.yml")]
    files = [path for path in folder.rglob("*.yml") if path not in vaults]
    used = {name for path in files for name in re.findall(r"\bvault_\w+", path.read_text(encoding="utf-8"))}
    # An optional secret may be there as a comment.
    named = {
        n for p in vaults for n in re.findall(r"^(?:# )?(vault_\w+):", p.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert used, "an inventory without secrets is not one of ours"
    assert used <= named
    assert named <= used, "a secret that nothing uses"


@pytest.mark.parametrize("inventory", INVENTORIES)
def test_an_inventory_sets_only_variables_that_roles_know(inventory: str) -> None:
    known = {name for role in ROLES for name in entry_points(role)["main"]}
    for path in (ROOT / "inventories" / inventory).rglob("*.yml"):
        for name in re.findall(rf"^\s*((?:{'|'.join(ROLES)})_\w+):", path.read_text(encoding="utf-8"), re.MULTILINE):
            assert name in known, f"{path.relative_to(ROOT)}: {name}"


@pytest.mark.parametrize("inventory", ["prod", "staging"])
def test_examples_use_documentation_addresses_only(inventory: str) -> None:
    for path in (ROOT / "inventories" / inventory).rglob("*.yml"):
        for address in re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", path.read_text(encoding="utf-8")):
            assert address.startswith(("192.0.2.", "198.51.100.", "203.0.113.")), address
