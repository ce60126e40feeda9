"""The decision's drawing, from what Python says to the printed tree."""

from functools import cache
from typing import Any
from xml.etree import ElementTree

import pytest

from unfrozen.decision import decide, view
from unfrozen.decision.task import KEYS
from widgets.node import Node, texts, with_class

STATES: dict[str, dict[str, str]] = {
    "default": {},
    "priced": {"price": "2", "gpus": "8", "model": "meta-llama/Llama-3.1-70B"},
    "nothing": {"model": "meta-llama/Llama-3.1-70B", "gpu": "RTX 4090", "learn": "knowledge"},
}


@cache
def seen(name: str) -> Any:
    """The view of one of the states."""
    return view(dict(STATES[name]))


def drawn(node: Node, name: str, **opts: bool) -> ElementTree.Element:
    """The printed decision of one of the states."""
    return node.tree("decision/view", "methodDecisionView", seen(name), opts)


@pytest.mark.parametrize("name", STATES)
def test_every_word_and_number_comes_from_python_in_its_order(node: Node, name: str) -> None:
    tree, found = drawn(node, name), seen(name)
    assert texts(with_class(tree, "verdict-title")) == [found["title"]]
    assert texts(with_class(tree, "verdict-text")) == [found["text"]]
    assert texts(with_class(tree, "md-rule")) == [found["rule"]]
    assert texts(with_class(tree, "md-name")) == [each["name"] for each in found["methods"]]
    for item, method in zip(with_class(tree, "md-method"), found["methods"], strict=True):
        text = "".join(item.itertext())
        for number in method["numbers"]:
            assert f"{number['label']}{number['text']} {number['note']}" in text
        for check in method["checks"]:
            assert f"{check['label']}: {check['text']}" in text
        assert method["recipe"] in text


@pytest.mark.parametrize("name", STATES)
def test_a_method_that_cannot_do_it_is_marked_by_more_than_colour(node: Node, name: str) -> None:
    items = with_class(drawn(node, name), "md-method")
    for item, method in zip(items, seen(name)["methods"], strict=True):
        assert ("md-cannot" in item.get("class", "")) == (not method["does_it"])
        marks = texts(with_class(item, "md-mark"))
        assert marks == ["✓" if check["good"] else "✗" for check in method["checks"]]


def test_every_flip_is_a_button_when_live_and_words_when_baked(node: Node) -> None:
    found = seen("default")
    live, baked = drawn(node, "default", live=True), drawn(node, "default")
    flips = [
        (f"{key} {index}", flip["text"])
        for method in found["methods"]
        for key in [method["key"]]
        for index, flip in enumerate(found["flips"][key])
    ]
    buttons = with_class(live, "chip")
    assert [(each.get("data-flip"), each.text) for each in buttons] == flips
    assert not [each for each in buttons if each.tag != "button"]
    assert texts(with_class(baked, "chip")) == [text for _, text in flips]
    assert {each.tag for each in with_class(baked, "chip")} == {"span"}


def test_what_is_first_says_nothing_of_what_would_put_it_there(node: Node) -> None:
    tree = drawn(node, "default")
    told = [texts(with_class(item, "md-flips")) for item in with_class(tree, "md-method")]
    assert told[0] == []
    assert all(told[1:])


def test_every_control_has_a_label_and_a_place_for_its_error(node: Node) -> None:
    tree = drawn(node, "default", live=True)
    labelled = {label.get("for") for label in tree.iter("label")}
    for control in [*tree.iter("input"), *tree.iter("select")]:
        inside = control.get("type") == "radio"
        assert inside or control.get("id") in labelled or control.get("aria-label")
    assert {slot.get("data-error") for slot in with_class(tree, "field-error")} == set(KEYS)


def test_controls_rest_and_lists_are_short_until_the_page_is_alive(node: Node) -> None:
    baked, live = drawn(node, "default"), drawn(node, "default", live=True)
    assert with_class(baked, "md-controls")[0].get("disabled") == ""
    assert with_class(live, "md-controls")[0].get("disabled") is None
    assert len(list(baked.iter("option"))) == 2
    assert len(list(live.iter("option"))) > 20


def test_links_lead_to_the_planner_and_carry_their_plan_beside(node: Node) -> None:
    links = with_class(drawn(node, "default"), "md-planner")
    plans = [each["planner"] for each in seen("default")["methods"] if each["planner"]]
    assert [link.get("data-query") for link in links] == plans
    assert {link.get("href") for link in links} == {"#planner"}


@pytest.mark.parametrize(
    ("element", "change"),
    [
        ({"dataset": {"key": "tasks"}, "type": "text", "value": " 7 "}, {"tasks": "7"}),
        ({"dataset": {"key": "tasks"}, "type": "text", "value": ""}, None),
        ({"dataset": {"key": "price"}, "type": "text", "value": ""}, {"price": ""}),
        ({"dataset": {"slides": "gpus"}, "type": "range", "value": "3"}, {"gpus": "8"}),
        (
            {"dataset": {"key": "want"}, "type": "radio", "checked": True, "value": "keep"},
            {"want": "keep"},
        ),
        ({"dataset": {"key": "want"}, "type": "radio", "checked": False, "value": "keep"}, None),
        ({"dataset": {}, "type": "text", "value": "x"}, None),
    ],
)
def test_an_edit_is_a_change_of_the_state(
    node: Node, element: dict[str, Any], change: dict[str, str] | None
) -> None:
    found = node.call("decision/view", "editOf", element, seen("default")["counts"])
    assert found == change


def test_what_the_reader_typed_stays_though_it_cannot_be_read(node: Node) -> None:
    broken = seen("default") | decide({"gpus": "<b>many</b>"})
    tree = node.tree("decision/view", "methodDecisionView", broken, {"live": True})
    [field] = [each for each in tree.iter("input") if each.get("id") == "md-gpus"]
    assert field.get("value") == "<b>many</b>"
    assert "b" not in {each.tag for each in tree.iter("fieldset") for each in each.iter()}
