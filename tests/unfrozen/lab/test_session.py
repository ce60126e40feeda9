"""A reader's session: choices in, lines of a log out, questions between two pieces of work."""

import json
import time
from typing import Any

import pytest

from lab_demo import files
from unfrozen.lab.fine_tune import ClockFunctions
from unfrozen.lab.session import LabSession
from unfrozen.schema import read_event

QUICK = {"steps": 2, "rows_per_step": 2, "eval_rows": 2, "sample_tokens": 2}


@pytest.fixture(scope="module")
def session() -> LabSession:
    return LabSession(files(), ClockFunctions(time.time, time.monotonic))


def begun(session: LabSession, choices: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(session.start(json.dumps(choices), "page-1", "{}"))
    return found


def worked(session: LabSession) -> list[dict[str, Any]]:
    text = ""
    while (piece := session.work()) is not None:
        text += piece
    return [json.loads(line) for line in text.splitlines()]


def asked(session: LabSession, prompt: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(session.ask(prompt))
    return found


def test_before_the_first_run_only_the_model_itself_answers() -> None:
    found = asked(
        LabSession(files(), ClockFunctions(time.time, time.monotonic)), "The capital of France is"
    )
    assert found["before"] == {"text": " Paris.", "pieces": [" P", "aris", "."], "ended": True}
    assert found["after"] is None


def test_a_run_is_a_log_under_the_name_it_was_given(session: LabSession) -> None:
    found = begun(session, QUICK)
    assert (found["problem"], found["title"]) == ("", "steps 2")
    assert "--steps 2" in found["command"]
    log = worked(session)
    assert {event["run"] for event in log} == {"page-1"}
    assert not [problem for event in log if (problem := read_event(event).problem)]
    assert log[-1]["kind"] == "run.end"


@pytest.mark.slow
def test_both_models_are_asked_and_the_place_where_they_part_is_reported(
    session: LabSession,
) -> None:
    begun(session, {"steps": 6, "lr": 0.01, "eval_rows": 2, "sample_tokens": 2, "warmup": 0})
    worked(session)
    found = asked(session, "Write 826 with dashes:")
    pairs = list(zip(found["before"]["pieces"], found["after"]["pieces"], strict=False))
    assert found["before"]["text"] != found["after"]["text"]
    assert not [(one, other) for one, other in pairs[: found["parts"]] if one != other]
    assert pairs[found["parts"] :][:1] == [] or len(set(pairs[found["parts"]])) == 2
    assert found["step"] == 6


@pytest.mark.slow
def test_a_question_between_two_steps_is_answered_with_the_weights_as_they_are(
    session: LabSession,
) -> None:
    begun(session, QUICK)
    while not (piece := session.work()) or json.loads(piece)["kind"] != "metrics":
        pass
    assert asked(session, "71 + 65 =")["after"] is not None
    assert worked(session)[-1]["status"] == "finished"


@pytest.mark.parametrize(
    ("prompt", "note"),
    [("", "an empty line"), ("word " * 4000, "the last 112 tokens"), ("🙂🙂", ""), ("x", "")],
)
def test_any_prompt_is_answered_and_what_was_not_read_is_reported(
    session: LabSession, prompt: str, note: str
) -> None:
    found = asked(session, prompt)
    assert note in found["note"]
    assert bool(found["note"]) == bool(note)
    assert len(found["prompt"]) <= 20_000


@pytest.mark.parametrize("choices", [{"lr": 11}, {"steps": "many"}, {"rate": 1}, [1], 7, None])
def test_choices_that_are_none_are_refused_in_words(session: LabSession, choices: object) -> None:
    found = begun(session, choices)
    assert found["problem"]
    assert found["command"] == ""


@pytest.mark.slow
def test_a_refused_start_leaves_the_last_run_to_be_asked(session: LabSession) -> None:
    begun(session, QUICK)
    worked(session)
    assert begun(session, {"lr": -1})["problem"]
    assert asked(session, "71 + 65 =")["step"] == 2


def test_a_stopped_run_can_be_asked(session: LabSession) -> None:
    begun(session, QUICK | {"steps": 50})
    session.work()
    session.stop()
    assert worked(session)[-1]["status"] == "stopped"
    assert asked(session, "71 + 65 =")["after"] is not None


@pytest.mark.slow
def test_the_way_back_is_scored_and_asked_at_any_point() -> None:
    session = LabSession(files(), ClockFunctions(time.time, time.monotonic))
    assert json.loads(session.blend(0.5))["problem"] == "There is no run yet: train first."
    begun(session, {"steps": 6, "lr": 0.01, "eval_rows": 8, "sample_tokens": 2, "warmup": 0})
    session.work()
    assert "still trains" in json.loads(session.blend(0.5))["problem"]
    end = worked(session)[-1]["summary"]
    for alpha, when in ((0, "before"), (1, "after")):
        found = json.loads(session.blend(alpha))
        assert found["exact"] == {suite: exact[when] for suite, exact in end["exact"].items()}
        losses = {suite: pair[alpha] for suite, pair in end["losses"].items()}
        assert found["losses"] == pytest.approx(losses)
    middle = json.loads(session.blend(0.5))
    assert middle["losses"]["general"] < end["losses"]["general"][1]
    back = json.loads(session.ask("The capital of France is", 0))
    assert back["after"] == back["before"]


@pytest.mark.parametrize("alpha", [1.5, -0.1, "x"])
def test_a_model_that_is_not_between_is_refused_with_the_bound(
    session: LabSession, alpha: Any
) -> None:
    found = json.loads(session.ask("71 + 65 =", alpha))
    assert "from 0, before training, to 1" in found["problem"]
