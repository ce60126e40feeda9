"""Runs as files: raw points as CSV, charts as drawings; abandoned attempts among them."""

import csv
import io
import json
import re
from typing import Any

import pytest

from run.javascript import JavaScript


def event(kind: str, seq: int, step: int, att: int = 0, **more: Any) -> dict[str, Any]:
    head = {"v": 1, "run": "one", "seq": seq, "att": att, "t": 100.0 + seq, "rt": float(seq)}
    return {**head, "kind": kind, "step": step, **more}


RESUMED = [
    event("run.start", 0, 0, config={}, versions={}, hardware={}),
    event("eval", 1, 0, suite="task", loss=3.0, delta=0, baseline=3.0),
    *(event("metrics", 1 + n, n, m={"train/loss": 3 - n / 10}) for n in (1, 2, 3)),
    event("eval", 5, 3, suite="task", loss=2.5, delta=-0.5, baseline=3.0),
    event("run.resume", 6, 1, att=1, from_step=1),
    event("metrics", 7, 2, att=1, m={"train/loss": "NaN", "other/=SUM(1)": 7}),
    event("sys", 8, 2, att=1, m={"system/cpu": 0.5}),
    event("sys", 9, 2, att=1, m={"system/cpu": 0.75}),
]
RUNS = "const runs = input.map((events) => folded(events));"


def rows(js: JavaScript, *logs: list[dict[str, Any]]) -> list[dict[str, str]]:
    text = js(f'{RUNS} return [...csvOf(runs)].join("");', logs)
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_points_of_a_run_are_all_there_and_what_was_abandoned_is_marked(js: JavaScript) -> None:
    found = rows(js, RESUMED)
    counts = [row for row in found if not row["abandoned"]]
    assert [(row["step"], row["train/loss"], row["eval/task"]) for row in counts] == [
        ("0", "", "3"),
        ("1", "2.9", ""),
        ("2", "NaN", ""),
        ("2", "", ""),
    ]
    assert [row["system/cpu"] for row in counts] == ["", "", "0.5", "0.75"]
    gone = [(row["step"], row["train/loss"] or row["eval/task"]) for row in found[len(counts) :]]
    assert gone == [("2", "2.8"), ("3", "2.7"), ("3", "2.5")]


def test_runs_are_below_one_another_and_a_name_is_no_formula(js: JavaScript) -> None:
    other = [one | {"run": "two"} for one in RESUMED[:3]]
    found = rows(js, RESUMED, other)
    assert {row["run"] for row in found} == {RESUMED[0]["run"], "two"}
    assert not [name for name in found[0] if name.startswith(("=", "+", "-", "@"))]
    assert [row["train/loss"] for row in found if row["run"] == "two"] == ["", "2.9"]


@pytest.mark.parametrize("axis", ["step", "seconds"])
def test_an_abandoned_attempt_is_a_line_of_its_own_and_grey(js: JavaScript, axis: str) -> None:
    draw = f"""{RUNS}
      const one = {{ run: runs[0], number: 1, color: "--series-1", title: "" }};
      const {{ task }} = chartsOf([one], {{ axis: {axis!r}, also: "" }});
      return {{ lines: task.lines, picture: toHtml(chartPicture(task)) }};"""
    found = js(draw, [RESUMED])
    old, kept = (
        [line for line in found["lines"] if bool(line.get("faint")) is faint]
        for faint in (True, False)
    )
    assert [line["y"] for line in old] == [[2.8, 2.7], [2.5]]
    assert [line["y"] for line in kept] == [[2.9, "NaN"], [3]]
    assert not [line for line in found["lines"] if line["x"] != sorted(line["x"])]
    if axis == "seconds":  # of its own clock, not of that of the attempt that came after it
        assert old[0]["x"][0] < old[0]["x"][1] < kept[0]["x"][1]
    assert found["picture"].count("run-curve-faint") == 2
    assert "NaN" not in found["picture"]


