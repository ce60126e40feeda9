"""What the repository holds and declares, for the tests that keep it in order."""

import ast
import re
import subprocess
import tomllib
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import build

ROOT = build.ROOT


@cache
def tracked_names() -> tuple[str, ...]:
    """Paths of all tracked files that are there, relative to the root, as git lists them."""
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return tuple(name for name in listing.split("\0") if name and (ROOT / name).is_file())


def tracked(*patterns: str) -> list[Path]:
    """Tracked files whose names match one of the patterns (`*.py`), or all of them."""
    names = tracked_names()
    return [
        ROOT / name
        for name in names
        if not patterns or any(fnmatch(Path(name).name, pattern) for pattern in patterns)
    ]


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of a Python file, the module first; read once."""
    return tuple(ast.walk(ast.parse(path.read_text())))


def declared(*extras: str) -> set[str]:
    """Lower-case names of the Python packages that the given extras ask for; `base` is no extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["optional-dependencies"] | {"base": project["dependencies"]}
    lines = [line for extra in extras for line in wanted[extra]]
    return {re.split(r"[<>=!~\[; ]", line)[0].lower() for line in lines}
