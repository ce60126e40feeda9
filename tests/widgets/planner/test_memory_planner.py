"""The planner's drawing, from what Python says to the printed tree."""

from functools import cache
from typing import Any
from xml.etree import ElementTree

import pytest

from unfrozen.planner import view
from unfrozen.planner.state import KEYS, SETTINGS
from widgets.node import Node, texts, with_class

STATES: dict[str, dict[str, str]] = {
    "default": {},
    "sharded": {"gpus": "8", "sharding": "zero3", "micro_batch": "4"},
    "no-gpu": {"gpu": "", "price": "2"},
    "adapters": {"method": "qlora", "gpu": "RTX 4090"},
    "unasked": {"model": "Qwen/Qwen9-9B"},
}


@cache
def seen(name: str) -> Any:
    """The view of one of the states."""
    return view(dict(STATES[name]))


def drawn(node: Node, name: str, **opts: bool) -> ElementTree.Element:
    """The printed planner of one of the states."""
    return node.tree("planner/view", "memoryPlannerView", seen(name), opts)


def per_cent(element: ElementTree.Element, name: str) -> float:
    """An attribute in per cent of the width."""
    return float(element.attrib[name].removesuffix("%"))


@pytest.mark.parametrize("name", STATES)
def test_every_word_and_number_of_the_page_comes_from_python(node: Node, name: str) -> None:
    text = "".join(drawn(node, name).itertext())
    found = seen(name)
    assert found["verdict"]["title"] in text
    assert all(note in text for note in found["facts"]["notes"])
    assert ("Ask huggingface.co" in text) is (name == "unasked")
    for part in found["bar"]["parts"]:
        assert f"{part['label']} {part['text']} {part['share']}" in text
    for row in found["timeline"]["rows"]:
        assert row["text"] in text
    for change in found["advice"]:
        assert change["label"] in text
        assert change["total"] in text


@pytest.mark.parametrize("name", STATES)
def test_the_parts_of_a_bar_lie_end_to_end_on_its_scale(node: Node, name: str) -> None:
    bar = seen(name)["bar"]
    tree = node.tree("planner/figures", "barView", bar)
    boxes = with_class(tree, "predicted")
    assert len(boxes) == len(bar["parts"])
    end = 0.0
    for box in boxes:
        assert per_cent(box, "x") == pytest.approx(end, abs=0.02)
        end = per_cent(box, "x") + per_cent(box, "width")
    assert end == pytest.approx(100 * bar["total"]["bytes"] / bar["most"], abs=0.02)
    assert bool(with_class(tree, "limit")) == bool(bar["limit"])


def test_what_does_not_fit_is_shaded_from_the_line_of_the_gpu(node: Node) -> None:
    tree = node.tree("planner/figures", "barView", seen("default")["bar"])
    [over], [limit] = with_class(tree, "mp-over"), with_class(tree, "limit")
    assert over.get("x") == limit.get("x1")
    assert not with_class(node.tree("planner/figures", "barView", seen("no-gpu")["bar"]), "mp-over")


def test_the_picture_says_in_words_what_it_shows(node: Node) -> None:
    label = node.tree("planner/figures", "barView", seen("default")["bar"]).get("aria-label", "")
    assert label.startswith(seen("default")["bar"]["total"]["text"])
    assert "A100 80GB SXM" in label
    assert "error band" in label


def test_the_winning_instant_is_marked_and_named(node: Node) -> None:
    tree = drawn(node, "default")
    [row] = with_class(tree, "mp-row-peak")
    [label] = with_class(row, "mp-row-label")
    assert texts([label]) == ["Backward peak"]


def test_the_step_can_be_read_as_a_table(node: Node) -> None:
    tree = drawn(node, "default")
    [table] = with_class(tree, "mp-table")
    rows = seen("default")["timeline"]["rows"]
    assert texts(table.findall(".//tbody/tr/th")) == [row["label"] for row in rows]
    assert [
        cells[-1] for cells in (texts(tr.findall("td")) for tr in table.iterfind(".//tbody/tr"))
    ] == [row["text"] for row in rows]


@pytest.mark.parametrize("name", STATES)
def test_every_number_is_a_fold_with_its_formula_inside(node: Node, name: str) -> None:
    tree = drawn(node, name)
    folds = [*with_class(tree, "mp-part"), *with_class(tree, "mp-number")]
    assert len(folds) >= 8
    for fold in folds:
        assert fold.tag == "details"
        assert fold[0].tag == "summary"
        assert with_class(fold, "mp-formula"), fold.get("data-key")
        assert with_class(fold, "mp-source"), fold.get("data-key")
    keys = [fold.get("data-key") for fold in folds]
    assert len(set(keys)) == len(keys)


def test_every_control_has_a_label_and_a_place_for_its_error(node: Node) -> None:
    tree = drawn(node, "default", live=True)
    labelled = {label.get("for") for label in tree.iter("label")}
    for control in [*tree.iter("input"), *tree.iter("select"), *tree.iter("textarea")]:
        key = control.get("data-key")
        assert control.get("id") in labelled or control.get("aria-label"), control.attrib
        assert key is None or key in KEYS
        if key:
            [slot] = [each for each in tree.iter() if each.get("id") == f"mp-error-{key}"]
            assert slot.get("data-error") == key
            assert control.get("aria-describedby") == slot.get("id")
    offered = {key for key, setting in SETTINGS.items() if not setting.json_only} - {"unit"}
    assert {slot.get("data-error") for slot in with_class(tree, "field-error")} == offered


