"""Checks what docs/release.md lists before a version is published: `python3 build.py release`.

Each check is named as its item of the list; it returns what is wrong in one sentence, or "".
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

from release.wheel import MOST_BYTES, OUT, ROOT

HEADING: Final = re.compile(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", re.MULTILINE)
NEEDED: Final = ("index.html", "pyodide/pyodide.asm.wasm", "python/unfrozen.zip", "main-")
HEAVY: Final = ("torch", "transformers", "numpy")


@dataclass(frozen=True, slots=True)
class Candidate:
    """What would be published: metadata, changelog, tags, what git has not, packages."""

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
        """Where its wheel lies, if there is one."""
        return self.packages / f"unfrozen-{self.version}-py3-none-any.whl"

    @classmethod
    def here(cls) -> Candidate:
        """That of this repository."""
        return cls(
            tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8")),
            (ROOT / "docs" / "changelog.md").read_text("utf-8"),
            tuple(_git("tag", "--list", "v*")),
            tuple(_git("status", "--porcelain")),
            OUT,
        )


def version(found: Candidate) -> str:
    """It is newer than every tag; the tag of what is released now may point here already."""
    older = [tag for tag in found.tags if numbers(tag) > numbers(found.version)]
    return (
        f"{found.version} is older than {older[-1]}: raise it in pyproject.toml." if older else ""
    )


def changelog(found: Candidate) -> str:
    """It has a section of this version, the first one, and nothing waits above it."""
    sections = HEADING.findall(found.changelog)
    names = [name for name, _ in sections]
    if names[:2] != ["Unreleased", found.version]:
        return (
            f"its sections begin with {', '.join(names[:2])}: give {found.version} one of its own."
        )
    waiting = found.changelog.split("## [Unreleased]")[1].split("\n## ")[0].strip()
    return "something waits under Unreleased: move it to this version." if waiting else ""


def date(found: Candidate) -> str:
    """The changelog and the page say the same day."""
    days = dict(HEADING.findall(found.changelog))
    printed = str(found.project["tool"]["unfrozen"]["date"])
    said = days.get(found.version, "")
    return "" if said == printed else f"the changelog says {said or 'none'}, the page {printed}."


def committed(found: Candidate) -> str:
    """Nothing is changed that git has not."""
    more = f" and {len(found.changed) - 1} more" if len(found.changed) > 1 else ""
    return f"{found.changed[0].strip()}{more}: commit it or undo it." if found.changed else ""


def packages(found: Candidate) -> str:
    """Both are there, alone, and no larger than they may be."""
    wanted = {found.wheel.name, f"unfrozen-{found.version}.tar.gz"}
    there = {path.name: path.stat().st_size for path in found.packages.glob("*")}
    if there.keys() != wanted:
        return (
            f"packages/ has {', '.join(sorted(there)) or 'nothing'}: it must be {sorted(wanted)}."
        )
    large = [name for name, size in there.items() if size > MOST_BYTES]
    return f"{', '.join(large)} is larger than {MOST_BYTES / 1e6:g} MB." if large else ""


def page(found: Candidate) -> str:
    """The wheel holds the page, of this version, with its Python and its demo model."""
    with zipfile.ZipFile(found.wheel) as archive:
        names = archive.namelist()
        inside = [name.partition("gpu_runner/page/")[2] for name in names]
        inside += ["demo/model" for name in names if name.endswith("demo/model/model.safetensors")]
        missing = [part for part in NEEDED if not any(part in name for name in inside)]
        missing += [] if "demo/model" in inside else ["the demo model"]
        if missing:
            return f"the wheel lacks {', '.join(missing)}: `python3 build.py wheel` makes it anew."
        html = archive.read("gpu_runner/page/index.html").decode("utf-8")
    return "" if f"version {found.version}" in html else "its page is of another version."


def metadata(found: Candidate) -> str:
    """The command is there; what is heavy is asked for by an extra only."""
    info = f"unfrozen-{found.version}.dist-info"
    with zipfile.ZipFile(found.wheel) as archive:
        told = HeaderParser().parsestr(archive.read(f"{info}/METADATA").decode("utf-8"))
        scripts = archive.read(f"{info}/entry_points.txt").decode("utf-8")
    base = [line for line in told.get_all("Requires-Dist", []) if "extra ==" not in line]
    heavy = [name for name in HEAVY if any(line.startswith(name) for line in base)]
    if heavy:
        return f"the base asks for {', '.join(heavy)}: only [train] may."
    return "" if "unfrozen = " in scripts else "it has no command `unfrozen`."


CHECKS: Final[tuple[Callable[[Candidate], str], ...]] = (
    *(version, changelog, date, committed),
    *(packages, page, metadata),
)


def numbers(tag: str) -> tuple[int, ...]:
    """A version or its tag as numbers that compare: v0.10.0 is (0, 10, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", tag))


def _git(*words: str) -> list[str]:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


def main() -> int:
    """Print every item with ✓, or with what is wrong; 1 where something is."""
    found = Candidate.here()
    wrong = 0
    for check in CHECKS:
        problem = check(found)
        wrong += bool(problem)
        print(f"  {'✗' if problem else '✓'} {check.__name__}{': ' if problem else ''}{problem}")
    if not wrong:
        print(f"  {found.version} may be published; what is left to do by hand: docs/release.md")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
