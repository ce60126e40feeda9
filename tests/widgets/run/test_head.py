"""The head of a run: how many numbers the model has, and how many of them are trained."""

from typing import Any

import pytest

from widgets.node import Node, texts, with_class


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
    run = {
        "start": start,
        "step": 0,
        "plan": {},
        "series": {},
        "evals": {},
        "right": {},
        "ends": {},
        "memory": nothing,
    }
    run["time"] = {"elapsed": 0, "left": None}
    (said, *_) = texts(node.tree("run/view/head", "headView", run))
    assert said.replace("\xa0", " ").endswith(words)


@pytest.mark.parametrize(
    ("left", "goes_on", "words"),
    [
        (200.0, True, "1 h 05 min elapsed · about 3 min 20 s left"),
        (200.0, False, "1 h 05 min elapsed"),
        (None, True, "1 h 05 min elapsed"),
    ],
)
def test_it_says_how_long_it_took_and_how_long_it_still_takes(
    node: Node, left: float | None, goes_on: bool, words: str
) -> None:
    run = {
        "start": None,
        "step": 4,
        "plan": {"steps": 9},
        "series": {},
        "evals": {},
        "right": {},
        "ends": {},
    }
    run |= {"memory": {"measured": {}}, "time": {"elapsed": 3900, "left": left}}
    tree = node.tree("run/view/head", "headView", run, goes_on)
    (time,) = texts(with_class(tree, "run-time"))
    assert time.replace("\xa0", " ") == words
    assert texts(with_class(tree, "run-step")) == ["Step 4 of 9"]


def test_what_was_measured_last_stands_in_the_head(node: Node) -> None:
    values = {"train/grad_norm": 1.25, "perf/step_seconds": 0.5, "train/skipped": 2}
    values |= {"sys/rss_bytes": 3 * 2**30, "opt/stalled_ratio": 0.125, "router/load_max": 2.5}
    series = {name: {"x": [1], "y": [value]} for name, value in values.items()}
    run = {
        "start": None,
        "step": 1,
        "plan": {"steps": 9},
        "series": series,
        "evals": {},
        "right": {},
        "ends": {},
    }
    run |= {"memory": {"measured": {}}, "time": {"elapsed": 1, "left": None}}
    said = "".join(texts(node.tree("run/view/head", "headView", run)))
    facts = ["Gradient norm1.25", "Step time0.5 s", "Skipped steps2"]
    facts += ["Process memory (RSS)3 GiB", "Stalled weights12.5%", "Busiest expert2.5"]
    assert [fact for fact in facts if fact in said.replace("\xa0", " ")] == facts


@pytest.mark.parametrize(
    ("series", "goes_on", "words"),
    [
        (
            {"cost/spent": 0.0123, "cost/total": 1234.5},
            True,
            "0.0123 EUR so far, about 1,234.50 EUR to its end",
        ),
        ({"cost/spent": 3.0, "cost/total": 9.0}, False, "3.00 EUR so far"),
        ({"cost/spent": 3.0}, True, "3.00 EUR so far"),
    ],
)
def test_it_says_what_it_has_cost_and_what_it_will(
    node: Node, series: dict[str, float], goes_on: bool, words: str
) -> None:
    price = {"hourly": 10.0, "currency": "EUR", "per": "an hour of one GPU, times 4"}
    points = {name: {"x": [4], "y": [value]} for name, value in series.items()}
    run = {"start": {"model": {}, "data": {}, "price": price}, "step": 4, "plan": {"steps": 9}}
    run |= {"series": points, "evals": {}, "right": {}, "ends": {}, "memory": {"measured": {}}}
    run |= {"time": {"elapsed": 8, "left": None}}
    tree = node.tree("run/view/head", "headView", run, goes_on)
    (time,) = texts(with_class(tree, "run-time"))
    assert time.replace("\xa0", " ") == f"8 s elapsed · {words}"
    (said,) = texts(with_class(tree, "run-numbers"))
    told = "Price10.00 EUR an houran hour of one GPU, times 4; pauses count"
    assert said.replace("\xa0", " ") == told
