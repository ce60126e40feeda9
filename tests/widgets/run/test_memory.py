"""Memory by instant: every column and table divides it in one order, whoever named its parts."""

import pytest

from unfrozen.events import COMPONENTS
from widgets.node import Node, texts, with_class

BYTES = {"from a newer trainer": 5, "gathered": 4, "adapters": 3, "grads": 2, "params": 1}
ORDER = [*(name for name in COMPONENTS if name in BYTES), "from a newer trainer"]
LABELS = [COMPONENTS.get(name, name) for name in ORDER]
MEMORY = {
    "predicted": {"backward": BYTES},
    "measured": {"backward": {"components": BYTES, "bytes": 15, "step": 1}},
}


def test_columns_stand_in_the_order_of_the_words_with_unknown_ones_last(node: Node) -> None:
    (column,) = node.call("run/view/bars", "columnsOf", MEMORY)
    for parts in (column["predicted"], column["measured"]):
        assert [name for name, _ in parts] == ORDER
    assert column["label"] == "Backward"


def test_the_legend_has_that_order_too(node: Node) -> None:
    tree = node.tree("run/view/bars", "memoryLegend", MEMORY)
    assert texts(list(tree))[: len(LABELS)] == LABELS
    assert with_class(tree, "c-grads")


@pytest.mark.parametrize("known", ["predicted", "measured"])
def test_the_table_has_it_where_only_some_are_known_on_one_side(node: Node, known: str) -> None:
    few = {"gathered": 4, "params": 1}
    predicted, measured = (few, BYTES) if known == "predicted" else (BYTES, few)
    memory = {
        "predicted": {"backward": predicted},
        "measured": {"backward": {"components": measured, "bytes": 15, "step": 1}},
    }
    table = node.call("run/view/tables", "memoryTable", memory)
    assert [row[1] for row in table["rows"]] == LABELS
