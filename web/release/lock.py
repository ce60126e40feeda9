"""Writes requirements.txt: one version and its hashes for everything that build.py installs.

    pyproject.toml → uv pip compile, for every platform and Python → requirements.txt

Above each entry stand the groups it belongs to. PyTorch and its CUDA libraries are left out: their
builds differ by machine and index, and uv gets the range of pyproject.toml. `python3 build.py
lock` takes the newest versions that pyproject.toml allows.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
LOCK: Final = ROOT / "requirements.txt"
GROUPS: Final = {
    "site": ("site",),
    "train": ("train", "lora"),
    "dev": ("site", "train", "lora", "mcp", "dev"),
}
"""What each group needs: the package's own requirements and these extras of pyproject.toml."""
ALONE: Final = ("smollm2", "eval", "node", "uv")
"""Extras whose packages are installed without what they ask for."""
HEAD: Final = """\
# Written by `python3 build.py lock`; see web/release/lock.py. Groups stand above each entry.
"""
_BY_PLATFORM: Final = re.compile(r"(torch|triton|cuda-.*|nvidia-(?!ml-py).*)==")
_ENTRY: Final = re.compile(r"^(\S+?)==.*(?:\n    .*)*", re.MULTILINE)


def resolve(requirements: list[str], *options: str) -> dict[str, str]:
    """Return the locked entries of requirements and what they need, by their first line."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "-", "--universal", *options]
    command += ["--python-version=3.11", "--generate-hashes", "--no-annotate", "--no-header"]
    done = subprocess.run(
        command, input="\n".join(requirements), cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"uv could not lock {', '.join(requirements)}:\n{done.stderr}")
    entries = (match[0] for match in _ENTRY.finditer(done.stdout))
    return {
        entry.partition(" \\\n")[0]: entry for entry in entries if not _BY_PLATFORM.match(entry)
    }


def _pin(line: str) -> str:
    """Return `name==version` without the marker, which depends on what is resolved together."""
    return line.partition(" ;")[0]


def main() -> int:
    """Write the lock and say how many packages it holds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    own, extras = project["dependencies"], project["optional-dependencies"]
    asked = {
        group: [*own, *(line for name in names for line in extras[name])]
        for group, names in GROUPS.items()
    }
    every = resolve([line for lines in asked.values() for line in lines])
    pins = ROOT / ".cache" / "pins.txt"
    pins.write_text("\n".join(every.values()), "utf-8")
    members = {group: resolve(lines, f"--constraint={pins}") for group, lines in asked.items()}
    for group in ALONE:
        members[group] = resolve(extras[group], "--no-deps")
        every |= members[group]
    blocks = []
    for line, entry in sorted(every.items()):
        groups = [g for g, found in members.items() if _pin(line) in map(_pin, found)]
        blocks.append(f"# {' '.join(groups)}\n{entry}\n")
    LOCK.write_text(f"{HEAD}\n{''.join(blocks)}", "utf-8")
    print(f"  {LOCK.name}: {len(blocks)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
