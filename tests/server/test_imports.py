"""The arrows of the house point one way: a room imports only rooms further down."""

import ast
from pathlib import Path

import doris_mcp_server

ROOT = Path(doris_mcp_server.__file__).parent
# Top to bottom. `sandbox` stands apart: only the command line starts it, and it uses only the leaves.
ORDER = [
    ("__main__",),
    ("cli",),
    ("process", "tokens", "locksmith", "fleet", "usher", "steward", "smoke", "judge", "accounts", "sandbox", "stdio"),
    ("shared", "ledger"),
    ("worker", "ctl", "sockets", "report", "watch"),
    ("slot", "lease"),
    ("child", "door"),
    ("fork",),
    ("app", "server"),
    ("asgi", "steps"),
    ("oauth", "protocol", "health"),
    ("fixtures",),
    ("auth", "tools", "sessions", "centre"),
    ("keys", "registry"),
    ("doris", "state", "gate", "overrides"),
    ("observe", "config", "answers", "connection"),
    ("issuers", "patterns", "rates"),
    ("clusters",),
    ("errors",),
]


def floor(room: str) -> int:
    return next(number for number, rooms in enumerate(ORDER) if room in rooms)


def imported_rooms(file: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        modules = []
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module]
            if node.module == "doris_mcp_server":
                modules = [f"doris_mcp_server.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        for module in modules:
            if module.startswith("doris_mcp_server."):
                room = module.split(".")[1]
                if (ROOT / room).is_dir() or (ROOT / f"{room}.py").is_file():
                    rooms.add(room)
    return rooms


def test_every_module_has_its_floor_and_imports_only_downwards() -> None:
    wrong = []
    for file in ROOT.rglob("*.py"):
        room = file.relative_to(ROOT).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        for other in imported_rooms(file) - {room}:
            if floor(other) <= floor(room):
                wrong.append(f"{file.relative_to(ROOT)} imports {other}")
    assert not wrong
