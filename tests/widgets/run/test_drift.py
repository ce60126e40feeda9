"""Drift by layer: a bar for each, in the order of the model, on a scale that starts at zero."""

from collections.abc import Mapping
from itertools import pairwise

import pytest

from widgets.node import Node, texts, with_class

SMALL = {"embed_tokens": 0.03, "layers.0": 0.12, "layers.1": 0.09, "norm": 0.01}
DEEP = {"embed_tokens": 0.001, **{f"layers.{n}": 0.002 for n in range(30)}, "norm": 0.0001}
GPT2 = {"wte": 0.03, "wpe": 0.01, "h.0": 0.1, "ln_f": 0.002}


def bars(
    node: Node, layers: Mapping[str, float | str], width: int = 480
) -> list[tuple[str, float]]:
    """What each bar says, and how high it is."""
    tree = node.tree("run/view/bars", "driftView", layers, width)
    found = with_class(tree, "run-moved")
    return [("".join(bar.itertext()), float(bar.get("height", ""))) for bar in found]


def test_every_layer_has_a_bar_as_high_as_it_has_moved(node: Node) -> None:
    found = bars(node, SMALL)
    assert [text for text, _ in found] == [
        "embed_tokens: 3%",
        "layers.0: 12%",
        "layers.1: 9%",
        "norm: 1%",
    ]
    unit = found[0][1] / 3
    assert [height for _, height in found] == pytest.approx([3 * unit, 12 * unit, 9 * unit, unit])


def test_the_axis_starts_at_zero_and_is_in_per_cent(node: Node) -> None:
    tree = node.tree("run/view/bars", "driftView", SMALL, 480)
    ticks = [each for each in with_class(tree, "plot-tick") if each.get("text-anchor") == "end"]
    assert texts(ticks)[0] == "0"
    assert texts(ticks)[-1] == "15%"


@pytest.mark.parametrize(("layers", "apart"), [(SMALL, 2), (DEEP, 2), (GPT2, 3)])
def test_what_is_no_layer_is_set_apart(node: Node, layers: dict[str, float], apart: int) -> None:
    tree = node.tree("run/view/bars", "driftView", layers, 480)
    assert len(with_class(tree, "run-moved-apart")) == apart


@pytest.mark.parametrize("width", [320, 480, 900])
def test_names_below_the_bars_do_not_touch(node: Node, width: int) -> None:
    tree = node.tree("run/view/bars", "driftView", DEEP, width)
    names = [text for text in tree.iter() if text.get("text-anchor") == "middle"]
    places = sorted(float(text.get("x", "")) for text in names)
    assert names[0].text == "embed"
    assert {"10", "20"} <= {text.text for text in names}
    assert min(b - a for a, b in pairwise(places)) > 18


def test_a_layer_that_is_no_number_has_no_bar_and_says_so(node: Node) -> None:
    assert bars(node, {"layers.0": "NaN", "layers.1": 0.1})[0] == ("layers.0: NaN", 0)


@pytest.mark.parametrize("layers", [{}, {"layers.0": 0}, {"layers.0": "NaN"}])
def test_nothing_is_drawn_while_nothing_has_moved(node: Node, layers: dict[str, float]) -> None:
    assert node.call("run/view/bars", "driftView", layers, 480) is None


def test_the_table_lists_every_layer_and_the_whole(node: Node) -> None:
    drift = {"x": [0, 20], "total": [0, 0.0951], "layers": {"layers.0": 0.0912}}
    table = node.call("run/view/tables", "driftTable", drift)
    assert table["rows"] == [["layers.0", 9.12], ["the whole model", 9.51]]
    assert table["units"] == ["", "%"]
    assert table["caption"] == "Drift from the pre-trained weights at step 20"
    empty = node.call("run/view/tables", "driftTable", {"x": [], "total": [], "layers": {}})
    assert empty["rows"] == []
