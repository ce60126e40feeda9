"""What a run view says aloud: what has changed and matters, once, and never a step."""

from typing import Any

from run.javascript import JavaScript

# Runs events through the fold as a view would, one draw after each of them.
SPEAK = """
const spoken = new Announcements();
const run = emptyRun();
let now = 0;
return input.events.map((event, seq) => {
  fold(run, { seq, run: "r", t: seq, ...event });
  now += input.gap;
  const notice = { title: event.title ?? "Live", text: `Step ${run.step}.` };
  return spoken.next(run, notice, now);
});
"""


def spoken(js: JavaScript, events: list[dict[str, Any]], gap: int = 6000) -> list[str]:
    """What is said after each event, `gap` milliseconds apart."""
    said: list[str] = js(SPEAK, {"events": events, "gap": gap})
    return said


def steps(*numbers: int) -> list[dict[str, Any]]:
    return [{"kind": "metrics", "step": step, "m": {}} for step in numbers]


def evaluation(step: int, loss: float) -> dict[str, Any]:
    scores = {"loss": loss, "delta": loss - 3, "baseline": 3}
    return {"kind": "eval", "step": step, "suite": "task", **scores}


def test_a_start_is_reported_and_steps_are_not(js: JavaScript) -> None:
    assert spoken(js, steps(1, 2, 3)) == ["Live. Step 1.", "", ""]


def test_an_evaluation_and_an_alert_are_reported_with_their_numbers(js: JavaScript) -> None:
    alert = {"kind": "alert", "level": "warn", "text": "the loss rises", "step": 2}
    said = spoken(js, [*steps(1), evaluation(1, 2.5), alert])
    assert said[1] == "Evaluated at step 1. Task loss 2.500, \u22120.500 since step 0."
    assert said[2] == "Alert: the loss rises."


def test_evaluations_that_come_thick_are_reported_every_few_seconds(js: JavaScript) -> None:
    events = [*steps(0), *(evaluation(step, 2.0) for step in range(1, 101))]
    said = [text for text in spoken(js, events, gap=100) if text]
    assert len(said) <= 4


def test_nothing_is_reported_while_a_log_is_read_and_its_past_is_not_told_again(
    js: JavaScript,
) -> None:
    past = [{**event, "title": "Reading"} for event in (*steps(1), evaluation(1, 2.0))]
    assert spoken(js, [*past, *steps(2)]) == ["", "", "Live. Step 2."]


def test_a_change_of_state_is_reported_once(js: JavaScript) -> None:
    titles = ["Live", "Stalled", "Stalled", "Live", "Finished"]
    events = [
        {**event, "title": title} for event, title in zip(steps(1, 2, 3, 4, 5), titles, strict=True)
    ]
    said = [text.split(".")[0] for text in spoken(js, events)]
    assert said == ["Live", "Stalled", "", "Live", "Finished"]
