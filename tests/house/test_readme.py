"""The README is true: its tree is the repository's, its commands are the ones that run."""

import re
from pathlib import PurePosixPath

from house.tree import ROOT, tracked, tracked_names

README = (ROOT / "README.md").read_text()


def listed_paths() -> list[str]:
    """The paths of the README's tree, two spaces of indent a level; a line may name several."""
    block = README.split("## The tree")[1].split("```")[1]
    open_folders: list[str] = []
    paths = []
    for line in block.strip("\n").splitlines():
        indent = (len(line) - len(line.lstrip())) // 2
        names = re.split(r"\s{3,}", line.strip())[0].split("  ")
        paths += ["".join([*open_folders[:indent], name]) for name in names]
        open_folders[indent:] = [names[0]]
    return paths


def test_the_tree_names_only_what_is_there() -> None:
    there = set(tracked_names()) | {
        f"{folder}/" for name in tracked_names() for folder in PurePosixPath(name).parents
    }
    assert not [path for path in listed_paths() if path not in there]


def test_the_tree_shows_every_folder_of_the_product() -> None:
    depth = {"py": 3, "web": 2}  # of paths shown
    folders = {
        "/".join(parts[:count]) + "/"
        for name in tracked_names()
        if (parts := PurePosixPath(name).parts)[0] in depth
        and len(parts) > (count := depth[parts[0]])
    }
    assert len(folders) > 30
    assert sorted(folders - set(listed_paths())) == []


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
