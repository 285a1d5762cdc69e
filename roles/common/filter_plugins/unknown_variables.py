"""Jinja filter for preflight: which variables of a host no role knows, and what was probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import yaml


def unknown_variables(given: Iterable[str], roles: str) -> list[str]:
    """Of the variable names `given`, those that start like a role's below the directory `roles` and are not declared.

    Each comes in words, sorted: `nginx_memebers (did you mean nginx_members?)`.
    """
    names, known = _declared(roles)
    like_a_role = re.compile(f"({'|'.join(map(re.escape, sorted(names)))})_")
    unknown = sorted(name for name in given if like_a_role.match(name) and name not in known)
    return [f"{name}{_meant(name, known)}" for name in unknown]


@cache
def _declared(roles: str) -> tuple[frozenset[str], frozenset[str]]:
    """The roles' names, and every variable any of their entry points takes."""
    names, variables = set(), set()
    for path in Path(roles).glob("*/meta/argument_specs.yml"):
        names.add(path.parts[-3])
        for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"].values():
            variables |= set(entry.get("options") or {})
    return frozenset(names), frozenset(variables)


def _meant(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.8)
    swapped = [other for other in near if sorted(other) == sorted(name)]
    return f" (did you mean {(swapped or near)[0]}?)" if near else ""


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        return {"unknown_variables": unknown_variables}
