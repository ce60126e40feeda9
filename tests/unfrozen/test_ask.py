"""What the page asks by name is answered by the module behind it, JSON in and out."""

import json

import pytest

from unfrozen.ask import answer
from unfrozen.decision import decide, reversals
from unfrozen.planner import glance, ways


def test_every_question_has_the_answer_of_its_function() -> None:
    assert json.loads(answer("planner.glance", '{"seq_len": "512"}')) == glance({"seq_len": "512"})
    assert json.loads(answer("planner.ways", '"seq_len=512"')) == ways({"seq_len": "512"})
    assert json.loads(answer("decision.decide", '{"tasks": "5"}')) == decide({"tasks": "5"})
    assert json.loads(answer("decision.reversals", '"tasks=5"')) == reversals("tasks=5")


def test_a_question_nobody_answers_is_refused() -> None:
    for question in ("eval", "planner.json", "planner.state.as_query"):
        with pytest.raises(KeyError):
            answer(question, '"1"')
