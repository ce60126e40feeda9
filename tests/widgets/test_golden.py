"""Small pictures kept as files: a change in how figures look shows up as a readable difference.

After a wanted change: UNFROZEN_WRITE_GOLDEN=1 python3 build.py test tests/widgets/test_golden.py
"""

import os
from pathlib import Path
from typing import Any, Final

import pytest

from widgets.node import Node

GOLDEN: Final = Path(__file__).parent / "golden"
FIGURES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "table": (
        "tables/view",
        {"headers": ["Model", "Total"], "units": ["", "GB"], "rows": [["7B", 115.2], ["13B", 213]]},
    ),
    "line": (
        "plots/view",
        {
            "title": "Loss",
            "x_label": "Step",
            "y_label": "Loss",
            "x_data": [0, 10, 20, 30],
            "lines": [
                {"label": "Task", "data": [3, 2, None, 1]},
                {"label": "Predicted", "data": [3, 2.1, 1.5, 1.1], "dashed": True},
            ],
        },
    ),
    "stacked-bar": (
        "plots/view",
        {
            "type": "stacked_bar",
            "y_label": "Memory",
            "y_unit": "GB",
            "x_data": ["Full", "LoRA"],
            "lines": [
                {"label": "Weights", "data": [14, 14]},
                {"label": "Optimizer", "data": [84, 2]},
            ],
            "thresholds": [{"label": "A100", "value": 80}],
        },
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_looks_as_it_did(node: Node, name: str) -> None:
    module, data = FIGURES[name]
    view = {"tables/view": "tableView", "plots/view": "plotView"}[module]
    drawn = node.html(module, view, data, {"width": 360}).replace("><", ">\n<") + "\n"
    kept = GOLDEN / f"{name}.html"
    if os.environ.get("UNFROZEN_WRITE_GOLDEN"):
        kept.write_text(drawn, encoding="utf-8")
    assert drawn == kept.read_text(encoding="utf-8")
