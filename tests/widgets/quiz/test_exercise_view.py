"""The drawing of an exercise, from what Python says to the printed tree."""

from functools import cache
from typing import Any
from xml.etree import ElementTree

import pytest

from unfrozen.exercises.compute_it import as_json
from widgets.node import Node, texts, with_class

SEEDS = range(1, 6)  # one of every kind


@cache
def given(seed: int) -> Any:
    """What Python says of an exercise."""
    return as_json(seed)


def drawn(node: Node, seed: int) -> ElementTree.Element:
    """The printed exercise."""
    return node.tree("quiz/exercise-view", "exerciseView", given(seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_every_word_and_number_comes_from_python(node: Node, seed: int) -> None:
    text = "".join(drawn(node, seed).itertext())
    found = given(seed)
    assert found["question"] in text
    for name, value in found["given"]:
        assert f"{name}{value}" in text
    for label, formula, size in found["terms"]:
        assert f"{label}{size}{formula}" in text
    for source in found["sources"]:
        assert source in text


@pytest.mark.parametrize("seed", SEEDS)
def test_hints_come_one_after_the_other_and_the_answer_last(node: Node, seed: int) -> None:
    folds = list(drawn(node, seed).iter("details"))
    names = [texts([fold[0]])[0] for fold in folds]
    hints = given(seed)["hints"]
    assert names == [f"Hint {number + 1}" for number in range(len(hints))] + ["Answer"]
    assert not [fold for fold in folds if "open" in fold.attrib]
    for fold, hint in zip(folds[:-1], hints, strict=True):
        assert hint["text"] in "".join(fold.itertext())


def test_the_field_has_a_label_and_the_verdict_is_announced(node: Node) -> None:
    tree = drawn(node, 1)
    (label,) = tree.iter("label")
    assert len(list(label.iter("input"))) == 1
    assert "GB or GiB" in "".join(label.itertext())
    (verdict,) = with_class(tree, "exercise-verdict")
    assert verdict.get("role") == "status"


def test_the_job_alone_and_the_help_alone_are_those_of_the_whole(node: Node) -> None:
    whole = node.html("quiz/exercise-view", "exerciseView", given(2))
    assert node.html("quiz/exercise-view", "jobView", given(2)) in whole
    assert node.html("quiz/exercise-view", "helpView", given(2)) in whole
