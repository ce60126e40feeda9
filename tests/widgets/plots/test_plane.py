"""The plane of learning and keeping: where paths lead, and what is said of them."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from unfrozen.lab import choices
from widgets.node import SVG, Node, with_class

CHALLENGE = choices.view()["challenge"]
WIDTH = 640


def run(number: int, *path: tuple[float, float], title: str = "a run") -> dict[str, Any]:
    points = [{"task": task, "general": general} for task, general in path]
    return {"number": number, "path": points, "title": title, "isShown": number == 1}


def plane(node: Node, *runs: dict[str, Any], width: int = WIDTH) -> ElementTree.Element:
    html = node.html("plots/plane", "planeView", CHALLENGE, list(runs), width)
    return ElementTree.fromstring(f"<p>{html}</p>")


def centre(group: ElementTree.Element) -> tuple[float, float]:
    circle = group.find(f"{SVG}circle")
    found = circle if circle is not None else group.find("circle")
    assert found is not None
    return float(found.attrib["cx"]), float(found.attrib["cy"])


def turns(group: ElementTree.Element) -> list[tuple[float, float]]:
    path = next(child for child in group if child.tag.endswith("path"))
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+),([\d.]+)", path.attrib["d"])]


def test_more_learned_is_further_right_and_more_kept_higher(node: Node) -> None:
    tree = plane(node, run(1, (0.2, 0.5)), run(2, (0.9, 0.8)))
    (left, low), (right, high) = map(centre, with_class(tree, "page-run-dot-run"))
    assert left < right
    assert high < low, "y grows downwards"


def test_a_path_goes_through_every_evaluation_and_ends_at_its_number(node: Node) -> None:
    tree = plane(node, run(1, (0, 1), (0.5, 0.9), (1, 0.8)))
    (group,) = with_class(tree, "page-run-dot-run")
    (left, top), (middle, _), end = turns(group)
    (start,) = with_class(tree, "page-run-dot-start")
    assert (left, top) == centre(start)
    assert end == centre(group)
    assert middle == pytest.approx((left + end[0]) / 2, abs=0.1)


@pytest.mark.parametrize("point", [(0, 0), (0, 1), (1, 0), (1, 1), (0.875, 0.96)])
@pytest.mark.parametrize("width", [280, 390, 760])
def test_every_dot_lies_within_the_drawing(
    node: Node, point: tuple[float, float], width: int
) -> None:
    (group,) = with_class(plane(node, run(1, point), width=width), "page-run-dot-run")
    x, y = centre(group)
    assert 10 <= x <= width - 10
    assert 10 <= y <= 330


def test_every_run_is_told_to_who_cannot_see_the_plane(node: Node) -> None:
    tree = plane(node, run(1, (0.5, 0.25), title="Default"), run(2, (1, 1), title="<b>EWC</b>"))
    (svg,) = with_class(tree, "page-run-svg")
    label = svg.attrib["aria-label"]
    assert "1, Default: learned 50%, kept 25%" in label
    assert "2, <b>EWC</b>: learned 100%, kept 100%" in label
    assert "No run of yours yet" in with_class(plane(node), "page-run-svg")[0].attrib["aria-label"]


def blended(alpha: float, task: float, general: float, name: str = "") -> dict[str, Any]:
    sets = {
        "task": {"loss": 1.0, "exact": int(64 * task), "of": 64, "change": None},
        "general": {
            "loss": 1.0,
            "exact": int(64 * general),
            "of": 64,
            "change": {"value": 0.5, "interval": [-0.25, 0.75]},
        },
    }
    return {"alpha": alpha, "sets": sets} | ({"name": name} if name else {})


def test_a_blend_is_a_curve_whose_points_say_their_figures(node: Node) -> None:
    points = [
        blended(0, 0, 1),
        blended(0.5, 0.5, 1),
        blended(1, 1, 0.5),
        blended(1, 1, 1, "mlp put back"),
    ]
    made = {"blends": [{"how": "", "chosen": 0.5, "reason": "it is best", "points": points}]}
    blends = node.call("run/compare", "blendsOf", made)
    tree = plane(node, run(1, (0, 1), (1, 0.5)) | {"blends": blends})
    (svg,) = with_class(tree, "page-run-svg")
    assert svg.attrib["role"] == "group"  # what is in an image cannot have the focus
    found = with_class(tree, "plane-point")
    assert [point.attrib["aria-label"] for point in found][1:] == [
        "α = 0.5; learned 32 of 64; kept 64 of 64, +0.500 (−0.250 to +0.750)",
        "α = 1; learned 64 of 64; kept 32 of 64, +0.500 (−0.250 to +0.750)",
        "mlp put back; learned 64 of 64; kept 64 of 64, +0.500 (−0.250 to +0.750)",
    ]
    (chosen,) = with_class(tree, "plane-point-chosen")
    assert chosen is found[1]
    lefts = [centre(point)[0] for point in found[:3]]
    assert lefts == sorted(set(lefts))
    (line,) = (each for each in tree.iter() if each.tag.endswith("polyline"))
    assert line.attrib["points"].count(",") == 3, "what has a name is on no curve"


def test_a_blend_without_answers_is_no_curve(node: Node) -> None:
    sets = {"task": {"loss": 1.0, "exact": None, "of": None, "change": None}}
    made = {"how": "", "chosen": None, "reason": "", "points": [{"alpha": 1, "sets": sets}]}
    assert node.call("run/compare", "blendsOf", {"blends": [made]}) == []


def texts_of(tree: ElementTree.Element, name: str) -> list[str]:
    return [text.text or "" for text in with_class(tree, name)]


def compared(node: Node, *runs: dict[str, Any]) -> ElementTree.Element:
    """Without a challenge, as runs are compared."""
    html = node.html("plots/plane", "planeView", None, list(runs), WIDTH)
    return ElementTree.fromstring(f"<p>{html}</p>")


def test_axes_reach_as_far_as_points_and_intervals_need_and_say_so(node: Node) -> None:
    within = {"task": [0.0, 0.06], "general": [0.81, 0.97]}
    tree = compared(node, run(1, (0, 0.92), (0.02, 0.9)) | {"within": within})
    assert texts_of(tree, "plot-tick") == [
        *("80%", "85%", "90%", "95%", "100%"),
        *("0%", "2%", "4%", "6%", "8%", "10%"),
    ]
    (note,) = with_class(tree, "run-chart-note")
    assert note.text == "Axes cut to the points: learned 0% to 10%, kept 80% to 100%."
    (cross,) = with_class(tree, "plane-within")
    numbers = [float(number) for number in re.findall(r"[\d.]+", cross.attrib["d"])]
    assert min(numbers) >= 30
    assert max(numbers) <= WIDTH - 18


def test_axes_that_are_not_cut_say_nothing(node: Node) -> None:
    tree = compared(node, run(1, (0, 1), (1, 0)))
    assert with_class(tree, "run-chart-note")[0].text is None


def test_numbers_of_runs_that_end_alike_stand_apart_and_lead_to_their_points(node: Node) -> None:
    tree = compared(node, *(run(number, (0, 1), (0.5, 0.5)) for number in (1, 2, 3)))
    groups = with_class(tree, "page-run-dot-run")
    badges = [
        (float(text.attrib["x"]), float(text.attrib["y"]) - 4)
        for group in groups
        for text in group
        if text.tag.endswith("text")
    ]
    for index, (x, y) in enumerate(badges):
        assert not [(a, b) for a, b in badges[:index] if not max(abs(x - a), abs(y - b)) >= 20]
    assert len({turns(group)[-1] for group in groups}) == 1
    ends = {leader.attrib["d"].split("L")[0] for leader in with_class(tree, "plane-leader")}
    assert len(ends) == 1
    assert len(with_class(tree, "plane-leader")) == 2


def test_points_of_a_blend_that_cover_one_another_share_a_label(node: Node) -> None:
    points = [blended(0, 0, 1), blended(0.5, 0.5, 1), blended(0.6, 0.5, 1), blended(1, 1, 0.5)]
    made = {"blends": [{"how": "", "chosen": 0.6, "reason": "", "points": points}]}
    blends = node.call("run/compare", "blendsOf", made)
    tree = compared(node, run(1, (0, 1), (1, 0.5)) | {"blends": blends})
    (group,) = with_class(tree, "plane-blend")
    labels = [text for text in group if text.tag.endswith("text")]
    assert [label.text for label in labels] == ["α 0.6, 0.5", "α 0", "α 1"]
    assert "before" in ElementTree.tostring(tree, encoding="unicode")
