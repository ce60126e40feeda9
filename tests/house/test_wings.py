"""Folders use each other one way only: a room can be read without those that are built upon it."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from house.test_scripts import scripts, used_by
from house.tree import ROOT, tracked

DECISION = ROOT / "docs" / "decisions" / "0027-wings.md"

Arrow = tuple[str, str]


def arrows_of_scripts() -> Iterator[Arrow]:
    """(folder, folder it imports from) for every script of `web/` outside its root."""
    web = ROOT / "web"
    for script in scripts():
        if script.suffix == ".js" and script.parent != web:
            for name in filter(lambda name: name.startswith("."), used_by(script)):
                yield room(web, script), room(web, (script.parent / name).resolve())


def room(top: Path, path: Path) -> str:
    """The folder of a script below `top`."""
    return str(path.parent.relative_to(top))


def arrows_of_runner() -> Iterator[Arrow]:
    """The same for `py/gpu_runner`; a file of its root is a room of its own."""
    top = ROOT / "py" / "gpu_runner"
    for path in tracked("*.py"):
        if path.is_relative_to(top) and path.name != "__init__.py":
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module:
                    package, *rest = node.module.split(".")
                    if package == "gpu_runner":
                        used = rest or [name.name for name in node.names]
                        yield path.relative_to(top).with_suffix("").parts[0], used[0]


def between(arrows: Iterator[Arrow]) -> set[Arrow]:
    """Those that leave their room, each once."""
    return {(one, other) for one, other in arrows if one != other}


@pytest.mark.parametrize("arrows", [arrows_of_scripts, arrows_of_runner])
def test_no_two_rooms_use_each_other_even_by_a_detour(arrows: object) -> None:
    graph: dict[str, set[str]] = {}
    for one, other in between(arrows()):  # type: ignore[operator]
        graph.setdefault(one, set()).add(other)
    assert list(TopologicalSorter(graph).static_order())


def test_the_decision_counts_rooms_and_arrows_as_they_are() -> None:
    text = DECISION.read_text()
    for arrows in (arrows_of_runner, arrows_of_scripts):
        found = between(arrows())
        rooms = {name for arrow in found for name in arrow}
        assert f"{len(rooms)} with {len(found)} arrows" in text
