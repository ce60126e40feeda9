"""The README is true: its tree is the repository's, its commands are the ones that run."""

import re
from pathlib import PurePosixPath

from house.tree import ROOT, tracked, tracked_names

README = (ROOT / "README.md").read_text()


def listed_paths() -> list[str]:
    """The paths of the README's tree; folders end in `/`. Two spaces of indent a level."""
    block = README.split("## The tree")[1].split("```")[1]
    open_folders: list[str] = []
    paths = []
    for line in block.strip("\n").splitlines():
        indent = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        paths.append("".join([*open_folders[:indent], name]))
        open_folders[indent:] = [name]
    return paths


def unlisted(paths: set[str]) -> list[str]:
    """Tracked files that the tree neither names nor holds in a folder it does not open.

    `__init__.py` and `py.typed` stand for their folder and need no line of their own.
    """
    opened = {str(PurePosixPath(path).parent) for path in paths}
    missing = []
    for name in tracked_names():
        above = [str(folder) for folder in PurePosixPath(name).parents]
        closed = any(f"{folder}/" in paths and folder not in opened for folder in above)
        silent = name.endswith(("/__init__.py", "/py.typed"))
        if name not in paths and not closed and not silent:
            missing.append(name)
    return missing


def test_the_tree_names_only_what_is_there() -> None:
    there = set(tracked_names()) | {
        f"{folder}/" for name in tracked_names() for folder in PurePosixPath(name).parents
    }
    assert not [path for path in listed_paths() if path not in there]


def test_the_tree_leaves_nothing_out() -> None:
    assert not unlisted(set(listed_paths()))


def test_the_tree_says_what_each_entry_is_for() -> None:
    block = README.split("## The tree")[1].split("```")[1]
    assert not [line for line in block.strip("\n").splitlines() if len(line.split()) < 2]


def test_ci_runs_the_test_command_of_the_readme_and_nothing_else() -> None:
    commands = re.findall(r"^(?:exec )?(python3 .*)$", (ROOT / ".ci" / "run").read_text(), re.M)
    assert commands == ["python3 build.py test"]
    assert commands[0] in README


def test_relative_links_of_the_documents_lead_somewhere() -> None:
    broken = []
    for document in [path for path in tracked("*.md") if "web" not in path.parts]:
        for target in re.findall(r"\]\(([^)#\s]+)", document.read_text()):
            if "://" not in target and not (document.parent / target).exists():
                broken.append(f"{document.relative_to(ROOT)}: {target}")
    assert not broken
