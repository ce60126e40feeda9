"""The page's scripts use what exists, in no circles, and no package they do not declare."""

import json
import re
from graphlib import TopologicalSorter
from pathlib import Path

from house.tree import ROOT, tracked

IMPORT = re.compile(r"""(?:\bfrom|\bimport)\s*\(?\s*["']([^"'`\n]+)["']""")


def scripts() -> list[Path]:
    """The tracked scripts of the page and the site builder."""
    return [path for path in tracked("*.js", "*.mjs") if path.is_relative_to(ROOT / "web")]


def used_by(script: Path) -> list[str]:
    """What a script imports, statically or later, as written."""
    code = re.sub(r"^\s*(\*|//).*$", "", script.read_text(), flags=re.MULTILINE)
    return IMPORT.findall(code)


def test_relative_imports_lead_to_tracked_scripts() -> None:
    known = set(scripts())
    for script in known:
        for name in used_by(script):
            if name.startswith("."):
                assert (script.parent / name).resolve() in known, f"{script.name}: {name}"


def test_scripts_import_in_no_circle() -> None:
    graph = {
        script: [(script.parent / name).resolve() for name in used_by(script) if name[0] == "."]
        for script in scripts()
    }
    assert len(list(TopologicalSorter(graph).static_order())) >= len(graph)


def test_scripts_import_only_declared_packages() -> None:
    package = json.loads((ROOT / "package.json").read_text())
    for script in scripts():
        allowed = set(package["dependencies"])
        if script.is_relative_to(ROOT / "web" / "site_builder"):
            allowed |= set(package["devDependencies"])
        for name in used_by(script):
            if name == "widgets":  # the site builder writes it from web/widgets.toml
                continue
            if name[0] != "." and not name.startswith("node:"):
                parts = name.split("/")[: 2 if name[0] == "@" else 1]
                assert "/".join(parts) in allowed, f"{script.name}: {name}"