def test_the_curves_of_a_log_of_many_metrics_are_offered_once_each(js: JavaScript) -> None:
    many = {f"other/m{n:05}": n for n in range(10_000)}
    parts = [dict(list(many.items())[at : at + 100]) for at in range(0, 10_000, 100)]
    log = [RESUMED[0], *(event("metrics", 1 + n, n, m=part) for n, part in enumerate(parts))]
    offered = js(
        f"{RUNS} return otherCurves(runs.map((run) => ({{ run }}))).map(([name]) => name);",
        [log, log],
    )
    assert len(offered) == len(set(offered)) == 256
    assert len(rows(js, log)) == 3


@pytest.mark.parametrize("log", [False, True])
def test_values_that_no_axis_has_are_gaps_of_a_chart(js: JavaScript, log: bool) -> None:
    values = ["NaN", "Infinity", "-Infinity", 0, -1, 1e-3, 5]
    events = [event("metrics", 1 + n, n, m={"train/loss": y}) for n, y in enumerate(values)]
    draw = f"""{RUNS}
      const one = {{ run: runs[0], number: 1, color: "--series-1", title: "" }};
      const {{ task }} = chartsOf([one], {{ axis: "step", also: "", log: {json.dumps(log)} }});
      return {{ y: task.lines[0].y, picture: toHtml(chartPicture(task)) }};"""
    found = js(draw, [[RESUMED[0], *events]])
    assert found["y"][-2:] == [1e-3, 5]
    assert "NaN" not in found["picture"]
    assert "Infinity" not in found["picture"]
    (path,) = re.findall(r'class="run-curve[^>]*><path d="([^"]*)"', found["picture"])
    assert path.count("M") == 1  # what can be drawn is one piece
    assert path.count(",") == (2 if log else 4)


def test_a_picture_of_a_range_holds_what_is_in_sight(js: JavaScript) -> None:
    line = {"label": "a", "color": "--ink", "x": [0, 1, 2, 3, 4], "y": [900, 1, 2, 3, 700]}
    chart = {"title": "", "unit": "1", "room": 24, "note": "", "lines": [line]}
    chart["lines"].append(line | {"label": "before", "x": [0, 0.5], "y": [1, 2]})
    chart |= {"marks": [{"x": 2, "label": "in"}, {"x": 4, "label": "beyond"}]}
    draw = "return toHtml(chartPicture(input.chart, 640, input.range ?? undefined));"
    whole, part = (js(draw, {"chart": chart, "range": range_}) for range_ in (None, [1, 3]))
    for picture, points in ((whole, 5), (part, 3)):
        path, *others = re.findall(r'class="run-curve[^>]*><path d="([^"]*)"', picture)
        assert path.count(",") == points
        assert bool(others) == (picture == whole)
    assert ("beyond" in whole, "beyond" in part, ">in<" in part) == (True, False, True)
    assert "500" not in part, "its values set the other axis too"


def test_a_run_without_anything_to_draw_has_no_chart(js: JavaScript) -> None:
    one = [RESUMED[0] | {"kind": "from.another.version", "fields": [1]}]
    draw = f"""{RUNS}
      const one = {{ run: runs[0], number: 1, color: "--series-1", title: "" }};
      const charts = chartsOf([one, {{ ...one, number: 2 }}], {{ axis: "tokens", also: "" }});
      return Object.values(charts);"""
    assert js(draw, [one]) == [None] * 4


def test_a_run_that_lacks_the_axis_is_left_out_of_the_charts_over_it(js: JavaScript) -> None:
    counted = [RESUMED[0], event("metrics", 1, 1, m={"train/loss": 2, "train/tokens": 50})]
    draw = f"""{RUNS}
      const compared = runs.map((run, n) => ({{ run, number: n + 1, color: "--ink", title: "" }}));
      return chartsOf(compared, {{ axis: "tokens", also: "" }}).task.lines;"""
    lines = js(draw, [RESUMED, counted])
    assert [(line["label"], line["x"]) for line in lines] == [("run 2, each batch", [50])]
