"""Which lines the charts of a run show, on which scale, and what stands at their ends."""

from typing import Any

import pytest

from unfrozen.events import METRICS
from widgets.node import Node


def scores(*losses: float) -> dict[str, Any]:
    return {
        "x": list(range(len(losses))),
        "y": list(losses),
        "delta": [loss - losses[0] for loss in losses],
        "baseline": losses[0],
        "old": [],
    }


def plain_run(losses: list[Any], **evals: Any) -> dict[str, Any]:
    steps = list(range(1, len(losses) + 1))
    return {
        "run": "a run",
        "series": {
            "train/loss": {"x": steps, "y": losses, "old": []},
            "opt/lr": {"x": steps[:-1], "y": [1e-3] * (len(steps) - 1), "old": []},
        },
        "evals": evals,
        "right": {},
        "plan": {"steps": len(losses), "x": steps, "lr": [1e-3] * len(losses)},
        "attempts": [],
        "nonFinite": None,
    }


def charts(node: Node, losses: list[Any], **evals: Any) -> dict[str, Any]:
    found: dict[str, Any] = node.call("run/view/charts", "makeCharts", plain_run(losses, **evals))
    return found


def ends(chart: dict[str, Any]) -> list[str]:
    return [line.get("end", line["label"]) for line in chart["lines"]]


@pytest.mark.parametrize(
    ("losses", "is_log"),
    [([15.4, 2.1, 0.3], True), ([4.2, 3.1, 2.6], False), ([15.4, 0.0], False), (["NaN"], False)],
)
def test_a_loss_that_falls_to_a_small_part_gets_a_log_scale_and_says_so(
    node: Node, losses: list[Any], is_log: bool
) -> None:
    loss = charts(node, losses)["loss"]
    assert loss["log"] is is_log
    assert loss["title"].endswith("(log scale)") is is_log


def test_right_answers_are_drawn_by_set_without_their_sum(node: Node) -> None:
    assert charts(node, [1.0], task=scores(2.0))["right"] is None
    run = plain_run([1.0])
    answers = {"x": [0, 4], "y": [42 / 64, 0.5], "of": 64, "old": [{"x": [5], "y": [0.0]}]}
    run["right"] = dict.fromkeys(("task", "general", "general/capitals"), answers)
    right = node.call("run/view/charts", "makeCharts", run)["right"]
    assert ends(right) == ["", "", "task 32 of 64", "capitals 32 of 64"]
    assert right["unit"] == "ratio"


def test_every_skill_and_their_mean_have_a_line_with_its_change(node: Node) -> None:
    suites = {"general/sums": scores(0.0, 0.5), "general/verbs": scores(0.1, 0.2)}
    evals = charts(node, [1.0], **suites, general=scores(0.05, 0.35))["evals"]
    assert ends(evals) == ["sums +0.500", "verbs +0.100", "general +0.300"]


def test_a_lone_skill_is_not_drawn_again_as_its_own_mean(node: Node) -> None:
    suites = {"general/english": scores(3.0, 2.9), "general": scores(3.0, 2.9)}
    (line,) = charts(node, [1.0], **suites)["evals"]["lines"]
    assert line["end"] == "english −0.100"
    assert line["dots"]


def test_while_a_run_goes_on_only_the_plan_is_named(node: Node) -> None:
    assert ends(charts(node, [1.0, 0.9, 0.8])["rate"]) == ["planned", ""]


def measured(name: str, *values: float) -> dict[str, Any]:
    run = plain_run([3.0, 2.0])
    run["series"][name] = {"x": list(range(1, len(values) + 1)), "y": list(values), "old": []}
    return run


