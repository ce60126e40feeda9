"""Checks what docs/release.md lists before a version is published: `python3 build.py release`.

`check_date` is the item **date** of that list. A check returns "", or one sentence: what is wrong
and what to do.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Any, Final

from release.wheel import OUT, PLANNER, ROOT, max_bytes

HEADING: Final = re.compile(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", re.MULTILINE)
NEEDED: Final = ("index.html", "pyodide/pyodide.asm.wasm", "python/unfrozen.zip", "main-")
HEAVY: Final = ("torch", "transformers", "numpy")


@dataclass(frozen=True, slots=True)
class Candidate:
    """What would be published; `changed` are files not committed, `packages` is a folder."""

    project: Mapping[str, Any]
    changelog: str
    tags: tuple[str, ...]
    changed: tuple[str, ...]
    packages: Path

    @property
    def version(self) -> str:
        """The version of pyproject.toml."""
        return str(self.project["project"]["version"])

    @property
    def wheel(self) -> Path:
        """The path of its wheel, which may not exist."""
        return self.packages / f"unfrozen-{self.version}-py3-none-any.whl"

    @property
    def planner(self) -> Path:
        """The path of the planner's wheel, which may not exist."""
        return self.packages / f"unfrozen_planner-{self.version}-py3-none-any.whl"

    @classmethod
    def here(cls) -> Candidate:
        """Return that of this repository."""
        return cls(
            tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8")),
            (ROOT / "docs" / "changelog.md").read_text("utf-8"),
            tuple(_git("tag", "--list", "v*")),
            tuple(_git("status", "--porcelain")),
            OUT,
        )


def check_version(found: Candidate) -> str:
    """Check that no tag is newer; the tag of this version may exist already."""
    newer = [tag for tag in found.tags if version_numbers(tag) > version_numbers(found.version)]
    if newer:
        return f"{found.version} is older than {newer[-1]}: raise it in pyproject.toml."
    return ""


def check_changelog(found: Candidate) -> str:
    """Check that its first section is that of this version, with nothing under Unreleased."""
    sections = HEADING.findall(found.changelog)
    names = [name for name, _ in sections]
    if names[:2] != ["Unreleased", found.version]:
        return (
            f"its first sections are {', '.join(names[:2])}: give {found.version} one of its own."
        )
    waiting = found.changelog.split("## [Unreleased]")[1].split("\n## ")[0].strip()
    return "there are entries under Unreleased: move them to this version." if waiting else ""


def check_date(found: Candidate) -> str:
    """Check that the changelog and the page have the same date."""
    listed = dict(HEADING.findall(found.changelog)).get(found.version, "")
    page = str(found.project["tool"]["unfrozen"]["date"])
    return "" if listed == page else f"the changelog has {listed or 'no date'}, the page {page}."


def check_committed(found: Candidate) -> str:
    """Check that every change is committed."""
    more = f" and {len(found.changed) - 1} more" if len(found.changed) > 1 else ""
    return f"{found.changed[0].strip()}{more}: commit it or undo it." if found.changed else ""


def check_packages(found: Candidate) -> str:
    """Check that wheels and sdists of this version exist, nothing else, and none is too large."""
    wheels = (found.wheel.name, found.planner.name)
    wanted = {*wheels, *(name.replace("-py3-none-any.whl", ".tar.gz") for name in wheels)}
    there = {path.name: path for path in found.packages.glob("*")}
    if there.keys() != wanted:
        return (
            f"packages/ has {', '.join(sorted(there)) or 'nothing'}: it must be {sorted(wanted)}."
        )
    large = [path for path in there.values() if path.stat().st_size > max_bytes(path)]
    return " ".join(f"{path.name} is over {max_bytes(path) / 1e6:g} MB." for path in large)


def check_page(found: Candidate) -> str:
    """Check that the wheel has the page of this version, with its Python and the demo model."""
    with zipfile.ZipFile(found.wheel) as archive:
        names = archive.namelist()
        inside = [name.partition("gpu_runner/page/")[2] for name in names]
        inside += ["demo/model" for name in names if name.endswith("demo/model/model.safetensors")]
        missing = [part for part in NEEDED if not any(part in name for name in inside)]
        missing += [] if "demo/model" in inside else ["the demo model"]
        if missing:
            return f"the wheel lacks {', '.join(missing)}: run `python3 build.py wheel` again."
        html = archive.read("gpu_runner/page/index.html").decode("utf-8")
    return "" if f"version {found.version}" in html else "its page is of another version."


def check_metadata(found: Candidate) -> str:
    """Check that both wheels have the command, that the planner needs nothing, that the other one
    needs this planner, shares no file with it, and has its heavy dependencies in an extra.
    """
    names, required = {}, {}
    for wheel in (found.planner, found.wheel):
        with zipfile.ZipFile(wheel) as archive:
            names[wheel] = archive.namelist()
            info = next(name for name in names[wheel] if name.endswith(".dist-info/METADATA"))
            headers = HeaderParser().parsestr(archive.read(info).decode("utf-8"))
            scripts = archive.read(info.replace("METADATA", "entry_points.txt")).decode("utf-8")
        lines = headers.get_all("Requires-Dist", [])
        required[wheel] = [line for line in lines if "extra ==" not in line]
        if "unfrozen = unfrozen." not in scripts:
            return f"{wheel.name} has no command `unfrozen` of the planner's."
    if required[found.planner]:
        return f"the planner requires {', '.join(required[found.planner])}: it needs nothing."
    if f"{PLANNER}=={found.version}" not in required[found.wheel]:
        return f"the wheel of all does not require {PLANNER}=={found.version}."
    if twice := set(names[found.planner]) & set(names[found.wheel]):
        return f"both wheels have {min(twice)}: who removes one would break the other."
    heavy = [n for n in HEAVY if any(line.startswith(n) for line in required[found.wheel])]
    return f"{', '.join(heavy)} must not be required outside the extra [train]." if heavy else ""


CHECKS: Final[tuple[Callable[[Candidate], str], ...]] = (
    *(check_version, check_changelog, check_date, check_committed),
    *(check_packages, check_page, check_metadata),
)


def version_numbers(tag: str) -> tuple[int, ...]:
    """Return a version or its tag as numbers that compare: "v0.10.0" → (0, 10, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", tag))


def _git(*words: str) -> list[str]:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


def main() -> int:
    """Print every item with ✓, or with ✗ and what is wrong; return 1 when something is."""
    found = Candidate.here()
    problems = {check.__name__.removeprefix("check_"): check(found) for check in CHECKS}
    for name, problem in problems.items():
        print(f"  ✗ {name}: {problem}" if problem else f"  ✓ {name}")
    if any(problems.values()):
        return 1
    print(f"  {found.version} may be published; what is left to do by hand: docs/release.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
