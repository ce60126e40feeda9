"""The fine-tune in the page as a tree: what is baked, what is live, how answers and runs read."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from site_builder.page_run import view
from widgets.node import Node, texts, with_class


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    """Everything that the element draws."""
    return view({})


def answers(node: Node, **said: Any) -> ElementTree.Element:
    empty = {"before": None, "after": None, "parts": None, "step": 0, "note": "", "problem": ""}
    return node.tree("lab/view", "answersView", empty | said)


def wrote(*pieces: str, ended: bool = True) -> dict[str, Any]:
    return {"text": "".join(pieces), "pieces": list(pieces), "ended": ended}


def runs(node: Node, *given: dict[str, Any], shown: str = "") -> ElementTree.Element:
    found = node.html("lab/view", "runsView", list(given), shown)
    return ElementTree.fromstring(f"<ol>{found}</ol>")


def run(name: str, **more: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {"id": name, "title": f"title of {name}", "command": "", "end": None}
    return plain | {"over": False, "saved": False, "path": []} | more


def test_baked_it_can_be_read_and_nothing_pretends_to_work(
    node: Node, whole: dict[str, Any]
) -> None:
    tree = node.tree("lab/view", "pageRunView", whole)
    assert "needs JavaScript" in texts(with_class(tree, "page-run-note"))[0]
    fields = list(tree.iter("fieldset"))
    assert len(fields) == 2
    assert not [each for each in fields if "disabled" not in each.attrib]
    loose = [*with_class(tree, "page-run-start"), *with_class(tree, "page-run-prompt")]
    assert not [each for each in loose if "disabled" not in each.attrib]


def test_live_every_dial_has_a_name_a_value_and_what_it_does(
    node: Node, whole: dict[str, Any]
) -> None:
    tree = node.tree("lab/view", "pageRunView", whole, {"live": True})
    labels = {each.attrib["for"] for each in tree.iter("label")}
    for dial in whole["dials"]:
        name = f"page-run-{dial['name']}"
        (slider,) = (each for each in tree.iter("input") if each.get("id") == name)
        assert name in labels
        assert slider.attrib["aria-valuetext"] == dial["texts"][dial["at"]]
        assert int(slider.attrib["max"]) == len(dial["stops"]) - 1
    assert texts(with_class(tree, "hint")) == [dial["note"] for dial in whole["dials"]]


def test_bars_tell_right_answers_from_those_that_do_not_stop(node: Node) -> None:
    before = {"right": 32, "does_not_stop": 0, "wrong": 0, "of": 32}
    now = {"right": 8, "does_not_stop": 4, "wrong": 20, "of": 32}
    sets = {name: {"before": before, "now": now} for name in ("task", "general", "general/tenses")}
    found = node.html("lab/view", "barsView", sets)
    tree = ElementTree.fromstring(f"<div>{found}</div>")
    names = [text.removesuffix(" (before 32)") for text in texts(with_class(tree, "page-run-bar"))]
    assert names == [f"{name}8 of 32 right, 4 more do not stop" for name in ("task", "tenses")]
    widths = [float(rect.attrib["width"]) for rect in tree.iter("rect")][:3]
    assert widths == [100, 37.5, 25]


def test_tokens_are_marked_from_where_the_two_part(node: Node) -> None:
    tree = answers(node, before=wrote("a", "b", "c"), after=wrote("a", "x"), parts=1, step=5)
    assert texts(with_class(tree, "page-run-token-differs")) == ["b", "c", "x"]
    assert texts(with_class(tree, "faint")) == ["Before", "After 5 steps"]


def test_a_mixture_answers_under_its_own_name(node: Node) -> None:
    said = {"before": wrote("a"), "after": wrote("b"), "parts": 0, "step": 5}
    for alpha, name in ((1, "After 5 steps"), (0.7, "α = 0.7")):
        tree = answers(node, **said, alpha=alpha)
        assert texts(with_class(tree, "faint")) == ["Before", name]


def test_the_right_answer_of_a_held_out_row_stands_below_both(node: Node) -> None:
    said = {"before": wrote("a"), "after": wrote("b"), "parts": 0, "step": 5}
    tree = answers(node, **said, expected="5-2-7")
    assert texts(with_class(tree, "page-run-answer-text")) == ["a", "b", "5-2-7"]


def test_before_the_first_run_the_start_answers_alone(node: Node) -> None:
    tree = answers(node, before=wrote("a", "b"))
    assert with_class(tree, "page-run-token-differs") == []
    assert "answers beside it" in texts(with_class(tree, "faint"))[-1]


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (wrote(), "ends at once"),
        (wrote("a", ended=False), "a…"),
        (wrote("a\n", "\tb"), "a⏎⇥b"),
        (wrote("<script>", "&"), "<script>&"),
    ],
)
def test_whatever_a_model_writes_is_shown_on_its_line(
    node: Node, said: dict[str, Any], text: str
) -> None:
    assert texts(with_class(answers(node, before=said), "page-run-answer-text")) == [text]


def test_a_problem_stands_where_an_answer_would(node: Node) -> None:
    tree = answers(node, problem="Python stopped (MemoryError).")
    assert "".join(tree.itertext()) == "Python stopped (MemoryError)."


def test_a_run_offers_what_can_be_done_with_it(node: Node) -> None:
    path = [{"task": 0, "general": 1}, {"task": 0.9375, "general": 0.8}]
    done = {"over": True, "path": path, "end": {"status": "finished", "summary": {}}}
    tree = runs(
        node,
        run("on"),
        run("done", **done, command="unfrozen train"),
        run("saved", **done, saved=True),
        run("died", over=True, path=path, end={"status": "failed", "summary": {}}),
        run("cut", over=True, end=None),
        shown="done",
    )
    items = list(tree.iter("li"))
    assert [texts(list(item.iter("button"))) for item in items] == [
        ["Show"],
        ["Show", "Save in browser", "Save log", "Copy command"],
        ["Show", "Remove from browser", "Save log"],
        ["Show", "Save in browser", "Save log"],
        ["Show", "Save in browser", "Save log"],
    ]
    scores = [texts(with_class(item, "page-run-item-score"))[0] for item in items]
    assert scores[0] == "training"
    assert scores[1] == "learned 94%, kept 80%"
    assert scores[3:] == ["failed", "ended"]
    assert [item.get("aria-current") for item in items] == [None, "true", None, None, None]
