"""What a model may be asked, and how the question of a run that trains reaches it."""

import json
from pathlib import Path

import pytest

from gpu_runner.errors import UsageError
from gpu_runner.log.commands import CommandReader, post_command
from gpu_runner.log.questions import (
    MOST_CHARACTERS,
    NAME,
    NoAnswer,
    Question,
    post_question,
    read_question,
    wait_for_answer,
)

QUESTION = Question("How many?", tokens=9, temperature=0.5, seed=3)


@pytest.mark.parametrize("options", [{"tokens": 0}, {"temperature": float("nan")}, {"seed": -1}])
def test_options_out_of_bounds_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="is out of bounds: give a number from"):
        Question("a", **options).check()


@pytest.mark.parametrize(
    ("prompt", "why"),
    [
        (" \n", "is empty"),
        ("a" * (MOST_CHARACTERS + 1), "100,001 characters: give at most 100,000"),
        ("\ud800", "holds half a character"),
    ],
)
def test_a_prompt_that_cannot_be_asked_is_refused(prompt: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        Question(prompt).check()


@pytest.mark.parametrize(
    ("question", "why"),
    [
        (Question("a" * 4001), "4,001 characters: give at most 4,000"),
        (Question("a", tokens=257), "of a run that trains, give at most 256"),
    ],
)
def test_a_run_that_trains_is_asked_what_a_line_of_its_log_can_hold(
    question: Question, why: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=why):
        post_question(tmp_path, "r", 0, question)
    assert not list(tmp_path.iterdir())


def test_a_run_reads_the_question_that_it_was_asked(tmp_path: Path) -> None:
    reader = CommandReader(tmp_path, "r", 0)
    first = post_question(tmp_path, "r", 0, QUESTION)
    post_command(tmp_path, "r", 0, "pause")
    wanted = reader.read()
    assert (wanted.ask, wanted.paused) == (first.ask, True)
    assert read_question(tmp_path, "r", 0, wanted.ask) == QUESTION
    assert read_question(tmp_path, "r", 1, wanted.ask) is None
    assert read_question(tmp_path, "other", 0, wanted.ask) is None
    newer = post_question(tmp_path, "r", 0, Question("Why?"))
    assert read_question(tmp_path, "r", 0, first.ask) is None
    assert read_question(tmp_path, "r", 0, newer.ask) == Question("Why?")


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"v": 1}), "x" * 100_000])
def test_a_question_that_is_none_is_not_asked(text: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(text)
    assert read_question(tmp_path, "r", 0, 1) is None


def event(kind: str, **more: object) -> str:
    head = {"v": 1, "run": "r", "seq": 1, "att": 0, "t": 0.0, "rt": 0.0, "kind": kind, "step": 2}
    return json.dumps(head | more) + "\n"


def test_the_answer_to_this_question_is_waited_for(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    log.write_text(event("answer", asked=6) + event("answer", asked=7, prompt="p"))
    assert wait_for_answer(log, 7, 0, 5.0)["prompt"] == "p"
    with pytest.raises(NoAnswer, match="has not answered within 0 s"):
        wait_for_answer(log, 8, 0, 0.2)
    log.write_text(event("run.end", status="finished"))
    with pytest.raises(NoAnswer, match="has ended before it answered"):
        wait_for_answer(log, 7, 0, 5.0)
