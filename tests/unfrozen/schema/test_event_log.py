"""Event lines: what a line must hold, and in which order lines may come."""

import json
from pathlib import Path
from typing import Any

import pytest

from gpu_runner.log.writer import EventLog, SystemClock
from unfrozen.events import KINDS, METRIC_NAMES
from unfrozen.schema import LogOrder, read_event, read_line


def event(kind: str = "metrics", seq: int = 0, **more: Any) -> dict[str, Any]:
    return {"run": "r", "seq": seq, "att": 0, "t": 100.0, "kind": kind, "step": seq} | more


def test_a_node_in_place_of_a_text_is_refused() -> None:
    node = {"tag": "img", "attrs": {"src": "x", "onerror": "alert(1)"}, "children": []}
    assert read_event(event("alert", text=node)).problem == (
        "text is an object of 3; it must be text of at most 16,384 characters"
    )
    assert read_event(event("sample", prompt="p", text=["x", node])).value is None
    assert read_event(event("run.end", status="constructor")).problem.startswith("status is")


@pytest.mark.parametrize("name", ["t", "seq", "att", "run", "kind"])
def test_a_line_needs_its_head(name: str) -> None:
    less = event(m={})
    del less[name]
    assert read_event(less).problem.startswith(f"{name} is missing; it must be")


@pytest.mark.parametrize(
    "more",
    [
        {"t": 1e300},
        {"t": "NaN"},
        {"step": -1},
        {"step": 0.5},
        {"step": 10**400},
        {"run": "\ud800"},
        {"run": "a\u0000"},
        {"seq": True},
    ],
)
def test_a_head_out_of_its_bounds_is_refused(more: dict[str, Any]) -> None:
    assert read_event(event(m={}) | more).value is None


def test_a_kind_from_the_future_is_its_head_and_fields_from_the_future_are_counted() -> None:
    verdict = read_event(event("dream", m={"x": 1}))
    assert verdict.value == event("dream")
    assert (verdict.problem, verdict.unknown) == ("", 1)
    assert read_event(event(m={}, color="red")).unknown == 1


def test_what_the_writer_writes_is_let_through_kind_by_kind(tmp_path: Path) -> None:
    needed: dict[str, dict[str, Any]] = {
        "mem": {"instant": "load", "components": {"params": 1}, "total_bytes": 1},
        "run.end": {"status": "finished"},
        "run.resume": {"from_step": 1},
        "eval": {"suite": "task", "loss": float("nan"), "delta": 0.0, "baseline": 1.0},
        "sample": {"prompt": "p", "text": "é", "when": "before"},
        "answer": {"prompt": "p", "after": {"text": "a", "ended": True}},
        "predicted": {"predicted": {"peak_instant": "load", "peak_bytes": 1}},
        "metrics": {"m": dict.fromkeys(METRIC_NAMES, float("inf"))},
        "blend": {"how": "", "points": [{"alpha": 0.5, "sets": {"task": {"loss": float("nan")}}}]},
        "alert": {"level": "warn", "text": "x" * 20_000},  # over the line: the writer cuts it
    }
    path = tmp_path / "events.jsonl"
    with EventLog(path, run="r", clock=SystemClock()) as log:
        for kind in KINDS:
            log.emit(kind, 1, **needed.get(kind, {}))
    problems = [read_line(line).problem for line in path.read_bytes().splitlines()]
    assert [problem for problem in problems if problem] == [
        "text is missing; it must be text of at most 16,384 characters"  # and says so in the next
    ]


def test_lines_of_another_run_a_second_start_and_steps_backwards_are_out_of_order() -> None:
    order = LogOrder()
    assert order.accept(event("run.start", 0)) == ""
    assert order.accept(event("run.start", 1)) == "kind is run.start; a run starts once"
    assert order.accept(event(seq=5)) == ""
    assert order.accept(event(seq=6, run="s")).startswith("run differs")
    assert order.accept(event(seq=6, step=4)) == "step is 4; the log had come to step 5"
    assert order.accept(event("alert", seq=6, step=0)) == ""
    assert order.accept(event(seq=2, step=2)) == ""  # a repetition, which is counted elsewhere


def test_an_end_is_the_end_until_a_resume() -> None:
    order = LogOrder()
    for one in (event(seq=8), event("run.end", 9), event("alert", 10)):
        assert order.accept(one) == ""
    assert order.accept(event(seq=11)).startswith("kind is metrics; the run had ended")
    assert order.accept(event("run.resume", 11, att=1, step=3, from_step=3)) == ""
    assert order.accept(event(seq=12, att=1, step=4)) == ""
    assert order.accept(event(seq=13, att=0, step=5)) == "att is 0; the log had come to attempt 1"


def test_a_damaged_line_is_no_json() -> None:
    assert read_line(b'{"run":').problem == "the line is not JSON"
    assert json.loads(json.dumps(read_line("[1]").problem)).startswith("the line is a list of 1")
