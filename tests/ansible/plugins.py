"""Python of the Ansible side, imported from where Ansible finds it."""

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
ROLES = ROOT / "roles"


def imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plugin(path: str) -> ModuleType:
    """A plugin or module of a role."""
    return imported(ROLES / path)
