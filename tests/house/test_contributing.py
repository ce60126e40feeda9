"""docs/contributing.md is one page, and its worked examples can be walked."""

import re

import pytest

from house.tree import ROOT, tracked_names
from unfrozen.events import METRICS

GUIDE = (ROOT / "docs" / "contributing.md").read_text()
STEP = re.compile(r"^(\d+)\. `([^`]+)`: `([^`]+)` – \S", re.MULTILINE)
EXAMPLES = {
    part.splitlines()[0]: STEP.findall(part)
    for part in GUIDE.split("\n## ")
    if re.search(r"^1\. ", part, re.MULTILINE)
}


def test_it_is_one_page() -> None:
    assert GUIDE.count("\n") <= 118


def test_every_kind_of_addition_has_an_example() -> None:
    kinds = {"A widget", "A planner setting", "A memory term", "A metric", "An optimizer"}
    kinds |= {"A chapter", "A GPU", "A model family", "A measurement"}
    assert set(EXAMPLES) == kinds


def test_a_metric_with_a_chart_is_named_in_no_script_of_the_page() -> None:
    charted = [metric.name for metric in METRICS if metric.chart]
    scripts = [name for name in tracked_names() if name.startswith("web/") and name.endswith(".js")]
    assert charted
    assert scripts
    for script in scripts:
        text = (ROOT / script).read_text()
        assert not [name for name in charted if f'"{name}"' in text], script


def test_a_planner_setting_is_added_in_two_product_files() -> None:
    names = [name for _, name, _ in EXAMPLES["A planner setting"]]
    assert sum(not name.startswith("tests/") for name in names) <= 2


def test_an_optimizer_is_added_in_five_places() -> None:
    assert len(EXAMPLES["An optimizer"]) <= 5


def test_a_widget_is_added_in_six_places() -> None:
    assert len(EXAMPLES["A widget"]) <= 6


@pytest.mark.parametrize("kind", EXAMPLES)
def test_the_steps_are_numbered_and_each_names_a_file_and_a_word(kind: str) -> None:
    steps = EXAMPLES[kind]
    assert [int(number) for number, _, _ in steps] == list(range(1, len(steps) + 1))
    assert len(steps) >= 2
    part = GUIDE.split(f"## {kind}")[1].split("\n## ")[0]
    assert len(re.findall(r"^\d+\. ", part, re.MULTILINE)) == len(steps), "a step of another form"


@pytest.mark.parametrize("kind", EXAMPLES)
def test_every_file_of_a_walk_is_there_and_holds_its_word(kind: str) -> None:
    for _, name, word in EXAMPLES[kind]:
        assert name in tracked_names(), name
        assert word in (ROOT / name).read_text(), f"{name} has no {word!r}"


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_walk_has_a_test_in_it_and_names_no_file_twice(kind: str) -> None:
    names = [name for _, name, _ in EXAMPLES[kind]]
    assert any(name.startswith("tests/") for name in names)
    assert len(set(names)) == len(names)


def test_the_commands_of_the_set_up_are_those_of_build() -> None:
    import build

    commands = set(re.findall(r"python3 build\.py (\w+)", GUIDE))
    assert {"build", "check", "test"} <= commands
    assert not [name for name in commands if not hasattr(build, name)]
