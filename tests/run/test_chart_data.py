"""The points of a chart: thinned without losing a spike or a gap, and read at a place."""

import math
from typing import Any

from run.javascript import JavaScript

THIN = "return thinned({ x: input.x, y: input.y.map(Number) }, input.range);"


def line(steps: int, **values: Any) -> dict[str, Any]:
    y = [math.sin(step / 500) for step in range(steps)]
    for step, value in values.items():
        y[int(step.removeprefix("at_"))] = value
    return {"x": list(range(steps)), "y": y, "range": None}


def test_a_short_line_is_drawn_as_it_is(js: JavaScript) -> None:
    given = line(6000)
    assert js(THIN, given)["x"] == given["x"]


def test_a_long_line_keeps_its_ends_every_spike_and_every_gap(js: JavaScript) -> None:
    given = line(100_000, at_1234=9.0, at_77_777=-9.0, at_50_001="NaN")
    found = js(THIN, given)
    assert len(found["x"]) < 5000
    assert found["x"] == sorted(set(found["x"]))
    assert (found["x"][0], found["x"][-1]) == (0, 99_999)
    shown = dict(zip(found["x"], found["y"], strict=True))
    assert shown[1234] == 9.0
    assert shown[77_777] == -9.0
    assert shown[50_001] == "NaN"


def test_of_a_range_every_point_is_drawn_and_one_on_each_side(js: JavaScript) -> None:
    found = js(THIN, line(100_000) | {"range": [500.5, 900]})
    assert found["x"] == list(range(500, 902))
    assert js(THIN, line(100_000) | {"range": [99_990, 200_000]})["x"][-1] == 99_999


def test_a_line_says_its_newest_value_and_none_beyond_its_ends(js: JavaScript) -> None:
    read = "return input.map((place) => valueAt({ x: [10, 20, 20, 30], y: [1, 2, 3, 4] }, place));"
    assert js(read, [9, 10, 19, 20, 30, 31]) == [
        None,
        {"x": 10, "y": 1},
        {"x": 10, "y": 1},
        {"x": 20, "y": 3},
        {"x": 30, "y": 4},
        None,
    ]


def test_a_cursor_goes_from_point_to_point_of_all_lines(js: JavaScript) -> None:
    lines = [{"x": [0, 10, 10, 20]}, {"x": []}, {"x": [5, 10]}]
    walk = """
      const places = [];
      for (let at = -1; at !== null; at = nextPlace(input, at, true)) places.push(at);
      for (let at = 20; at !== null; at = nextPlace(input, at, false)) places.push(at);
      return places;"""
    assert js(walk, lines) == [-1, 0, 5, 10, 20, 20, 10, 5, 0]
    near = "return [-9, 7, 8, 99].map((place) => nearestPlace(input, place));"
    assert js(near, lines) == [0, 5, 10, 20]
    assert js("return nearestPlace(input, 1);", [{"x": []}]) is None
