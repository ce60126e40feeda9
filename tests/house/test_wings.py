"""Folders use each other one way only: a room can be read without those that are built upon it."""

import ast
from collections.abc import Callable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from house.test_scripts import scripts, used_by
from house.tree import ROOT, nodes, tracked

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


def arrows_of(package: str) -> Iterator[Arrow]:
    """The same for a package of `py/`; a file of its root is a room of its own.

    A folder's `__init__.py` counts as in the folder, the package's own is in no room.
    """
    top = ROOT / "py" / package
    for path in tracked("*.py"):
        if path.is_relative_to(top) and path != top / "__init__.py":
            for node in nodes(path):
                if isinstance(node, ast.ImportFrom) and node.module:
                    first, *rest = node.module.split(".")
                    for used in rest[:1] or [name.name for name in node.names]:
                        if first == package and used != "__version__":
                            yield path.relative_to(top).with_suffix("").parts[0], used


def arrows_of_runner() -> Iterator[Arrow]:
    """Those of `py/gpu_runner`."""
    return arrows_of("gpu_runner")


def arrows_of_core() -> Iterator[Arrow]:
    """Those of `py/unfrozen`."""
    return arrows_of("unfrozen")


ARROWS = (arrows_of_core, arrows_of_runner, arrows_of_scripts)


def between(arrows: Iterator[Arrow]) -> set[Arrow]:
    """Those that leave their room, each once."""
    return {(one, other) for one, other in arrows if one != other}


@pytest.mark.parametrize("arrows", ARROWS)
def test_no_two_rooms_use_each_other_even_by_a_detour(
    arrows: Callable[[], Iterator[Arrow]],
) -> None:
    graph: dict[str, set[str]] = {}
    for one, other in between(arrows()):
        graph.setdefault(one, set()).add(other)
    assert list(TopologicalSorter(graph).static_order())
