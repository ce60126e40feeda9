import pytest

from unfrozen.plan.methods import chart
from widgets.node import Node


@pytest.mark.parametrize(
    "color",
    [
        "#f00",
        "#FF0000aa",
        "crimson",
        "SteelBlue",
        "rgb(1, 2, 3)",
        "rgba(1 2 3 / 50%)",
        "hsl(120deg, 50%, 50%)",
        "oklch(0.6 0.1 200)",
    ],
)
def test_a_plain_colour_is_honoured(node: Node, color: str) -> None:
    assert node.call("plots/model", "safeColor", color) == color


@pytest.mark.parametrize(
    "color",
    [
        "url(javascript:alert(1))",
        "red;background:url(x)",
        'red"><script>',
        "var(--ink)",
        "notacolor",
        "rgb(1,2,3",
        "expression(alert(1))",
        "",
        "transparent",
        "#12",
        None,
        7,
        ["red"],
        "red" * 40,
    ],
)
def test_anything_else_falls_back_to_the_palette(node: Node, color: object) -> None:
    assert node.call("plots/model", "safeColor", color) is None
    [paint] = node.call("plots/model", "paintsOf", [{"label": "a", "color": color}])
    assert paint == {"class": "series series-1", "color": None}


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("Weights", "weights"),
        ("gradients (bf16)", "gradients"),
        ("Optimizer", "moments"),
        ("Activations and other", "activations"),
        ("Master weights", "master"),
        ("Logits", "logits"),
    ],
)
def test_a_memory_component_keeps_its_colour(node: Node, label: str, name: str) -> None:
    [paint] = node.call("plots/model", "paintsOf", [{"label": label}])
    assert paint["class"] == f"series memory-{name}"


def test_two_lines_never_share_one_component_colour(node: Node) -> None:
    paints = node.call("plots/model", "paintsOf", [{"label": "Weights"}, {"label": "Weights"}])
    assert paints[0]["class"] != paints[1]["class"]


def test_weight_decay_is_no_memory_component(node: Node) -> None:
    [paint] = node.call("plots/model", "paintsOf", [{"label": "Weight decay 0.1"}])
    assert paint["class"] == "series series-1"


def test_no_part_of_the_methods_chart_takes_a_colour_that_looks_like_another_s(node: Node) -> None:
    lines = [{"label": line.label} for line in chart().lines]
    drawn = [paint["class"] for paint in node.call("plots/model", "paintsOf", lines)]
    parts = ("weights", "gradients", "moments", "activations", "context")
    assert drawn == [f"series memory-{part}" for part in parts]
