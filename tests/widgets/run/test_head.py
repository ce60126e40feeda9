"""The head of a run: how many numbers the model has, and how many of them are trained."""

from typing import Any

import pytest

from widgets.node import Node, texts


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"num_parameters": 27_040}, "27,040 parameters, all of them trained"),
        (
            {"num_parameters": 27_040, "num_trained": 27_040},
            "27,040 parameters, all of them trained",
        ),
        (
            {"num_parameters": 136_957_248, "num_trained": 2_442_240},
            "137 million parameters, 2.44 million of them trained",
        ),
    ],
)
def test_it_says_how_many_numbers_are_trained(
    node: Node, model: dict[str, Any], words: str
) -> None:
    start = {"model": model, "data": {}}
    nothing: dict[str, Any] = {"measured": {}}
    run = {"start": start, "step": 0, "plan": {}, "series": {}, "evals": {}, "memory": nothing}
    run["time"] = {"elapsed": 0, "left": None}
    (said, *_) = texts(node.tree("run/view/head", "headView", run))
    assert said.replace("\xa0", " ").endswith(words)
