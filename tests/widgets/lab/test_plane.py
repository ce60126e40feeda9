"""The plane of learning and forgetting: where dots stand, what is joined, what is said of them."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest

from site_builder.page_run import view
from widgets.node import SVG, Node, texts, with_class

VIEW = view({})
WIDTH = 640


def dot(number: int, task: float, general: float, title: str = "a run") -> dict[str, Any]:
    return {
        "number": number,
        "task": task,
        "general": general,
        "title": title,
        "isShown": number == 1,
    }


def plane(node: Node, *dots: dict[str, Any], width: int = WIDTH) -> ElementTree.Element:
    args = (VIEW["plane"], VIEW["challenge"], list(dots), width)
    return ElementTree.fromstring(f"<p>{node.html('lab/plane', 'planeView', *args)}</p>")


def centre(group: ElementTree.Element) -> tuple[float, float]:
    circle = group.find(f"{SVG}circle")
    found = circle if circle is not None else group.find("circle")
    assert found is not None
    return float(found.attrib["cx"]), float(found.attrib["cy"])


def test_less_loss_on_the_task_is_further_left_and_less_forgetting_lower(node: Node) -> None:
    tree = plane(node, dot(1, 0.5, 0.2), dot(2, 5.0, 0.05))
    (left, high), (right, low) = map(centre, with_class(tree, "page-run-dot-run"))
    assert left < right
    assert high < low, "y grows downwards"


def test_equal_ratios_are_equal_distances(node: Node) -> None:
    tree = plane(node, dot(1, 0.2, 0.05), dot(2, 1.0, 0.1), dot(3, 5.0, 0.2))
    places = [centre(group) for group in with_class(tree, "page-run-dot-run")]
    for axis in (0, 1):
        steps = [after[axis] - before[axis] for before, after in pairwise(places)]
        assert steps[0] == pytest.approx(steps[1], abs=0.3)


@pytest.mark.parametrize(
    ("task", "general"),
    [(1e-9, 1e-9), (0.0, 0.0), (1e6, 1e6), (12.0, 300.0), (0.9, 0.045)],
)
@pytest.mark.parametrize("width", [280, 390, 760])
def test_every_dot_lies_within_the_drawing(
    node: Node, task: float, general: float, width: int
) -> None:
    tree = plane(node, dot(1, task, general), dot(2, 1.0, 0.1), width=width)
    for group in [*with_class(tree, "page-run-dot-run"), *with_class(tree, "page-run-dot-known")]:
        x, y = centre(group)
        assert 0 <= x <= width
        assert 0 <= y <= 340
        assert math.isfinite(x + y)


def test_runs_that_no_other_beats_at_both_are_joined_and_the_others_are_not(node: Node) -> None:
    best = [dot(1, 0.5, 0.3), dot(2, 1.0, 0.1), dot(3, 4.0, 0.05)]
    beaten = dot(4, 2.0, 0.2)
    tree = plane(node, *best, beaten)
    (path,) = with_class(tree, "page-run-pareto")
    turns = [float(x) for x in re.findall(r"[MH]([\d.]+)", path.attrib["d"])]
    assert turns == [centre(group)[0] for group in with_class(tree, "page-run-dot-run")[:3]]


@pytest.mark.parametrize("dots", [[], [dot(1, 1, 0.1)], [dot(1, 1, 0.1), dot(2, 2, 0.2)]])
def test_without_two_runs_that_stand_for_themselves_there_is_no_line(
    node: Node, dots: list[dict[str, Any]]
) -> None:
    assert with_class(plane(node, *dots), "page-run-pareto") == []


def test_every_run_is_told_to_who_cannot_see_the_plane(node: Node) -> None:
    tree = plane(node, dot(1, 0.5, 0.2, "As it comes"), dot(2, 5.0, 0.05, "<b>EWC</b>"))
    (svg,) = with_class(tree, "page-run-svg")
    label = svg.attrib["aria-label"]
    assert "1, As it comes: task 0.5" in label
    assert "2, <b>EWC</b>: task 5" in label
    assert "No run of yours yet" in with_class(plane(node), "page-run-svg")[0].attrib["aria-label"]


def test_every_letter_has_its_line_with_the_flag_that_makes_it(node: Node) -> None:
    tree = plane(node)
    letters = texts(with_class(tree, "page-run-dot-known"))
    known = VIEW["plane"]["known"]
    assert len(letters) == len(known) > 4
    lines = texts(list(with_class(tree, "page-run-known")[0].iter("li")))
    for line, made in zip(lines, known, strict=True):
        assert line.startswith(made["title"])
        assert made["flags"] in line