def test_controls_rest_until_the_page_is_alive(node: Node) -> None:
    assert with_class(drawn(node, "default"), "mp-controls")[0].get("disabled") == ""
    assert with_class(drawn(node, "default", live=True), "mp-controls")[0].get("disabled") is None


def test_every_button_leads_to_a_state_of_the_view(node: Node) -> None:
    found = seen("default")
    every = with_class(drawn(node, "default"), "mp-apply")
    buttons = [each for each in every if each.get("data-way") != "one-plan"]
    assert len(every) == len(buttons) + 1  # that one asks, and leads nowhere
    assert len(buttons) == len(found["advice"]) + 1  # the fewest GPUs
    states = [node.call("planner/answers", "stateOf", b.get("data-way"), found) for b in buttons]
    ways = [*found["advice"], found["solves"][-1]]
    assert states == [way["state"] for way in ways]
    assert not [button for button in every if not button.get("aria-label")]


def test_what_only_a_live_control_shows_is_not_baked(node: Node) -> None:
    baked, live = drawn(node, "default"), drawn(node, "default", live=True)
    assert not [each for each in baked.iter() if each.get("role") == "option"]
    assert len([each for each in live.iter() if each.get("role") == "option"]) > 20
    assert len(list(baked.iter("option"))) == 1
    assert not with_class(baked, "mp-setting")
    assert len(with_class(live, "mp-setting")) > 20


def test_nothing_a_reader_pastes_becomes_markup(node: Node) -> None:
    config = '{"model_type": "llama", "x": "</textarea><script>alert(1)</script>"}'
    found = seen("default") | {"config": config, "model": '"><img src=x>'}
    tree = node.tree("planner/view", "memoryPlannerView", found)
    assert {each.tag for each in tree.iter()}.isdisjoint({"script", "img"})
    [area] = tree.iter("textarea")
    assert area.text == config


@pytest.mark.parametrize(
    ("value", "stop"), [("1", 0), ("2048", 3), ("2000", 3), ("1e9", 3), ("none", 0), ("600", 1)]
)
def test_a_slider_stands_at_the_stop_nearest_to_the_number(
    node: Node, value: str, stop: int
) -> None:
    steps = ["256", "512", "1024", "2048"]
    assert node.call("planner/controls", "nearestStop", steps, value) == stop


@pytest.mark.parametrize(
    ("python", "planner", "standing", "words"),
    [
        ({"phase": "idle"}, {"changed": False, "computed": False}, "baked", "when this page was"),
        ({"phase": "loading", "progress": 0.4}, {"changed": True}, "loading", "loads: 40%"),
        ({"phase": "loading", "starting": True}, {"changed": True}, "loading", "Python starts"),
        ({"phase": "ready"}, {"changed": True, "computed": True}, "live", "in your browser"),
        ({"phase": "failed", "reason": "Offline."}, {"changed": True}, "failed", "Offline. Below"),
    ],
)
def test_the_planner_says_where_its_numbers_come_from(
    node: Node, python: Any, planner: Any, standing: str, words: str
) -> None:
    found = node.call("planner/status-line", "statusOf", python, {"problem": None} | planner)
    assert found["standing"] == standing
    assert words in found["text"]


def test_a_problem_without_a_control_is_reported_above_the_figures(node: Node) -> None:
    problem = {"placed": False, "key": "speed", "text": "No control."}
    about = {"changed": True, "computed": True, "problem": problem}
    found = node.call("planner/status-line", "statusOf", {"phase": "ready"}, about)
    assert found["standing"] == "stale"
    assert found["text"].startswith("speed: No control.")


def test_labels_inside_the_bar_are_left_out_where_they_would_not_fit(node: Node) -> None:
    tree = node.tree("planner/figures", "barView", seen("default")["bar"])
    words = texts(with_class(tree, "mp-word"))
    assert "Optimizer moments" in words
    assert "Device context" not in words


def test_a_line_of_the_command_breaks_before_an_option_and_keeps_every_character(
    node: Node,
) -> None:
    state = {"gpus": "32", "sharding": "zero3", "loss": "logits_fp32"}
    commands = view(state)["commands"]
    tree = node.tree("planner/answers", "commandsView", commands)
    [listing] = [found for found in tree.iter() if found.get("data-copy") == "run"]
    assert "".join(listing.itertext()) == commands["run"]  # type: ignore[index]
    options = ["".join(found.itertext()) for found in with_class(listing, "mp-option")]
    assert {"--nnodes 4", "--rdzv-endpoint FIRST_HOST:29500", "--set loss=full"} <= set(options)
    assert not [option for option in options if "\\" in option]
    assert commands["where"] in "".join(tree.itertext())  # type: ignore[index]


def test_what_the_command_needs_stands_beside_it_louder_where_that_does_not_fit(
    node: Node,
) -> None:
    for state, loud in (({"tensor_parallel": "8", "gpus": "8"}, True), ({}, False)):
        commands: Any = view(state)["commands"]
        tree = node.tree("planner/answers", "commandsView", commands)
        assert commands["needs"]["text"] in "".join(tree.itertext())
        strong = [found.text for found in tree.iter("strong")]
        assert strong == ([commands["needs"]["text"]] if loud else [])


def test_a_flag_that_is_taken_off_says_so(node: Node) -> None:
    for checked, said in ((True, "true"), (False, "false")):
        box = {"dataset": {"key": "outer_apart"}, "type": "checkbox", "checked": checked}
        assert node.call("planner/controls", "editOf", box, []) == {"outer_apart": said}
