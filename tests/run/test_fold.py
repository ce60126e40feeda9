"""The page's picture of a run: the fold of its events, whatever happens to them on the way."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_runner.log.writer import EventLog, SystemClock
from run.javascript import JavaScript
from unfrozen.events import KINDS, METRIC_NAMES
from unfrozen.held_out import ExactMatch


def event(seq: int, kind: str = "metrics", **more: Any) -> dict[str, Any]:
    return {
        "v": 1,
        "run": "r",
        "seq": seq,
        "att": 0,
        "t": 100.0 + seq,
        "kind": kind,
        "step": seq,
        **more,
    }


def loss(seq: int, value: object = 1.0, **more: Any) -> dict[str, Any]:
    return event(seq, m={"train/loss": value}, **more)


def fold(js: JavaScript, events: list[dict[str, Any]]) -> dict[str, Any]:
    folded: dict[str, Any] = js("return folded(input);", events)
    return folded


def test_a_run_in_order_has_no_gap_and_no_repetition(js: JavaScript) -> None:
    run = fold(js, [loss(seq, seq / 2) for seq in range(5)])
    assert (run["lastSeq"], run["events"], run["gaps"], run["duplicates"]) == (4, 5, 0, 0)
    assert run["series"]["train/loss"]["x"] == [0, 1, 2, 3, 4]
    assert run["series"]["train/loss"]["y"] == [0, 0.5, 1, 1.5, 2]
    assert (run["status"], run["step"], run["lastTime"]) == ("running", 4, 104.0)


def test_missing_and_repeated_events_are_counted(js: JavaScript) -> None:
    run = fold(js, [loss(0), loss(1), loss(1, 9.0), loss(5), loss(4, 9.0), loss(6)])
    assert (run["gaps"], run["duplicates"], run["lastSeq"]) == (3, 2, 6)
    assert run["series"]["train/loss"]["x"] == [0, 1, 5, 6]
    assert 9.0 not in run["series"]["train/loss"]["y"]


@settings(max_examples=12, deadline=None)
@given(order=st.lists(st.integers(0, 30), max_size=60))
def test_whatever_arrives_the_counts_explain_it(js: JavaScript, order: list[int]) -> None:
    run = fold(js, [loss(seq) for seq in order])
    xs = run["series"].get("train/loss", {"x": []})["x"]
    assert xs == sorted(set(xs))
    assert run["events"] + run["duplicates"] == len(order)
    assert run["events"] + run["gaps"] == run["lastSeq"] + 1


def test_a_kind_from_the_future_is_counted_and_harms_nothing(js: JavaScript) -> None:
    run = fold(js, [loss(0), event(1, "dream", m={"train/loss": 0}), loss(2)])
    assert (run["unknownKinds"], run["gaps"], run["series"]["train/loss"]["x"]) == (1, 0, [0, 2])


def test_every_kind_of_the_trainer_is_known_to_the_page(js: JavaScript, tmp_path: Path) -> None:
    needed: dict[str, dict[str, Any]] = {
        "blend": {"how": "", "points": []},
        "mem": {
            "instant": "load",
            "components": {"params": 1},
            "total_bytes": 1,
            "source": "tensors",
        },
        "run.end": {"status": "finished"},
        "eval": {"suite": "task", "loss": 1.0, "delta": 0.0, "baseline": 1.0, "tokens": 1},
        "sample": {"prompt": "p", "text": "t", "when": "before"},
        "metrics": {"m": dict.fromkeys(METRIC_NAMES, 1.0)},
    }
    path = tmp_path / "events.jsonl"
    with EventLog(path, run="r", clock=SystemClock()) as log:
        for kind in KINDS:
            log.emit(kind, 1, **needed.get(kind, {}))
    run = fold(js, [json.loads(line) for line in path.read_text().splitlines()])
    assert (run["unknownKinds"], run["events"], run["status"]) == (0, len(KINDS), "finished")
    assert set(run["series"]) == METRIC_NAMES


@pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity"])
def test_a_loss_that_is_no_number_marks_its_first_step(js: JavaScript, name: str) -> None:
    run = fold(js, [loss(0), loss(1), loss(2, name), loss(3, name)])
    assert run["nonFinite"] == 2
    assert run["series"]["train/loss"]["y"] == [1, 1, name, name]


def test_after_a_resume_the_old_attempt_is_set_aside_not_joined(js: JavaScript) -> None:
    old = [loss(seq, 5.0) for seq in range(6)]
    exact = ExactMatch(3, 1, 0).as_json()
    found = {"loss": 2.0, "delta": -1.0, "baseline": 3.0, "change": [-1.1, -0.9]}
    scores = [event(6, "eval", suite="task", exact=exact, **found)]
    resume = event(7, "run.resume", from_step=3, att=1) | {"step": 3}
    new = [loss(seq, 7.0, att=1) | {"step": seq - 4} for seq in range(8, 11)]
    run = fold(js, [*old, *scores, resume, *new])
    series = run["series"]["train/loss"]
    assert series["x"] == [0, 1, 2, 3, 4, 5, 6]
    assert series["y"] == [5, 5, 5, 5, 7, 7, 7]
    assert series["old"] == [{"x": [4, 5], "y": [5, 5]}]
    assert run["evals"]["task"] == {
        "x": [],
        "y": [],
        "rows": [],
        "delta": [],
        "baseline": 3,
        "old": [{"x": [6], "y": [2]}],
        "examples": "",
        "change": None,
    }
    assert run["right"]["task"] == {
        "x": [],
        "y": [],
        "of": 4,
        "within": None,
        "old": [{"x": [6], "y": [0.75]}],
    }
    assert run["attempts"] == [{"attempt": 1, "fromStep": 3, "time": 107}]


def test_a_resume_takes_back_the_drift_beyond_it_layer_by_layer(js: JavaScript) -> None:
    moved = [event(n, "drift", layers={"layers.0": n / 10}, total=n / 20) for n in (0, 2, 4)]
    run = fold(js, [*moved, event(5, "run.resume", from_step=3, att=1)])
    assert (run["drift"]["x"], run["drift"]["total"]) == ([0, 2], [0, 0.1])
    assert run["drift"]["layers"] == {"layers.0": 0.2}
    run = fold(js, [*moved[1:], event(5, "run.resume", from_step=0, att=1)])
    assert (run["drift"]["x"], run["drift"]["layers"]) == ([], {})


def test_a_resume_takes_back_the_end_and_the_divergence_beyond_it(js: JavaScript) -> None:
    before = [loss(0), loss(1), loss(2, "NaN"), event(3, "run.end", status="failed", reason="NaN")]
    assert fold(js, before)["status"] == "failed"
    run = fold(js, [*before, event(4, "run.resume", from_step=1, att=1)])
    assert (run["status"], run["end"], run["nonFinite"]) == ("running", None, None)


def test_an_evaluation_of_other_examples_is_not_joined_with_earlier_ones(js: JavaScript) -> None:
    def look(seq: int, step: int, **more: str) -> dict[str, object]:
        head = {"v": 1, "run": "r", "seq": seq, "att": 0, "t": 1.0, "kind": "eval", "step": step}
        exact = {"right": 4 - seq, "does_not_stop": seq, "wrong": 0, "of": 4}
        return {**head, "suite": "task", "loss": 2.0 - seq, "exact": exact, **more}

    looks = [look(0, 0, examples="aa"), look(1, 5, examples="aa"), look(2, 9, examples="bb")]
    found = js("const {evals, right, ends} = folded(input); return {evals, right, ends};", looks)
    assert (found["evals"]["task"]["x"], found["right"]["task"]["y"]) == ([9], [0.5])
    assert found["evals"]["task"]["old"] == [{"x": [0, 5], "y": [2.0, 1.0]}]
    assert found["ends"]["task"] == [2]
    older = [{**each, "examples": ""} for each in looks]
    assert js("return folded(input).evals.task.x;", older) == [0, 5, 9]


def test_a_resume_to_another_last_step_brings_its_plan(js: JavaScript) -> None:
    plans = [{"steps": n, "lr": [2e-3, 1e-3], "lr_steps": [1, n]} for n in (3, 6)]
    before = [event(0, "run.start", plan=plans[0]), event(1, "run.end", status="finished")]
    run = fold(js, [*before, event(2, "run.resume", from_step=3, att=1, plan=plans[1])])
    assert run["plan"] == {"steps": 6, "lr": [2e-3, 1e-3], "x": [1, 6]}
    run = fold(js, [*before, event(2, "run.resume", from_step=3, att=1)])
    assert run["plan"]["steps"] == 3


def test_of_each_instant_the_largest_measurement_is_kept(js: JavaScript) -> None:
    sizes = [(1, 70), (2, 90), (3, 80)]
    events = [
        event(s, "mem", instant="load", components={"params": b}, total_bytes=b, source="cuda")
        for s, b in sizes
    ]
    measured = fold(js, events)["memory"]["measured"]
    assert measured == {
        "load": {"step": 2, "components": {"params": 90}, "bytes": 90, "source": "cuda"}
    }


def test_the_change_of_a_loss_is_the_trainers_own_number(js: JavaScript) -> None:
    odd = [event(0, "eval", suite="general", loss=2.0, delta=0.125, baseline=1.0)]
    assert fold(js, odd)["evals"]["general"]["delta"] == [0.125]


def test_samples_before_and_after_meet_at_their_prompt(js: JavaScript) -> None:
    said = [("a", "1", "before"), ("b", "2", "before"), ("a", "3", "after")]
    events = [event(s, "sample", prompt=p, text=t, when=w) for s, (p, t, w) in enumerate(said)]
    assert fold(js, events)["samples"] == [
        {"prompt": "a", "before": "1", "after": "3"},
        {"prompt": "b", "before": "2", "after": None},
    ]


def test_names_and_alerts_without_end_are_bounded_and_counted(js: JavaScript) -> None:
    names = [event(seq, m={f"x/{seq}": 1.0}) for seq in range(300)]
    alerts = [event(300 + seq, "alert", level="warn", text=str(seq)) for seq in range(250)]
    run = fold(js, names + alerts)
    assert (len(run["series"]), run["unknownSeries"]) == (256, 44)
    assert (len(run["alerts"]), run["alertCount"], run["alerts"][-1]["text"]) == (200, 250, "249")


def test_what_is_no_event_is_refused_and_the_first_reasons_are_reported(js: JavaScript) -> None:
    bad: list[Any] = [{}, {"seq": "1", "kind": "beat"}, {"seq": 1}, None, 5, [], "x"]
    lines = [json.dumps(one) for one in bad]
    run = js("return input.map(parseEvent).reduce(fold, emptyRun());", lines)
    assert (run["events"], run["refusedLines"], len(run["refusals"])) == (0, 7, 5)
    assert (
        run["refusals"][3] == "the line is null; it must be an object with run, seq, att, t, kind"
    )


def test_a_line_that_cannot_come_now_is_refused(js: JavaScript) -> None:
    other = loss(3) | {"run": "another"}
    run = fold(js, [event(0, "run.start"), event(1, "run.start"), loss(2), other, loss(4, step=1)])
    assert (run["events"], run["refusedLines"], run["gaps"]) == (2, 3, 1)
    assert run["series"]["train/loss"]["x"] == [2]


def test_tables_of_names_do_not_grow_without_end(js: JavaScript) -> None:
    texts = {"prompt": "p", "text": "t"}
    samples = [event(n, "sample") | texts | {"prompt": f"p{n}"} for n in range(100)]
    run = fold(js, samples)
    assert (len(run["samples"]), run["droppedSamples"]) == (64, 36)
    resumed = [event(n, "run.resume", from_step=0) | {"att": n} for n in range(1, 400)]
    assert len(fold(js, resumed)["attempts"]) == 256
    sizes = {"components": {}, "total_bytes": 1}
    memory = [event(n, "mem") | sizes | {"instant": f"i{n}"} for n in range(100)]
    assert len(fold(js, memory)["memory"]["measured"]) == 16
    scores = {"loss": 1, "delta": 0, "baseline": 1}
    many = fold(js, [event(n, "eval", suite=f"s{n}") | scores for n in range(300)])
    assert (len(many["evals"]), many["unknownSeries"]) == (256, 44)
    assert all(many["evals"].values())
    assert all(fold(js, [event(n, m={f"a{n}": 1}) for n in range(300)])["series"].values())


def test_names_from_the_prototype_are_plain_names(js: JavaScript) -> None:
    odd = [event(0, "constructor"), event(1, m={"__proto__": 1, "toString": 2.0})]
    run = fold(js, odd)
    assert run["unknownKinds"] == 1
    assert run["series"]["toString"]["y"] == [2]


@pytest.mark.slow
def test_a_hundred_thousand_events_cost_a_few_times_what_parsing_them_costs(js: JavaScript) -> None:
    body = """
    const lines = Array.from({ length: 100_000 }, (_, seq) => JSON.stringify(
      { v: 1, run: "r", seq, att: 0, t: seq, rt: seq, kind: "metrics", step: seq,
        m: { "train/loss": 2.31, "opt/lr": 1e-5, "train/grad_norm": 1.5 } }));
    const parsing = performance.now();
    lines.forEach((line) => JSON.parse(line));
    const started = performance.now();
    const run = lines.map(parseEvent).reduce(fold, emptyRun());
    const over = performance.now();
    return { ratio: (over - started) / (started - parsing), events: run.events };
    """
    answer = js(body)
    assert answer["events"] == 100_000
    assert answer["ratio"] < 20, "checking and folding grow as the lines do"


def test_a_blend_comes_after_the_end_replaces_its_like_and_goes_with_a_resume(
    js: JavaScript,
) -> None:
    def blend(seq: int, chosen: float, how: str = "", **more: Any) -> dict[str, Any]:
        point = {"alpha": chosen, "sets": {"task": {"loss": 1.0}}}
        return event(seq, "blend", how=how, chosen=chosen, points=[point], **more)

    end = event(1, "run.end", status="finished")
    first = [loss(0), end, blend(2, 0.5, begins=True), blend(3, 0.5), blend(4, 1, "repaired")]
    run = fold(js, first)
    assert [(one["how"], len(one["points"])) for one in run["blends"]] == [("", 2), ("repaired", 1)]
    assert (run["status"], run["refusedLines"]) == ("finished", 0)
    again = [*first, blend(5, 0.8, begins=True)]
    assert [one["chosen"] for one in fold(js, again)["blends"]] == [1, 0.8]
    resumed = event(6, "run.resume", att=1, from_step=0)
    assert fold(js, [*again, resumed])["blends"] == []