@pytest.mark.parametrize(
    ("chart", "name", "values", "unit", "shown"),
    [
        ("Gradient norm", "train/grad_norm", [1.5, 0.5], "1", [1.5, 0.5]),
        ("Step time", "perf/step_seconds", [0.2, 0.3], "seconds", [0.2, 0.3]),
        ("Process memory (RSS)", "sys/rss_bytes", [2**30, 3 * 2**30], "GiB", [1, 3]),
        ("Stalled weights", "opt/stalled_ratio", [0.5, 0.25], "%", [50, 25]),
        ("Router balance loss", "router/balance_loss", [1.5, 1.25], "1", [1.5, 1.25]),
        ("Busiest expert", "router/load_max", [2.5, 2], "1", [2.5, 2]),
        ("Routing changed", "router/load_drift", [0, 0.25], "%", [0, 25]),
    ],
)
def test_a_measured_series_has_a_chart_of_its_own(
    node: Node, chart: str, name: str, values: list[float], unit: str, shown: list[float]
) -> None:
    found = node.call("run/view/charts", "makeCharts", measured(name, *values))
    assert found[chart]["unit"] == unit
    assert found[chart]["lines"][0]["y"] == shown
    titles = {metric.chart for metric in METRICS if metric.chart}
    assert [title for title in titles if found[title] is not None] == [chart]


def test_a_smoothed_loss_keeps_its_batches_as_a_shadow(node: Node) -> None:
    run = plain_run([3.0, 1.0, 3.0])
    lines = node.call("run/view/charts", "makeCharts", run, {"smooth": True})["loss"]["lines"]
    shadow, mean = lines
    assert (shadow["y"], shadow["pale"]) == ([3.0, 1.0, 3.0], True)
    assert mean["label"] == "moving average"
    assert 1 < mean["y"][1] < 3


def imported(run: dict[str, Any]) -> dict[str, Any]:
    meanings = {"train/loss": "a mean of a window", "eval": "a mean of batches"}
    return {**run, "start": {"source": "imported", "tool": "T", "meanings": meanings}}


def test_of_an_imported_run_no_chart_stays_empty_for_what_will_not_come(node: Node) -> None:
    empty = plain_run([]) | {"series": {}, "plan": {"steps": 0, "x": [], "lr": []}}
    found = node.call("run/view/charts", "makeCharts", imported(empty))
    assert set(found.values()) == {None}
    ours = node.call("run/view/charts", "makeCharts", empty)
    assert not [name for name in ("loss", "rate", "evals") if ours[name] is None]


def test_a_loss_of_another_tool_says_how_it_was_taken(node: Node) -> None:
    theirs = imported(plain_run([3.0, 2.0], task=scores(3.0, 2.0)))
    alone = node.call("run/view/charts", "makeCharts", theirs)["loss"]
    assert alone["note"] == "Line: a mean of a window. Dots: held-out examples; a mean of batches."
    assert alone["lines"][0]["label"] == "as logged"


def test_machine_and_gpus_share_a_chart_by_what_they_measure(node: Node) -> None:
    run = plain_run([3.0, 2.0])
    for name, values in {
        "sys/process_cpu": [0.1, 0.2],
        "sys/machine_cpu": [0.3, 0.4],
        "gpu/power/10": [300.0, 310.0],
        "gpu/power/2": [400.0, 410.0],
        "gpu/memory_bytes/0": [2**30, 2**31],
    }.items():
        run["series"][name] = {"x": [1, 2], "y": values, "old": []}
    found = node.call("run/view/charts", "makeCharts", run)
    assert ends(found["CPU"]) == ["CPU, this process", "CPU, machine"]
    assert found["CPU"]["unit"] == "%"
    power = found["GPU power"]
    assert (power["title"], power["unit"], ends(power)) == (
        "GPU power",
        "W",
        ["GPU 2", "GPU 10"],
    )
    assert power["lines"][0]["y"] == [400.0, 410.0]
    assert found["GPU memory"]["unit"] == "GiB"
    assert ends(found["GPU memory"]) == [""]  # one GPU needs no name
    assert found["GPU utilization"] is found["RAM"] is None


def test_a_loss_of_the_loops_own_is_not_called_nats_per_token(node: Node) -> None:
    run = plain_run([0.69, 0.68])
    run["start"] = {"source": "watched", "meanings": {"train/loss": "what the loop computes"}}
    loss = node.call("run/view/charts", "makeCharts", run)["loss"]
    assert loss["unit"] == "1"
    assert loss["note"] == "Line: what the loop computes."
