"""A foreign run as a log: within the bounds of every line, and honest about what it is not."""

import math

import pytest

from imported_logs import curve, events, of_kind
from unfrozen.imported.log import ForeignRun
from unfrozen.imported.points import Points
from unfrozen.imported.tools import TOOLS


def run(points: Points, tool: str = "csv", **fields: object) -> ForeignRun:
    last = points.last_step
    return ForeignRun(tool, points, "0" * 64, last_step=last, **fields)  # type: ignore[arg-type]


def points(*rows: tuple[str, int, float], time: float = 0.0) -> Points:
    found = Points()
    for name, step, value in rows:
        found.add(name, step, value, time and time + step)
    return found


def test_many_long_names_of_one_step_take_several_lines() -> None:
    names = ["n" * 90 + str(n) + "é" * 60 for n in range(150)]
    found = events(run(points(*((name, 1, 1 / 3) for name in names))))
    metrics = of_kind(found, "metrics")
    assert len(metrics) > 1
    assert {event["step"] for event in metrics} == {1}


def test_a_configuration_too_large_for_a_line_is_cut_and_what_is_missing_is_named() -> None:
    config = {"small": 1, "large": "x" * 4000, "larger": "y" * 6000, "nan": math.nan}
    found = events(run(points(("a", 1, 1.0)), config=config))
    assert found[0]["config"].keys() == {"small", "large", "nan"}
    assert found[0]["config"]["nan"] == "NaN"
    assert "larger" in " ".join(event["text"] for event in of_kind(found, "alert"))


def test_dates_that_are_none_are_not_believed() -> None:
    found = Points()
    for step, time in enumerate([math.nan, -5.0, 1e300, 1000.0, math.inf]):
        found.add("a", step, 1.0, time)
    assert {event["t"] for event in events(run(found), written=7.0)} == {1000.0}


def test_time_between_two_attempts_is_no_time_of_the_run() -> None:
    rows = points(("a", 1, 1.0), ("a", 2, 1.0), time=100.0)
    rows.add("a", 2, 1.0, 900.0)
    rows.add("a", 1, 1.0, 1000.0)
    rows.add("a", 2, 1.0, 1001.0)
    found = events(run(rows))
    (resumed,) = of_kind(found, "run.resume")
    assert resumed["t"] == 1000.0


def test_after_a_restart_before_the_first_evaluation_changes_count_from_the_new_one() -> None:
    rows = points(("eval/loss", 10, 3.0), ("eval/loss", 20, 2.0))
    rows.add("eval/loss", 5, 4.0)
    rows.add("eval/loss", 10, 3.0)
    deltas = [event["delta"] for event in of_kind(events(run(rows)), "eval")]
    assert deltas == [0.0, -1.0, 0.0, -1.0]


def test_what_it_has_is_not_said_to_be_lacking() -> None:
    bare = events(run(points(("x", 1, 1.0))))[0]
    rich = points(("train/loss", 1, 1.0), ("eval/loss", 1, 1.0), ("eval/general_loss", 1, 1.0))
    rich.add("perf/tokens_per_second", 1, 9.0, 50.0)
    full = events(run(rich))[0]
    assert set(full["lacks"]) < set(bare["lacks"])
    assert len(full["lacks"]) == len(bare["lacks"]) - 5
    assert "meanings" not in bare or bare["meanings"] == {}
    assert full["meanings"].keys() == {"train/loss", "eval"}


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_is_reported_in_words(tool: str) -> None:
    found = events(run(points(("loss", 1, 2.0)), tool), "my run")
    assert found[0]["tool"] == TOOLS[tool].label
    assert found[0]["model"]["name"] == "my run"
    assert found[0]["run"] == f"{tool}-000000000000"
    assert curve(found, "train/loss") == [(1, 2.0)]


def test_without_a_name_it_is_called_after_its_tool() -> None:
    found = events(run(points(("a", 1, 1.0)), "trainer"))
    assert found[0]["model"]["name"] == "Hugging Face Trainer"
