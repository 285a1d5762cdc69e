"""What the bench needs and the project does not: interpreters with the other systems (made under .bench), nginx."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".bench"
NEWER = (3, 12)
PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")


class NotMeasured(Exception):
    """A system that cannot be measured here; the message is the reason, as the report gives it."""


def fastmcp() -> Path:
    """The interpreter that has fastmcp, and the same uvicorn as ours. Raises: NotMeasured."""
    same = [f"{name}=={version(name)}" for name in ("uvicorn", "uvloop", "httptools")]
    return _made("fastmcp", Path(sys.executable), ["fastmcp==4.1.2", *same])


def public() -> Path:
    """The interpreter that has the public doris-mcp-server. Raises: NotMeasured."""
    newer = next(_newer(), None)
    if newer is None:
        raise NotMeasured(f"needs Python {'.'.join(map(str, NEWER))}")
    return _made("public", newer, ["doris-mcp-server==1.0.0"])


def _newer() -> Iterator[Path]:
    """Interpreters of NEWER or above: this one, those on PATH, and those pyenv holds behind its shims."""
    found = [sys.executable]
    found += [path for minor in range(20, NEWER[1] - 1, -1) if (path := shutil.which(f"python3.{minor}"))]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found += [str(path) for path in sorted(pyenv.glob("versions/3.*/bin/python3"), reverse=True)]
    for path in found:
        code = f"import sys; sys.exit(sys.version_info < {NEWER})"
        if subprocess.run([path, "-c", code], capture_output=True, check=False).returncode == 0:
            yield Path(path)


def _made(name: str, interpreter: Path, packages: list[str]) -> Path:
    folder = FOLDER / name
    python = folder / "bin" / "python"
    stamp = folder / "installed"
    wanted = "\n".join(packages)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    print(f"bench: installing {packages[0]}", file=sys.stderr)
    make = [str(interpreter), "-m", "venv", "--clear", str(folder)]
    for command in (make, [str(python), *PIP, *packages]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print((done.stdout + done.stderr)[-2000:], file=sys.stderr)
            raise NotMeasured(f"{packages[0]} could not be installed")
    stamp.write_text(wanted, encoding="utf-8")
    return python


def nginx() -> Path:
    """The balancer's binary: the system's, or the one `make deps-nginx` unpacked. Raises: NotMeasured."""
    found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:{ROOT / '.cache/nginx/usr/sbin'}")
    if not found:
        raise NotMeasured("needs nginx")
    return Path(found)
